"""What the stand-in is told to do: rules, of which the first that matches a request is followed."""

import json
from typing import Any

from msgspec import Struct, field

Json = dict[str, Any]


class Match(Struct, forbid_unknown_fields=True, frozen=True):
    """Which chat requests a rule is for; a field that is left out matches all."""

    model: str | None = None
    contains: str | tuple[str, ...] = ()  # all of these are in the JSON text of the messages
    not_contains: str | tuple[str, ...] = ()  # none of these is
    stream: bool | None = None
    has: str | None = None  # the body has this field
    nth: int | None = None  # only the nth (from 1) request that matches the other fields

    def fits(self, body: Json) -> bool:
        """Compare all fields but `nth`."""
        said = body.get("messages") or body.get("input") or body.get("prompt")
        text = json.dumps(said, ensure_ascii=False)
        return (
            self.model in (None, body.get("model"))
            and self.stream in (None, bool(body.get("stream")))
            and (self.has is None or self.has in body)
            and all(part in text for part in _many(self.contains))
            and not any(part in text for part in _many(self.not_contains))
        )


class Reply(Struct, forbid_unknown_fields=True, frozen=True):
    """One answer, and how it goes wrong. Chunks are counted from the role chunk, which is the first."""

    content: str | None = None  # default "ok", or none beside tool calls
    contents: tuple[str, ...] = ()  # instead of `content`: the next one for each choice, over and over
    tool_calls: tuple[Json, ...] = ()  # OpenAI's shape, or short: {"name": ..., "arguments": {...}}
    finish_reason: str | None = None
    logprob: float | None = -0.1  # of each token, for a request that asks for logprobs; None: none are sent
    logprob_of: dict[str, float] = field(default_factory=dict)  # of these words, instead
    usage: Json | None = None  # instead of the count of words
    usage_details: Json = field(default_factory=dict)  # merged into the usage
    omit_usage: bool = False
    extra: Json = field(default_factory=dict)  # merged into the completion, and into each chunk
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    error: Json = field(default_factory=dict)  # merged into the error object
    raw_body: str | None = None  # sent as it is, with `status`
    content_type: str | None = None  # of `raw_body`, instead of the right one
    delay_s: float = 0.0  # before the headers
    chunk_delay_s: float = 0.0  # between chunks
    release: str | None = None  # wait for this gate,
    release_after: int = 0  # after that many chunks; 0: before the headers
    break_after: int | None = None  # abort the connection after that many chunks; 0: before the headers
    other_form: bool = False  # a whole answer where a stream is asked for, and the reverse
    close_reused: bool = False  # abort the connection if it has served an earlier request
    stall_after: int | None = None  # send nothing more after that many chunks, until the client goes
    error_after: int | None = None  # send `error` as an event of the stream after that many chunks


class Rule(Struct, forbid_unknown_fields=True, frozen=True):
    """A list of replies is served one for each request, over and over."""

    match: Match = Match()
    reply: Reply | tuple[Reply, ...] = Reply()


class Turn:
    """A rule and what it has served so far."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._matched = 0
        self._replied = 0
        self._told: dict[int, int] = {}

    def take(self, body: Json, choices: int) -> tuple[Reply, list[str | None]] | None:
        """Return the reply to a request and the text of each of its choices; `None` when it is not ours."""
        match, reply = self._rule.match, self._rule.reply
        if not match.fits(body):
            return None
        self._matched += 1
        if match.nth not in (None, self._matched):
            return None
        replies = reply if isinstance(reply, tuple) else (reply,)
        index = self._replied % len(replies)
        self._replied += 1
        return replies[index], [self._text(index, replies[index]) for _ in range(choices)]

    def _text(self, index: int, reply: Reply) -> str | None:
        if reply.contents:
            told = self._told.get(index, 0)
            self._told[index] = told + 1
            return reply.contents[told % len(reply.contents)]
        return "ok" if reply.content is None and not reply.tool_calls else reply.content


def _many(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
