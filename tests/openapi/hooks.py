"""What Schemathesis needs to be a host application's back end: a service key, a new assertion of a user for every request, and the ids
of a few things that exist. Only the standard library signs."""

import base64
import hashlib
import hmac
import json
import os
import re
import time
import uuid

import schemathesis

KEY = os.environ["HEXWARD_KEY"]
SECRET = os.environ["HEXWARD_SECRET"].encode()
ISSUER = os.environ["HEXWARD_ISSUER"]
# Where it is written down which operation was answered how.
SEEN = os.environ["HEXWARD_SEEN"]
# What there is, by the name of what names it: {"conversations": ["..."], "runs": ["..."], "app": ["hexmap"], ...}.
THERE = json.loads(os.environ["HEXWARD_THERE"])
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def part(value):
    text = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=")


def assertion(subject="ada"):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "hexward", "sub": subject, "jti": str(uuid.uuid4()), "iat": now, "exp": now + 120}
    message = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    return (message + b"." + part(hmac.new(SECRET, message, hashlib.sha256).digest())).decode()


@schemathesis.auth(refresh_interval=None)
class BackEnd:
    """An assertion is good for one change, so none is kept."""

    def get(self, case, context):
        # Who is erased is nobody whom another operation asks about.
        return assertion("eve" if (case.method, case.path) == ("DELETE", "/v1/user") else "ada")

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {KEY}"
        case.headers["x-hexward-user"] = data


def known(fields, kinds=None):
    """Every second value that is right in form is of something that exists; the same for the same value. What is wrong stays so."""
    for name, value in list(fields.items()) if isinstance(fields, dict) else ():
        there = THERE.get((kinds or {}).get(name, name))
        if not there or not isinstance(value, str) or (UUID.fullmatch(there[0]) and not UUID.fullmatch(value)) or len(value) > 300:
            continue
        number = int.from_bytes(hashlib.sha256(value.encode(errors="surrogatepass")).digest()[:4], "big")
        fields[name] = there[number // 2 % len(there)] if number % 2 else value
    return fields


# What no schema can say, so that a request may be refused for it that is right in form.
REASONS = {
    "skill.unknown": "which skills an app has",
    "idempotency.other": "that the key was used before, for something else",
    "undo.what": "that exactly one thing is named",
    "confirm.return_to": "which origins are the host's own",
}


@schemathesis.check
def refused_for_a_reason(context, response, case):
    """The configuration lets 400 and 422 pass where a request is right in form: here they pass only with one of these codes."""
    right = case.meta is not None and case.meta.generation.mode == schemathesis.GenerationMode.POSITIVE
    if right and response.status_code in (400, 422):
        code = response.json()["error"]["code"]
        assert code in REASONS, f"refused with {code}, though it is right in form"


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    # What an `id` names, the address says.
    return known(path_parameters, {"id": context.operation.path.split("/")[2]})


@schemathesis.hook
def map_headers(context, headers):
    return known(headers)


@schemathesis.hook
def map_query(context, query):
    return known(query)


@schemathesis.hook
def map_body(context, body):
    return known(body)


@schemathesis.hook
def after_call(context, case, response):
    with open(SEEN, "a", encoding="utf-8") as seen:
        print(case.operation.definition.raw["operationId"], response.status_code, file=seen)
