"""The layout of a request for a vendor's prompt cache."""

import copy

import pytest

from proxy.formats.chat import Chat
from proxy.formats.lenient import encode
from proxy.formats.prompt_cache import CacheUse, added_bytes, conversation_key, laid_out
from proxy.formats.responses import Responses

MARK = {"mode": "explicit"}
BREAKPOINTS = CacheUse(fields="breakpoints", key="k")
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
MESSAGES = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": [{"type": "text", "text": "See:"}, IMAGE]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "go"}}]},
    {"role": "tool", "tool_call_id": "1", "content": "done"},
    {"role": "user", "content": ""},
    {"role": "user", "content": [{"type": "text", "text": ""}]},
    {"role": "user", "content": [{"type": "refusal", "refusal": "no"}]},
    {"role": "user", "content": []},
]


def marks(items):
    """Return whether each message has a breakpoint."""
    contents = [item.get("content") or item.get("output") for item in items]
    return [isinstance(c, list) and any("prompt_cache_breakpoint" in part for part in c) for c in contents]


def test_messages_that_may_be_marked():
    """The last part of each one is marked, not of an assistant's, and not if it is empty. The rest stays."""
    body = {"messages": MESSAGES}
    before = copy.deepcopy(body)
    out = laid_out(Chat(), body, "our text", BREAKPOINTS)
    assert body == before
    assert marks(out["messages"]) == [True, True, False, True, *[False] * 5]
    assert out["messages"][1]["content"] == [
        MESSAGES[1]["content"][0],
        {**IMAGE, "prompt_cache_breakpoint": MARK},
    ]
    assert out["messages"][-1] == {"role": "user", "content": "our text"}
    assert out["prompt_cache_options"] == {"mode": "explicit"}


def test_items_that_may_be_marked():
    """A message of the client and the output of a function are marked."""
    items = [
        {"role": "developer", "content": "Be short."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go."}]},
        {"type": "reasoning", "id": "r"},
        {"type": "function_call", "call_id": "1", "name": "go", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "done"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Gone."}]},
    ]
    out = laid_out(Responses(), {"input": items}, "", BREAKPOINTS)
    assert marks(out["input"]) == [True, True, False, False, True, False]
    assert "prompt_cache_options" not in out
    assert laid_out(Responses(), {"input": "Go."}, "", BREAKPOINTS)["input"][0]["content"][0]["text"] == "Go."
    assert laid_out(Responses(), {}, "", BREAKPOINTS)["input"] == []


@pytest.mark.parametrize("fields", ["off", "key"])
def test_models_without_breakpoints(fields):
    """They get no marks. Our text extends the last message only if nothing is known of the upstream."""
    body = {"messages": [*MESSAGES[:1], {"role": "user", "content": "Go."}]}
    out = laid_out(Chat(), body, "our text", CacheUse(fields=fields, key="k"))
    assert not any(marks(out["messages"]))
    assert len(out["messages"]) == (2 if fields == "off" else 3)
    assert out.get("prompt_cache_key") == (None if fields == "off" else "k")


def test_latest_messages_are_marked():
    """The vendor considers 80 breakpoints."""
    body = {"messages": [{"role": "user", "content": f"{i}"} for i in range(100)]}
    found = marks(laid_out(Chat(), body, "", BREAKPOINTS)["messages"])
    assert found == [False] * 20 + [True] * 80


@pytest.mark.parametrize(
    ("own", "marked", "options"),
    [
        ({"prompt_cache_options": {"mode": "explicit"}}, 0, {"mode": "explicit"}),
        ({"prompt_cache_options": {"ttl": "30m"}}, 1, {"ttl": "30m"}),
        ({"prompt_cache_retention": "24h"}, 2, None),
    ],
)
def test_choices_of_the_client(own, marked, options):
    """What the client has chosen stays."""
    body = {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], **own}
    out = laid_out(Chat(), body, "our text", BREAKPOINTS)
    assert sum(marks(out["messages"])) == marked
    assert out.get("prompt_cache_options") == options


def test_added_bytes():
    """They are never fewer than those that are added."""
    body = {"messages": [{"role": "user", "content": f"{i}"} for i in range(300)]}
    text = "our “text”" * 30
    more = len(encode(laid_out(Chat(), body, text, BREAKPOINTS))) - len(encode(body))
    assert more <= added_bytes(text, BREAKPOINTS)


def test_key_of_a_conversation():
    """It depends on each owner, and on the beginning of the first messages alone."""
    long = "x" * 2000
    assert conversation_key(["a", None], [long + "1"]) == conversation_key(["a", None], [long + "2"])
    owners = [["a", None], [None, "a"], ["a", "b"], [None, None], ["a"]]
    assert len({conversation_key(owner, ["x"]) for owner in owners}) == len(owners)


@pytest.mark.parametrize(
    ("format_", "body", "opening"),
    [
        (Chat(), {"messages": MESSAGES}, MESSAGES[:1]),
        (Chat(), {"messages": MESSAGES[1:]}, MESSAGES[1:2]),
        (Responses(), {"instructions": "a", "input": "b"}, ["a", []]),
        (Responses(), {"input": [MESSAGES[0], MESSAGES[1]]}, [None, MESSAGES[:1]]),
        (Responses(), {"input": "b", "store": False}, [{"role": "user", "content": "b"}]),
        (Responses(), {"input": "b"}, None),
        (Responses(), {"store": False}, None),
    ],
)
def test_opening_of_a_conversation(format_, body, opening):
    """Later turns have it too. One that the upstream keeps shows only its instructions again."""
    assert format_.opening(body) == opening
