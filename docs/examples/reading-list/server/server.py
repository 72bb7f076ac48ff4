"""A reading list as a stdio tool server. One process serves one user; the list is gone when the process ends."""

import json
import sys

books = {}  # id -> {"id", "title", "read"}
changes = {}  # the gateway's id of a call -> (its inverse, the book as the call left it)
made = 0


def tool(name, argument=None):
    fields = {argument: {"type": "string"}} if argument else {}
    schema = {"type": "object", "properties": fields, "required": list(fields)}
    return {"name": name, "description": TELL[name], "inputSchema": schema}


TELL = {
    "listBooks": "Lists the books.",
    "addBook": "Adds a book.",
    "markRead": "Marks a book as read.",
    "removeAdded": "Undoes addBook.",
    "unmarkRead": "Undoes markRead.",
}
TOOLS = [
    tool("listBooks"),
    tool("addBook", "title"),
    tool("markRead", "id"),
    tool("removeAdded", "change"),
    tool("unmarkRead", "change"),
]


def result(value, **more):
    return {"content": [{"type": "text", "text": json.dumps(value)}], "structuredContent": value, **more}


def failed(text, **more):
    return {"content": [{"type": "text", "text": text}], "isError": True, **more}


def changed(book, inverse, call):
    changes[call] = (inverse, dict(book))
    return result(book, _meta={"hexward/undo": {"tool": inverse, "arguments": {"change": call}}})


def undo(name, change):
    kept = changes.get(change)
    if kept is None or kept[0] != name:
        return failed("There is no such change, or it is undone.")
    book = kept[1]
    if books.get(book["id"]) != book:
        return failed("The book was changed since.", _meta={"hexward/conflicts": [book["title"] + " was changed since."]})
    del changes[change]
    if name == "removeAdded":
        del books[book["id"]]
    else:
        books[book["id"]]["read"] = False
    return result({"undone": book["title"]})


def call(name, arguments, call_id):
    global made
    if name == "listBooks":
        return result({"books": list(books.values())})
    if name == "addBook" and isinstance(arguments.get("title"), str):
        made += 1
        book = books[f"book-{made}"] = {"id": f"book-{made}", "title": arguments["title"], "read": False}
        return changed(book, "removeAdded", call_id)
    if name == "markRead":
        book = books.get(arguments.get("id"))
        if book is None:
            return failed("There is no such book.")
        if book["read"]:
            return result(book)
        book["read"] = True
        return changed(book, "unmarkRead", call_id)
    if name in ("removeAdded", "unmarkRead"):
        return undo(name, arguments.get("change"))
    return failed("There is no such tool, or an argument is missing.")


def answer(method, params):
    if method == "initialize":
        info = {"name": "reading-list", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        return call(params["name"], params.get("arguments") or {}, (params.get("_meta") or {}).get("hexward/call"))
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    said = answer(message.get("method"), message.get("params") or {})
    body = {"error": {"code": -32601, "message": "no such method"}} if said is None else {"result": said}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}), flush=True)
