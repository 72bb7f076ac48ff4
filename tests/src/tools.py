"""A tool server that is a program (MCP over standard input and output, 2025-11-25), for the tests of the gateway."""
import json
import os
import socket
import sys

remembered = []


def reach(address):
    try:
        socket.create_connection(address, timeout=2).close()
        return "reached"
    except OSError as error:
        return type(error).__name__


def call(name, meta):
    if name == "die":
        os._exit(3)
    if name == "remember":
        remembered.append(meta["hexward/user"]["id"])
    if name == "scan":
        return {
            "environment": sorted(os.environ),
            "secret": os.environ.get("API_TOKEN"),
            "network": [reach(("169.254.169.254", 80)), reach(("198.18.0.10", 80)), reach(("127.0.0.1", 7410))],
            "root": sorted(os.listdir("/")),
            "write": os.access("/app", os.W_OK),
            "uid": os.getuid(),
        }
    return {"user": meta["hexward/user"]["id"], "remembered": remembered, "pid": os.getpid()}


def answer(message):
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "tools", "version": "1"}}
    if method == "tools/list":
        names = ["look", "remember", "scan", "die"]
        return {"tools": [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in names]}
    if method == "tools/call":
        said = call(params["name"], params["_meta"])
        return {"content": [{"type": "text", "text": json.dumps(said)}], "structuredContent": said}
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    result = answer(message)
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    reply.update({"result": result} if result is not None else {"error": {"code": -32601, "message": "no such method"}})
    print(json.dumps(reply), flush=True)
