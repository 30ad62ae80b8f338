"""What detection reads of a conversation: a bounded part of a bounded number of messages."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from proxy.cascade.types import Json

END = 600
"""Characters that are read at each end of a message."""
_MESSAGES = 1000
_PARTS, _PARTS_FOR_KIND = 500, 20
_SYSTEM_MESSAGES = 3
_TURNS = 4
_HALFWIDTH = {0xFF01 + i: 0x21 + i for i in range(94)} | {0x3000: 0x20}  # full-width forms
_TEXT_PARTS = ("text", "input_text")


@dataclass(frozen=True, slots=True)
class Conversation:
    """The ends of the messages that tell the kind of a task.

    Attributes:
        system: the first system messages, joined.
        turns: the last user messages, newest first. Empty if there is none.
    """

    system: str
    turns: tuple[str, ...]


def conversation(body: Json) -> Conversation:
    """Return the ends of the system messages and of the last user messages of a chat request."""
    messages = _messages(body)
    system = islice(_texts(messages[:_TURNS], ("system", "developer"), _PARTS_FOR_KIND), _SYSTEM_MESSAGES)
    turns = islice(_texts(messages[: -_MESSAGES - 1 : -1], ("user",), _PARTS_FOR_KIND), _TURNS)
    return Conversation("\n".join(map(ends, system)), tuple(map(ends, turns)))


def text_of(body: Json) -> str:
    """Return the last user message as plain text, without parts of other types."""
    return next(_texts(_messages(body)[: -_MESSAGES - 1 : -1], ("user",)), "")


def system_text(body: Json) -> str | None:
    """Return the first system message as plain text, or None if the conversation does not begin with one."""
    return next(_texts(_messages(body)[:_TURNS], ("system", "developer")), None)


def prompt_hash(text: str) -> str:
    """Return the SHA-256 of a system prompt in hexadecimal. Blanks around it do not count."""
    return hashlib.sha256(text.strip().encode(errors="surrogatepass")).hexdigest()


def ends(text: str, size: int = END) -> str:
    """Return the beginning and the end of a long text, with plain characters instead of full-width ones."""
    return halfwidth(text if len(text) <= 2 * size else f"{text[:size]}\n{text[-size:]}")


def halfwidth(text: str) -> str:
    """Return a text with full-width characters replaced by plain ones at the same positions."""
    return text if text.isascii() else text.translate(_HALFWIDTH)


def _messages(body: Json) -> Sequence[Any]:
    messages = body.get("messages")
    return messages if isinstance(messages, list | tuple) else ()


def _texts(messages: Sequence[Any], roles: tuple[str, ...], parts: int = _PARTS) -> Iterator[str]:
    for message in messages:
        if isinstance(message, Mapping) and message.get("role") in roles:
            yield _plain(message.get("content"), parts)


def _plain(content: Any, limit: int) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    if len(parts) > 2 * limit:
        parts = (*parts[:limit], *parts[-limit:])
    texts = [p.get("text") for p in parts if isinstance(p, Mapping) and p.get("type") in _TEXT_PARTS]
    return "\n".join(t for t in texts if isinstance(t, str))
