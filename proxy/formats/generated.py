"""The text that a model has generated, wherever a server puts it. It is counted if no usage is reported."""

from collections.abc import Iterator
from typing import Any

from proxy.formats.lenient import encode, mended

_ANSWER = ("content", "text", "refusal", "audio")
_CALLS = ("tool_calls", "function_call")
_PLAIN = frozenset({"role", "content", "refusal"})
"""The members of most chunks. Most of the time goes into them."""
_NO_TEXT = frozenset(
    {
        "annotations", "call_id", "citations", "data", "encrypted_content", "finish_reason", "format", "id", "index",
        "logprobs", "object", "role", "signature", "status", "type", "url",
    }
)  # fmt: skip
"""Members that hold names, links or coded bytes."""
_REASONING_PARTS = ("thinking", "reasoning", "thought")  # a tuple, because a type may be an array


def generated_text(message: Any) -> str:
    """Return all generated text of a message or a delta: content, refusal, calls, and reasoning under any name.

    Gateways repeat reasoning under several names (`reasoning`, `reasoning_content`, `reasoning_details`, `thinking`), so
    only the longest of the other members counts.
    """
    if not isinstance(message, dict):
        return "".join(texts(message))
    if (
        message.keys() <= _PLAIN
        and isinstance(content := message.get("content"), str)
        and not message.get("refusal")
    ):
        return content
    answer = "".join(text for name in _ANSWER for text in texts(message.get(name)))
    calls = "".join(encode(message[name]).decode() for name in _CALLS if message.get(name))
    known = {*_ANSWER, *_CALLS, *_NO_TEXT}
    others = ("".join(texts(value)) for name, value in message.items() if name not in known)
    return answer + calls + max(others, key=len, default="")


def shown_text(content: Any) -> str:
    """Return the text that a reader sees of a content, which is a text or an array of parts. Thoughts are left out."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    shown = [p for p in parts if not (isinstance(p, dict) and p.get("type") in _REASONING_PARTS)]
    return "".join(
        p if isinstance(p, str) else str(p["text"])
        for p in shown
        if isinstance(p, str) or (isinstance(p, dict) and isinstance(p.get("text"), str))
    )


def texts(value: Any) -> Iterator[str]:
    """Yield every text below a value in its order, except names, links and coded bytes. It does not recurse."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if not value.startswith("data:"):
                yield value
        elif isinstance(value, dict):
            waiting += reversed([v for k, v in value.items() if k not in _NO_TEXT])
        elif isinstance(value, list):
            waiting += reversed(value)


def in_unicode(pieces: list[str]) -> str:
    """Join pieces of a text that may have been cut within a character."""
    return mended("".join(pieces))
