"""The Python Agent SDK, unmodified, over the executable it is given: what it saw, as JSON. python agent.py CLAUDE FOLDER [MESSAGE]"""

import asyncio
import dataclasses
import json
import sys

from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ResultError,
    ResultMessage,
    StreamEvent,
    UserMessage,
    create_sdk_mcp_server,
    query,
    tool,
)

claude, folder, *only = sys.argv[1:]
# What differs from one session to the next: names of things, and how long it took.
OWN = ("id", "tool_use_id", "uuid", "session_id", "message_id", "timestamp", "request_id")
OWN_END = ("_ms", "_uuid", "_uuids")
TOLD = ("subtype", "is_error", "num_turns", "stop_reason", "terminal_reason", "result", "usage", "total_cost_usd", "api_error_status")
seen = {}


@tool("whoIsThere", "Who is there", {})
async def who_is_there(_):
    return {"content": [{"type": "text", "text": "Ada, as far as the script knows"}]}


def options(**more):
    return ClaudeAgentOptions(
        cli_path=claude,
        cwd=folder,
        model="claude-sonnet-5-5",
        system_prompt="You are brief.",
        tools=["Read"],
        allowed_tools=["Read", "mcp__local__whoIsThere"],
        permission_mode="dontAsk",
        mcp_servers={"local": create_sdk_mcp_server("local", tools=[who_is_there])},
        setting_sources=[],
        include_partial_messages=True,
        **more,
    )


def without_own(value):
    if isinstance(value, dict):
        return {k: "OWN" if k in OWN or k.endswith(OWN_END) else without_own(v) for k, v in value.items()}
    return [without_own(item) for item in value] if isinstance(value, list) else value


def blocks(content):
    return content if isinstance(content, str) else [{"kind": type(b).__name__, **dataclasses.asdict(b)} for b in content]


def shown(message):
    if isinstance(message, StreamEvent):
        return message.event
    if isinstance(message, AssistantMessage):
        return {"assistant": blocks(message.content), "model": message.model, "error": message.error}
    if isinstance(message, UserMessage):
        return {"user": blocks(message.content)}
    if isinstance(message, ResultMessage):
        return {name: getattr(message, name) for name in TOLD}
    return None


async def turn(name, messages, interrupt=None):
    seen[name] = []
    async for message in messages:
        if (one := shown(message)) is not None:
            seen[name].append(without_own(one))
        if interrupt and isinstance(message, StreamEvent) and message.event["type"] == "content_block_delta":
            await interrupt()
            interrupt = None
        if isinstance(message, ResultMessage):
            session = message.session_id
    return session


async def refused(text):
    try:
        await turn("refused", query(prompt=text, options=options()))
    except ResultError as problem:
        seen["refused"].append(str(problem))


async def main():
    if only:
        return await refused(*only)
    async with ClaudeSDKClient(options()) as client:
        async def ask(name, text, interrupt=None):
            await client.query(text)
            return await turn(name, client.receive_response(), interrupt)

        await ask("plain", "Hello")
        await ask("own tool", "[[scenario:own-tool]] Who is there?")
        await ask("file tool", "[[scenario:reads]] What does the note say?")
        seen["context"] = await client.get_context_usage()
        await ask("thinking", "[[scenario:thinking]] Think")
        await ask("overloaded once", "[[scenario:overloaded-once]] Hello")
        await ask("interrupted", "[[scenario:falls-silent]] Take your time", client.interrupt)
        session = await ask("after the interruption", "Are you still there?")
    await turn("resumed", query(prompt="And once more", options=options(resume=session)))
    await refused("[[scenario:invalid]] Hello")


asyncio.run(main())
print(json.dumps(seen))
