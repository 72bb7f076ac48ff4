"""The official Python SDK, unmodified: what it saw, as JSON. python messages.py BASE_URL KEY"""

import json
import sys

import anthropic

base_url, key = sys.argv[1:]
client = anthropic.Anthropic(base_url=base_url, api_key=key)
MODEL = "claude-sonnet-5-5"
TOOL = {"name": "getCurrentUser", "description": "Who is there", "input_schema": {"type": "object", "properties": {}}}
seen = {}


def ask(text, **more):
    return {"model": MODEL, "max_tokens": 300, "messages": [{"role": "user", "content": text}], **more}


def without_ids(value):
    if isinstance(value, dict):
        return {name: "ID" if name in ("id", "tool_use_id") else without_ids(field) for name, field in value.items()}
    return [without_ids(item) for item in value] if isinstance(value, list) else value


def note(name, value):
    seen[name] = without_ids(json.loads(value.to_json()) if hasattr(value, "to_json") else value)


def error(name, call):
    try:
        call()
        note(name, "no error")
    except anthropic.APIStatusError as problem:
        note(name, [type(problem).__name__, problem.status_code, problem.body.get("error"), bool(problem.request_id)])


note("whole", client.messages.create(**ask("Hello")))
with client.messages.stream(**ask("Hello")) as stream:
    note("events", [without_ids(json.loads(event.to_json())) for event in stream])
note("thinking", client.messages.create(**ask("[[scenario:thinking]]", thinking={"type": "enabled", "budget_tokens": 1024})))
cached = [{"type": "text", "text": "You are brief. " * 300, "cache_control": {"type": "ephemeral"}}]
note("cached", client.messages.create(**ask("Hello", system=cached)))
asked = ask("[[scenario:hijacked]]", tools=[TOOL, {**TOOL, "name": "deleteItem"}])
with client.messages.stream(**asked) as stream:
    called = stream.get_final_message()
note("tool", called)
result = [{"type": "tool_result", "tool_use_id": called.content[-1].id, "content": '{"id": "u7"}'}]
asked["messages"] += [{"role": "assistant", "content": called.content}, {"role": "user", "content": result}]
note("after the tool", client.messages.create(**asked))
note("count", client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hello"}]))
note("models", [json.loads(model.to_json()) for model in client.models.list(limit=4)])
note("model", client.models.retrieve(MODEL))
note("retried", client.messages.create(**ask("[[scenario:overloaded-once]] Hello")))
error("invalid", lambda: client.messages.create(**ask("[[scenario:invalid]]")))
error("not found", lambda: client.models.retrieve("claude-unheard-of"))
error("overloaded", lambda: client.messages.create(**ask("[[scenario:overloaded]]")))
print(json.dumps(seen))
