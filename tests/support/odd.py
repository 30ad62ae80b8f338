"""Good answers of all endpoints, and the same answers with an odd value at each of their paths."""

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]

ODD: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "number": 7,
    "float": 2.5,
    "negative": -3,
    "huge": 10**40,
    "nan": math.nan,
    "infinity": -math.inf,
    "empty text": "",
    "text": "odd",
    "half character": "x\ud83d",
    "empty list": [],
    "list": ["odd", 1, None, {"type": ["odd"], "text": 1}],
    "empty object": {},
    "object": {"type": {"odd": [1]}, "text": ["odd"], "odd": 1},
}
"""One value of each kind that servers have sent in the place of another."""
MISSING = object()

_USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0},
}
_TOKEN = {
    "token": "Hi",
    "logprob": -0.25,
    "bytes": [72, 105],
    "top_logprobs": [{"token": "Hi", "logprob": -0.25, "bytes": None}],
}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "large-model",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi there",
                "refusal": None,
                "reasoning": "Hm.",
                "tool_calls": [_CALL],
            },
            "logprobs": {"content": [_TOKEN], "refusal": None},
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
}
COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "large-model",
    "choices": [{"index": 0, "text": "Hi there", "logprobs": None, "finish_reason": "stop"}],
    "usage": _USAGE,
}
EMBEDDING = {
    "object": "list",
    "model": "large-model",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.0]}],
    "usage": {"prompt_tokens": 11, "total_tokens": 11},
}
_PART = {"type": "output_text", "text": "Hi there", "annotations": [], "logprobs": []}
_ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [_PART]}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "incomplete_details": None,
    "model": "large-model",
    "output": [_ITEM],
    "usage": {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 3},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 18,
    },
}


def _chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "large-model",
        "choices": [choice],
        **more,
    }


CHAT_STREAM = [
    _chunk({"role": "assistant", "content": "", "reasoning_content": "Hm."}),
    _chunk({"content": "Hi there"}),
    _chunk({"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi"}]}),
    _chunk({"tool_calls": [{"index": 0, **_CALL}]}),
    _chunk({}, "stop"),
    {**_chunk({}), "choices": [], "usage": _USAGE},
]
COMPLETION_STREAM = [
    {
        **COMPLETION,
        "choices": [{"index": 0, "text": "Hi", "logprobs": None, "finish_reason": None}],
        "usage": None,
    },
    {**COMPLETION, "choices": [{"index": 0, "text": " there", "logprobs": None, "finish_reason": "stop"}]},
]
_AT = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
RESPONSE_STREAM = [
    {
        "type": "response.created",
        "sequence_number": 0,
        "response": {"id": "resp_1", "object": "response", "output": []},
    },
    {"type": "response.output_text.delta", "sequence_number": 1, **_AT, "delta": "Hi there", "logprobs": []},
    {"type": "response.output_item.done", "sequence_number": 2, "output_index": 0, "item": _ITEM},
    {"type": "response.completed", "sequence_number": 3, "response": RESPONSE},
]
COMPLETE = {
    "/chat/completions": CHAT,
    "/completions": COMPLETION,
    "/embeddings": EMBEDDING,
    "/responses": RESPONSE,
}
STREAMED = {
    "/chat/completions": CHAT_STREAM,
    "/completions": COMPLETION_STREAM,
    "/responses": RESPONSE_STREAM,
}
BODIES: dict[str, dict[str, Any]] = {
    "/chat/completions": {"messages": [{"role": "user", "content": "Say hi."}]},
    "/completions": {"prompt": "Say hi."},
    "/embeddings": {"input": "Say hi."},
    "/responses": {"input": "Say hi."},
}


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Yield the path of everything below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from paths(inner, (*at, key))


def places(value: Any) -> list[Path]:
    """Return the path of a value itself, which is empty, and of everything below it."""
    return [(), *paths(value)]


def changed(value: Any, path: Path, odd: Any) -> Any:
    """Return a copy with another value at a path, or without it if `odd` is MISSING."""
    if not path:
        return odd
    out = copy.deepcopy(value)
    *way, last = path
    inner = out
    for key in way:
        inner = inner[key]
    if odd is MISSING:
        del inner[last]
    else:
        inner[last] = odd
    return out


def mutants(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a name and a copy for each path and each odd value."""
    for path in paths(value):
        yield f"{path} missing", changed(value, path, MISSING)
        for name, odd in ODD.items():
            yield f"{path} {name}", changed(value, path, odd)


def raw(value: Any) -> bytes:
    """Encode as Python's servers do: NaN and halves of characters included."""
    return json.dumps(value).encode()


def sse(chunks: list[Any], *, done: bool = True) -> bytes:
    """Return the bytes of a stream."""
    return b"".join(b"data: %s\n\n" % raw(c) for c in chunks) + (b"data: [DONE]\n\n" if done else b"")


def same(ours: Any, theirs: Any) -> bool:
    """Compare decoded JSON. NaN is equal to NaN."""
    return json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)
