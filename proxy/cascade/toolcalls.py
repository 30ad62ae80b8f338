"""Tool calls in the text of a small model that the parser of its server does not find.

Qwen2.5-Coder, for example, answers with a fenced JSON object, which no parser of vLLM reads.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from proxy.cascade.types import Json

_OPENED = re.compile(r"<tool_call>|```(?:json|tool_call)?[ \t]*+\n")
_MOST = 16
_MOST_CALLS = 128
_LONGEST = 100_000
"""The most characters of an answer that is searched for calls. An answer with calls is short."""


def with_calls(message: Json, tools: Any) -> Json:
    """Return an assistant message with the calls in its text as `tool_calls`. Return any other message unchanged.

    The text must contain nothing but calls of the offered tools: bare JSON, in a fence, or in <tool_call> tags.
    """
    text = message.get("content")
    if not tools or message.get("tool_calls") or not isinstance(text, str) or not text.strip():
        return message
    if len(text) > _LONGEST:
        return message
    names = {str(function.get("name")) for function in map(_function, tools)}
    pieces, rest = _wrapped(text)
    if rest.strip():
        pieces = [] if pieces else [text]
    values = [value for piece in pieces[:_MOST] for value in _values(piece)]
    if len(values) > _MOST_CALLS:
        return message
    calls = [_call(value, names, position) for position, value in enumerate(values)]
    if not calls or any(call is None for call in calls):
        return message
    return {**message, "content": None, "tool_calls": calls}


def _function(tool: Any) -> Json:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    return function if isinstance(function, Mapping) else {}


def _wrapped(text: str) -> tuple[list[str], str]:
    """Return the contents of the tags and fences of a text, and the text outside them. An unclosed one is outside.

    Each closing sign is looked for once at most if it does not occur, so the time is in proportion to the text.
    """
    pieces: list[str] = []
    outside: list[str] = []
    missing: set[str] = set()
    end = 0
    for opened in _OPENED.finditer(text):
        sign = "</tool_call>" if opened.group().startswith("<") else "```"
        if opened.start() < end or sign in missing:
            continue
        closed = text.find(sign, opened.end())
        if closed < 0:
            missing.add(sign)
            continue
        outside.append(text[end : opened.start()])
        pieces.append(text[opened.end() : closed])
        end = closed + len(sign)
    return pieces, "".join([*outside, text[end:]])


def _values(piece: str) -> Iterable[Any]:
    """Yield the JSON values of a piece: a single value, the items of an array, or one value per line."""
    parts = [piece] if _decoded(piece) is not None else piece.strip().splitlines()
    for part in parts:
        value = _decoded(part)
        yield from value if isinstance(value, list) else (value,)


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text.strip())
    except (ValueError, RecursionError):  # a lone surrogate is a ValueError too
        return None


def _call(value: Any, names: set[str], position: int) -> dict[str, Any] | None:
    if not isinstance(value, Mapping):
        return None
    function = value.get("function")
    inner = function if isinstance(function, Mapping) else value
    name, arguments = inner.get("name"), inner.get("arguments", inner.get("parameters"))
    if not isinstance(name, str) or name not in names or not isinstance(arguments, Mapping):
        return None
    written = msgspec.json.encode(arguments).decode()
    digest = hashlib.sha256(f"{position} {name} {written}".encode()).hexdigest()[:24]
    return {
        "id": f"call_{digest}",
        "type": "function",
        "function": {"name": name, "arguments": written},
    }
