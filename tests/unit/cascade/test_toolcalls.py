"""Tool calls that a small model writes as text."""

import json

import pytest

from proxy.cascade.toolcalls import with_calls

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
CALL = '{"name": "weather", "arguments": {"city": "Paris"}}'


def calls(text, tools=TOOLS):
    found = with_calls({"role": "assistant", "content": text}, tools).get("tool_calls") or []
    return [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in found]


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"```json\n{CALL}\n```",
        f"```\n{CALL}\n```\n",
        f"<tool_call>\n{CALL}\n</tool_call>",
        '{"name": "weather", "parameters": {"city": "Paris"}}',
        '{"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}',
    ],
)
def test_call_in_text(text):
    """Bare, fenced or tagged, with either name for the arguments."""
    assert calls(text) == [("weather", {"city": "Paris"})]


@pytest.mark.parametrize(
    "text", [f"[{CALL}, {CALL}]", f"{CALL}\n{CALL}", f"```json\n{CALL}\n```\n```json\n{CALL}\n```"]
)
def test_several_calls(text):
    """Each has an id of its own."""
    assert len(calls(text)) == 2
    ids = [c["id"] for c in with_calls({"content": text}, TOOLS)["tool_calls"]]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    "text",
    [
        f"I would call it like this:\n```json\n{CALL}\n```",
        '{"name": "launch", "arguments": {}}',
        '{"name": "weather", "arguments": "Paris"}',
        "It is sunny.",
        "[]",
        "[" * 2000,
        "",
    ],
)
def test_other_text_stays_text(text):
    """Words around a call, an unknown tool, or no JSON: the answer is left as it is."""
    message = {"role": "assistant", "content": text}
    assert with_calls(message, TOOLS) is message


def test_json_without_tools():
    """Nothing is read into an answer to a request without tools."""
    assert calls(CALL, None) == []
