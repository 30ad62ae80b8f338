"""Prompts and answers as attributes of a span, in the form of the GenAI conventions and of bounded length.

Only `MOST_CHARACTERS` of a text are ever copied, so the size of a request does not matter.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from proxy.records import storable_text

MOST_CHARACTERS = 8192
"""The longest prompt, and the longest answer. Of a conversation the last messages stay."""
_MOST_MESSAGES = 64
_MOST_PARTS = 256
_LARGEST_DECODED = 64 * 2**10
"""Longer stored answers are shown as they are stored."""
_CUT = "..."


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return the beginning of a text, with a mark if something is missing."""
    return text if len(text) <= most else text[:most] + _CUT


def input_messages(prompt: object) -> str:
    """Return a prompt as JSON: a list of messages with a role and parts."""
    return _encoded(_last(prompt))


def output_messages(answer: str | None) -> str | None:
    """Return an answer as JSON: one message for each choice."""
    if answer is None:
        return None
    texts = list(_texts_of_choices(answer)) or [answer]
    return _encoded([_message("assistant", shortened(text)) for text in texts[:_MOST_MESSAGES]])


def _last(prompt: object) -> list[dict[str, Any]]:
    """Return the last messages of a prompt."""
    instructions: object = None
    if isinstance(prompt, Mapping):  # of the endpoint /responses
        instructions, prompt = prompt.get("instructions"), prompt.get("input")
    items = list(prompt[-_MOST_MESSAGES:]) if isinstance(prompt, list) else [prompt]
    if isinstance(instructions, str):
        items.insert(0, {"role": "system", "content": instructions})
    left = MOST_CHARACTERS
    found: list[dict[str, Any]] = []
    for item in reversed(items):
        role = item.get("role") if isinstance(item, Mapping) else None
        text = _text(item, left)
        if left <= 0 or text is None:
            continue
        found.append(_message(role if isinstance(role, str) else "user", shortened(text, left)))
        left -= len(text)
    return found[::-1]


def _text(item: object, most: int) -> str | None:
    """Return the text of a message, of a list of parts or of a text. Images and sounds have none."""
    if isinstance(item, str):
        return item
    if isinstance(item, Mapping):
        return _text(item.get("content", item.get("text")), most)
    if not isinstance(item, list):
        return None
    found = ""
    for part in item[:_MOST_PARTS]:
        if len(found) > most:
            break
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
        found += text[: most + 1] if isinstance(text, str) else ""
    return found


def _texts_of_choices(answer: str) -> Iterator[str]:
    """Yield the texts of an answer that was stored as its list of choices or output items."""
    if not answer.startswith("[") or len(answer) > _LARGEST_DECODED:
        return
    try:
        choices = msgspec.json.decode(answer)
    except (ValueError, RecursionError):
        return
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping):
            text = _text(choice.get("message", choice.get("text", choice)), MOST_CHARACTERS)
            if text:
                yield text


def _message(role: str, text: str) -> dict[str, Any]:
    parts = [{"type": "text", "content": storable_text(text)}]
    return {"role": storable_text(role[:64]), "parts": parts}


def _encoded(messages: list[dict[str, Any]]) -> str:
    return msgspec.json.encode(messages).decode()
