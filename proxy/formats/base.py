"""The format of an endpoint: how its requests and answers look. Each format is one module, and all share one service."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, cast

import msgspec

from proxy.cascade.types import Json, Sample
from proxy.formats.lenient import decode, encode, members, with_members
from proxy.pricing.prices import Price, Usage
from proxy.pricing.reported import NOTHING_REPORTED, Reported, read_usage


class NotServedError(Exception):
    """Only the large model can answer a request. The message is the reason."""


OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
"""The names of the output limit in chat completions, the new one first. `backends` sends the one that a model knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """The limits of one paid call in tokens, and the field of the body that limits the output."""

    asked: int
    """The output of all choices together."""
    least: int
    """The smallest useful output of all choices together."""
    field: str | None = None
    choices: int = 1
    prompt: int = 0
    count: Callable[[], Awaitable[int]] | None = None
    """Counts the prompt in tokens, if `prompt` is its limit in bytes."""
    tier: str | None = None
    """The service tier that the request asks for."""

    async def counted(self) -> "CallLimits":
        """Return these limits with the prompt in tokens."""
        return self if self.count is None else replace(self, prompt=await self.count(), count=None)

    def within(self, body: Json, output: int) -> dict[str, Any]:
        """Return the body with its output limited to `output` tokens for all choices together, under one name only."""
        if self.field is None:
            return dict(body)
        others = {name: value for name, value in body.items() if name not in OUTPUT_LIMITS}
        return {**others, self.field: output // self.choices}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAnswer:
    """A local answer, with the facts for its `cope` object."""

    request_id: str
    received_at: datetime
    model: str
    sample: Sample
    usage: Usage
    facts: Mapping[str, object]
    stored: bool = False
    """Whether a later request may continue it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAnswer:
    """What is read of a complete answer. All of it may be missing: the answer goes to the client anyway."""

    reported: Reported = NOTHING_REPORTED
    finish_reason: str | None = None
    generated: str = ""
    """The generated text and tool calls, to be counted if the upstream reports no usage."""

    @property
    def usage(self) -> Usage | None:
        """The reported usage, or None if it has gaps."""
        return self.reported.usage


class Tally(Protocol):
    """Add up the events of one streamed answer. It can be read at any time."""

    finish_reason: str | None
    error: dict[str, Any] | None
    chunks: int

    def add(self, data: bytes) -> dict[str, Any]:
        """Add one event's payload, and return it decoded, or {} if it is no JSON object."""
        ...

    @property
    def reported(self) -> Reported:
        """What the usages so far say together."""
        ...

    @property
    def final_usage(self) -> Usage | None:
        """The usage, or None if text came after it, which it does not cover."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the answer is complete."""
        ...

    @property
    def generated(self) -> str:
        """The generated text and tool calls so far, to be counted if the upstream reports no usage."""
        ...


class Format(Protocol):
    """How the requests and answers of one endpoint look."""

    path: str
    """The path below /v1, here and upstream."""
    end_event: bytes | None
    """The payload that ends every stream, or None."""
    events_are_named: bool
    """Whether the events of a stream have names (their types)."""
    model_is_optional: bool
    """Whether a request may have no `model`. The proxy's own default then answers."""
    is_conversation: bool
    """Whether the cascade can answer its requests. See `Conversation`."""
    is_free: bool
    """Whether the upstream bills nothing for a request."""
    unread: frozenset[str]
    """Members of an answer that are large and never read. See `proxy.formats.lenient.decode_except`."""

    def check(self, body: Json) -> None:
        """Check the fields that the proxy itself reads.

        Raises:
            ApiError: 400 that names the parameter.
        """
        ...

    def prompt(self, body: Json) -> object:
        """Return the part of the request that the ledger stores if it stores content."""
        ...

    def streams(self, body: Json) -> bool:
        """Whether the client wants server-sent events."""
        ...

    def unbounded_cost(self, body: Json, price: Price) -> str | None:
        """Return the first part of a request without a known limit of its cost, or None. See `known_costs`."""
        ...

    def upstream_body(self, body: Json) -> dict[str, Any]:
        """Return the body to send upstream. It asks a stream for its usage."""
        ...

    def limits(self, body: Json, default_output: int) -> CallLimits:
        """Return the limits of a call. `default_output` applies if the client gives no limit."""
        ...

    def count(self, model: str, body: Json, *, in_bytes: bool = False) -> int:
        """Return an upper limit of the prompt in tokens. It takes milliseconds for a long one: call it in a thread then.

        With `in_bytes` each text counts with its bytes. That is quick, and never less than the count of tokens.
        """
        ...

    def is_answer(self, decoded: Json) -> bool:
        """Whether an object is an answer of this endpoint, however odd its parts are."""
        ...

    def read_complete(self, decoded: Json) -> ReadAnswer:
        """Read what is usable of a complete answer. Nothing in it is an error."""
        ...

    def tally(self) -> Tally:
        """Return an empty tally for a stream."""
        ...

    def is_final_chunk(self, chunk: Json) -> bool:
        """Whether a chunk may be the final one with the usage. The proxy adds the facts to the last such chunk."""
        ...

    def is_content(self, chunk: Json) -> bool:
        """Whether a chunk has more than usage. A client that did not ask for the usage gets it without that."""
        ...

    def sends_final_chunk(self, body: Json) -> bool:
        """Whether the client wants the final chunk."""
        ...

    def with_facts(self, answer: bytes, plan_tokens: int, facts: Mapping[str, object]) -> bytes:
        """Return a final chunk, or a complete answer, with the facts and without the guideline's tokens.

        All other members keep their bytes.
        """
        ...


class Conversation(Format, Protocol):
    """A format with requests that the cascade can answer."""

    def as_chat(self, body: Json) -> dict[str, Any]:
        """Return the request as a chat completion.

        Raises:
            NotServedError: only the large model can answer it.
        """
        ...

    def with_text(self, body: Json, text: str, *, apart: bool) -> dict[str, Any]:
        """Return the request with a text of the proxy after the client's conversation.

        `apart` puts it into a message of its own. Otherwise it may extend the last message, because the templates of some
        models refuse two messages of the user in a row.
        """
        ...

    def with_breakpoints(self, body: Json, most: int) -> dict[str, Any]:
        """Return the request with breakpoints of the prompt cache in the client's latest messages, at most `most`."""
        ...

    def has_breakpoints(self, body: Json) -> bool:
        """Whether the client has set breakpoints itself."""
        ...

    def opening(self, body: Json) -> object | None:
        """Return the part of the request that all turns of its conversation share, or None if there is none."""
        ...

    def planner_body(self, body: Json, *, effort: str | None) -> tuple[dict[str, Any], bool]:
        """Return the request for a guideline without its prompt, and whether its prefix is that of the answer's request.

        Settings that are part of the prefix are the client's. `effort` is for a client that sets none.
        """
        ...

    def written_text(self, answer: Json) -> str:
        """Return the visible text of a complete answer, or "" if it has none."""
        ...

    def render(self, body: Json, local: LocalAnswer) -> bytes:
        """Render a local answer."""
        ...

    def events(self, body: Json, local: LocalAnswer) -> Iterator[bytes]:
        """Render a local answer as the payloads of a stream, without the `end_event`."""
        ...


def as_conversation(format_: Format) -> Conversation | None:
    """Return the format if the cascade can answer its requests, else None."""
    # `isinstance` of a protocol looks at all its members, which takes longer than the rest of a short request.
    return cast("Conversation", format_) if format_.is_conversation else None


def without_guideline(
    answer: bytes, tokens: int, *, prompt: str, output: str, facts: Mapping[str, object]
) -> bytes:
    """Return an answer with the facts. Its usage counts the client's own prompt, without a guideline of `tokens`.

    `prompt` and `output` are the names of the two counts in this format. A usage that has not both is not changed.
    """
    changes: dict[str, bytes | None] = {"cope": msgspec.json.encode(facts)}
    if not tokens:
        return with_members(answer, changes)
    usage = _usage_of(answer)
    known = read_usage(usage)
    if known.prompt is not None and known.completion is not None:
        own = max(0, known.prompt - tokens)
        beside = max(0, (known.total or 0) - known.prompt - known.completion)  # reasoning of some vendors
        changed = {
            **usage,
            prompt: own,
            output: known.completion,
            "total_tokens": own + known.completion + beside,
        }
        changes["usage"] = encode(changed)
    return with_members(answer, changes)


def _usage_of(answer: bytes) -> dict[str, Any]:
    try:
        usage = decode(members(answer).get("usage", b"{}"))
    except ValueError:
        return {}
    return usage if isinstance(usage, dict) else {}
