"""Tool calls in the text of a small model that the parser of its server does not find.

Qwen2.5-Coder, for example, answers with a fenced JSON object, which no parser of vLLM reads.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from proxy.cascade.types import Json

_WRAPPED = re.compile(r"<tool_call>(.*?)</tool_call>|```(?:json|tool_call)?[ \t]*\n(.*?)```", re.DOTALL)
_MOST = 16


def with_calls(message: Json, tools: Any) -> Json:
    """Return an assistant message with the calls in its text as `tool_calls`. Return any other message unchanged.

    The text must contain nothing but calls of the offered tools: bare JSON, in a fence, or in <tool_call> tags.
    """
    text = message.get("content")
    if not tools or message.get("tool_calls") or not isinstance(text, str) or not text.strip():
        return message
    names = {str((t.get("function") or {}).get("name")) for t in tools if isinstance(t, Mapping)}
    pieces = [a or b for a, b in _WRAPPED.findall(text)]
    if _WRAPPED.sub("", text).strip():
        pieces = [] if pieces else [text]
    values = [value for piece in pieces[:_MOST] for value in _values(piece)]
    calls = [_call(value, names, position) for position, value in enumerate(values)]
    if not calls or any(call is None for call in calls):
        return message
    return {**message, "content": None, "tool_calls": calls}


def _values(piece: str) -> Iterable[Any]:
    """Yield the JSON values of a piece: a single value, the items of an array, or one value per line."""
    parts = [piece] if _decoded(piece) is not None else piece.strip().splitlines()
    for part in parts:
        value = _decoded(part)
        yield from value if isinstance(value, list) else (value,)


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text.strip())
    except (msgspec.DecodeError, RecursionError):
        return None


def _call(value: Any, names: set[str], position: int) -> dict[str, Any] | None:
    if not isinstance(value, Mapping):
        return None
    function = value.get("function")
    inner = function if isinstance(function, Mapping) else value
    arguments = inner.get("arguments", inner.get("parameters"))
    if inner.get("name") not in names or not isinstance(arguments, Mapping):
        return None
    written = msgspec.json.encode(arguments).decode()
    digest = hashlib.sha256(f"{position} {inner['name']} {written}".encode()).hexdigest()[:24]
    return {
        "id": f"call_{digest}",
        "type": "function",
        "function": {"name": inner["name"], "arguments": written},
    }
