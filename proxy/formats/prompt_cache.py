"""Requests whose prefix the vendor's prompt cache knows. Source: OpenAI's guide "Prompt caching".

A prompt is cached by exact prefix: tools, format and settings first, then the messages. So the client's own messages go
out as they came, and a text of the proxy follows them. Bodies are decoded and encoded again. The same JSON always gives the
same bytes, in the same order of keys.

From GPT-5.6 on, a prefix is read and written only at a breakpoint. The vendor puts one at the end of the newest message,
which would be our text. So each message of the client that may have a breakpoint gets one. Our text gets none and is not
written. All messages are marked, because the request has to have the breakpoints of earlier turns to be read there.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from proxy.cascade.types import Json
from proxy.records import PromptCache

MEMBER, OPTIONS, KEY, RETENTION = (
    "prompt_cache_breakpoint",
    "prompt_cache_options",
    "prompt_cache_key",
    "prompt_cache_retention",
)
_MARK = {"mode": "explicit"}
_MOST_MARKS = 80
"""The vendor considers the latest 80 for reading."""
_BYTES_OF_MARK, _BYTES_OF_FIELDS = 96, 160

CHAT_PARTS = frozenset({"text", "image_url", "input_audio", "file"})
RESPONSES_PARTS = frozenset({"input_text", "input_image", "input_file"})
_CLIENT_ROLES = frozenset({"system", "developer", "user", "tool"})
"""The vendor refuses breakpoints in an assistant's messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """How a request uses the prompt cache of the model that it goes to."""

    fields: PromptCache = "off"
    key: str | None = None
    """The `prompt_cache_key` of the conversation, for a client that gave none."""


OFF = CacheUse()


class MarksAndAdds(Protocol):
    """The part of `proxy.formats.base.Conversation` that is needed here."""

    def with_breakpoints(self, body: Json, most: int) -> dict[str, Any]:
        """Return a request with breakpoints at the end of its latest messages, at most `most`."""
        ...

    def has_breakpoints(self, body: Json) -> bool:
        """Whether the client has set a breakpoint itself."""
        ...

    def with_text(self, body: Json, text: str, *, apart: bool) -> dict[str, Any]:
        """Return a request with a text after the conversation. `apart`: in a message of its own."""
        ...


def laid_out(format_: MarksAndAdds, body: Json, text: str, use: CacheUse) -> dict[str, Any]:
    """Return a request with a text of the proxy after the client's own prefix, which the cache can read.

    Args:
        format_: the format of the body.
        body: the client's request.
        text: the text to add. If it is empty, nothing is added.
        use: what the model's cache knows.
    """
    out = dict(body)
    if use.fields != "off" and use.key is not None and out.get(KEY) is None:
        out[KEY] = use.key
    if use.fields == "breakpoints":
        out = _with_breakpoints(format_, out, has_text=bool(text))
    return format_.with_text(out, text, apart=use.fields != "off") if text else out


def added_bytes(text: str, use: CacheUse) -> int:
    """Return the most bytes that `laid_out` adds to a body."""
    marks = _MOST_MARKS * _BYTES_OF_MARK if use.fields == "breakpoints" else 0
    return len(text.encode(errors="surrogatepass")) + _BYTES_OF_FIELDS + marks


def without_cache(body: Json) -> dict[str, Any]:
    """Return a request that writes nothing into a cache of breakpoints, because no later one begins like it."""
    return dict(body) if body.get(RETENTION) is not None else {**body, OPTIONS: {"mode": "explicit"}}


def _with_breakpoints(format_: MarksAndAdds, body: dict[str, Any], *, has_text: bool) -> dict[str, Any]:
    """Mark the client's messages, unless the client has chosen its breakpoints."""
    options = body.get(OPTIONS)
    if isinstance(options, Mapping) and options.get("mode") == "explicit":
        return body
    if options is not None or format_.has_breakpoints(body):
        # The vendor's own breakpoint will be after our text. One of ours takes its place.
        return format_.with_breakpoints(body, 1) if has_text else body
    out = format_.with_breakpoints(body, _MOST_MARKS)
    # The vendor refuses the retention of older models beside these options. Our text is written then.
    explicit = has_text and body.get(RETENTION) is None
    return {**out, OPTIONS: {"mode": "explicit"}} if explicit else out


def marked_messages(messages: Sequence[Json], most: int) -> list[Json]:
    """Return messages of a chat with breakpoints."""
    return [
        *_marked(
            [(m, "content" if m.get("role") in _CLIENT_ROLES else None) for m in messages],
            "text",
            CHAT_PARTS,
            most,
        )
    ]


def marked_items(items: Sequence[Json], most: int) -> list[Json]:
    """Return input items of a response with breakpoints."""
    return [*_marked([(item, _place_in(item)) for item in items], "input_text", RESPONSES_PARTS, most)]


def any_marked(items: Sequence[Json]) -> bool:
    """Whether any message or item has a breakpoint."""
    contents = (item.get(name) for item in items for name in ("content", "output"))
    return any(
        isinstance(part, Mapping) and part.get(MEMBER) is not None
        for content in contents
        if isinstance(content, list)
        for part in content
    )


def _place_in(item: Json) -> str | None:
    kind = item.get("type", "message")
    if kind == "function_call_output":
        return "output"
    return "content" if kind == "message" and item.get("role") in _CLIENT_ROLES else None


def _marked(
    places: Sequence[tuple[Json, str | None]], kind: str, markable: frozenset[str], most: int
) -> list[Json]:
    out = [item for item, _ in places]
    for i in reversed(range(len(out))):
        item, name = places[i]
        content = None if name is None else item.get(name)
        if most and name is not None and (parts := _with_mark(content, kind, markable)) is not None:
            out[i], most = {**item, name: parts}, most - 1
    return out


def _with_mark(content: object, kind: str, markable: frozenset[str]) -> list[Any] | None:
    if isinstance(content, str) and content:
        return [{"type": kind, "text": content, MEMBER: _MARK}]
    last = content[-1] if isinstance(content, list) and content else None
    if not isinstance(last, Mapping) or last.get("type") not in markable or last.get("text") == "":
        return None
    assert isinstance(content, list)
    return [*content[:-1], {**last, MEMBER: _MARK}]


def conversation_key(owner: Sequence[str | None], beginning: object) -> str:
    """Return the `prompt_cache_key` of a conversation.

    It is a digest, so it shows neither its owner nor a text. Different owners never share a key. Without a session,
    conversations that begin alike share one, because they also share that prefix in the cache.

    Args:
        owner: the API key, the end user and the session.
        beginning: the part that all turns of the conversation have in common. Only its first kibibyte counts, which is
            about as much as the vendor itself uses to choose a machine.
    """
    begun = msgspec.json.encode(beginning)[:1024]
    return "cope-" + hashlib.sha256(msgspec.json.encode(owner) + begun).hexdigest()[:32]
