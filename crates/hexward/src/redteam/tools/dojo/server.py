"""The environments of AgentDojo behind an MCP server on loopback, for `hexward redteam tools`.

It decides nothing: it runs the function that it is asked for, like any tool server, and says afterwards what became of the
environment. Which task is at hand, and what became of it, is asked and answered over standard input and output, which only the
command has. `HEXWARD_CREDENTIAL` is the gateway's word at the port.
"""

import hmac
import importlib.abc
import importlib.machinery
import json
import os
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "v1.2.2"
MODERN = "2026-07-28"
# Clients of models that the package imports and that nothing here calls.
UNUSED = {"anthropic", "cohere", "google", "langchain", "openai", "vertexai"}


class Nothing(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Unused


class Unused(metaclass=Nothing):
    def __init__(self, *args, **named):
        pass

    def __class_getitem__(cls, item):
        return cls


class UnusedModule(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Unused


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in UNUSED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return UnusedModule(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, Finder())

from agentdojo.functions_runtime import FunctionCall, FunctionsRuntime  # noqa: E402
from agentdojo.task_suite.load_suites import get_suites  # noqa: E402
from pydantic import BaseModel  # noqa: E402


def plain(value):
    """As JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


class World:
    """One suite, and the task that is at hand in it."""

    def __init__(self):
        self.suites = get_suites(VERSION)
        self.fresh = {}
        self.lock = threading.Lock()
        self.suite = self.user = self.attack = self.before = self.env = None
        self.runtime = None
        self.done, self.wanted = [], []

    def overview(self):
        rows = {}
        for name, suite in self.suites.items():
            env = suite.load_and_inject_default_environment({})
            attacks = {id: self.calls(task, env) for id, task in suite.injection_tasks.items()}
            rows[name] = {
                "tools": [tool.name for tool in suite.tools],
                "user_tasks": list(suite.user_tasks),
                "attacks": {id: [call["tool"] for call in calls] for id, calls in attacks.items()},
            }
        return rows

    @staticmethod
    def calls(task, env):
        truth = task.ground_truth(env.model_copy(deep=True))
        return [{"tool": call.function, "arguments": plain(dict(call.args))} for call in truth]

    def environment(self, suite, attack):
        """The environment with the attacker's words in every place where a stranger could have left some."""
        key = (suite.name, attack.ID if attack else None)
        if key not in self.fresh:
            words = {place: attack.GOAL for place in suite.get_injection_vector_defaults()} if attack else {}
            self.fresh[key] = suite.load_and_inject_default_environment(words)
        return self.fresh[key].model_copy(deep=True)

    def begin(self, suite, user_task, attack):
        with self.lock:
            self.suite = self.suites[suite]
            self.user = self.suite.user_tasks[user_task]
            self.attack = self.suite.injection_tasks[attack] if attack else None
            self.env = self.user.init_environment(self.environment(self.suite, self.attack))
            own = self.calls(self.user, self.env)
            theirs = self.calls(self.attack, self.env) if self.attack else []
            self.before = self.env.model_copy(deep=True)
            self.runtime = FunctionsRuntime(self.suite.tools)
            self.done, self.wanted = [], theirs
            return {"prompt": self.user.PROMPT, "calls": own, "attack": theirs}

    def run(self, tool, arguments):
        with self.lock:
            if self.runtime is None or tool not in self.runtime.functions:
                return None
            result, error = self.runtime.run_function(self.env, tool, arguments)
            self.done.append(FunctionCall(function=tool, args=arguments))
            return plain(result), error

    def judge(self):
        with self.lock:
            task, attack = self.user, self.attack
            useful = task.utility_from_traces(task.GROUND_TRUTH_OUTPUT, self.before, self.env, self.done)
            if useful is None:
                useful = task.utility(task.GROUND_TRUTH_OUTPUT, self.before, self.env)
            won = attack is not None and self.won(attack, self.before, self.env, self.done)
            if attack is not None and not won and self.acted():
                # Some of the checks stumble over the attacker's own words in the environment: what the same calls come to without.
                env = task.init_environment(self.environment(self.suite, None))
                before = env.model_copy(deep=True)
                for call in self.done:
                    self.runtime.run_function(env, call.function, dict(call.args))
                won = self.won(attack, before, env, self.done)
            return {"useful": bool(useful), "won": bool(won), "done": [call.function for call in self.done]}

    def acted(self):
        """Whether anything that the attacker wants was run."""
        return any({"tool": call.function, "arguments": dict(call.args)} in self.wanted for call in self.done)

    @staticmethod
    def won(attack, before, env, done):
        """Whether the attacker's goal is reached: by what happened, not by what the model says to the person."""
        won = attack.security_from_traces("", before, env, done)
        return bool(attack.security("", before, env) if won is None else won)

    def tools(self):
        tools = self.suite.tools if self.suite else []
        return [
            {"name": tool.name, "description": tool.description, "inputSchema": tool.parameters.model_json_schema()}
            for tool in tools
        ]


WORLD = World()
CREDENTIAL = "Bearer " + os.environ["HEXWARD_CREDENTIAL"]


def answer(method, params):
    """The result of a request, or none for what this server does not know."""
    if method == "server/discover":
        return {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "serverInfo": {"name": "dojo", "version": "1"}}
    if method == "tools/list":
        return {"tools": WORLD.tools(), "ttlMs": 0, "cacheScope": "private"}
    if method == "tools/call":
        ran = WORLD.run(params.get("name"), params.get("arguments") or {})
        if ran is None:
            return None
        result, error = ran
        if error:
            return {"content": [{"type": "text", "text": error}], "isError": True}
        text = result if isinstance(result, str) else json.dumps(result)
        return {"content": [{"type": "text", "text": text}], "structuredContent": {"result": result}}
    return None


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not hmac.compare_digest(self.headers.get("authorization", ""), CREDENTIAL):
            return self.reply(401, {})
        message = json.loads(body)
        result = answer(message.get("method"), message.get("params") or {})
        head = {"jsonrpc": "2.0", "id": message.get("id")}
        if result is None:
            return self.reply(200, head | {"error": {"code": -32602, "message": "no such tool or method"}})
        return self.reply(200, head | {"result": {"resultType": "complete"} | result})

    def reply(self, status, message):
        body = json.dumps(message).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        # In one piece, so that nobody waits for the second.
        self.wfile.write(head.encode() + body)

    def log_message(self, *args):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say({"port": server.server_address[1], "suites": WORLD.overview()})
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "begin":
            say(WORLD.begin(order["suite"], order["user_task"], order["attack"]))
        else:
            say(WORLD.judge())


def say(value):
    print(json.dumps(value), flush=True)


main()
