"""The endpoints' own languages. All of them go through one service; what differs is here, one module each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from proxy.cascade.types import Json, Sample
from proxy.pricing.prices import Usage


class NotServedError(Exception):
    """The cascade cannot take a request, only the large model can; the message is the reason."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Upper bounds of one paid call, in tokens, and the field of the body that holds the output to them."""

    asked: int  # output of all choices together
    least: int  # likewise: an answer cut shorter than that is of no use
    field: str | None = None
    choices: int = 1
    prompt: int = 0

    def within(self, body: Json, output: int) -> dict[str, Any]:
        """Return the body with its output bounded by `output` tokens in all."""
        return dict(body) if self.field is None else {**body, self.field: output // self.choices}


@dataclass(frozen=True, slots=True)
class Local:
    """A local answer to be rendered, and what is said beside it."""

    request_id: str
    received_at: datetime
    model: str
    sample: Sample
    usage: Usage
    facts: Mapping[str, object]
    stored: bool = False  # whether a later request may continue it


class Tally(Protocol):
    """Adds the events of one streamed answer up. State is its point; it can be read at any time."""

    usage: Usage | None
    finish_reason: str | None
    error: dict[str, Any] | None
    chunks: int

    def add(self, data: bytes) -> dict[str, Any]:
        """Add one event's payload and return it decoded.

        Raises:
            ValueError: it is no JSON object, or reports an impossible usage.
        """
        ...

    @property
    def complete(self) -> bool:
        """Whether the answer has come to its end."""
        ...

    @property
    def generated(self) -> str:
        """All that was generated so far, to be counted when no usage comes."""
        ...


class Format(Protocol):
    """How one endpoint asks and answers."""

    path: str
    """Below the base URL, here and upstream."""
    farewell: bytes | None
    """The last event of a stream."""
    events_are_named: bool
    """Whether each event of a stream carries its type as its name."""

    def check(self, body: Json) -> None:
        """Check what the proxy itself relies on.

        Raises:
            ApiError: 400 that names the parameter.
        """
        ...

    def prompt(self, body: Json) -> object:
        """Return the part of the request that a ledger which keeps content keeps."""
        ...

    def streams(self, body: Json) -> bool:
        """Whether the client wants server-sent events."""
        ...

    def unbounded(self, body: Json) -> str | None:
        """Return what makes the cost of a request unpredictable, `None` when nothing does."""
        ...

    def outgoing(self, body: Json) -> dict[str, Any]:
        """Return the body as it goes upstream: streams report their usage."""
        ...

    def bound(self, body: Json, default_output: int) -> CallLimits:
        """Bound the output of a call; `default_output` tokens where the client gave no bound."""
        ...

    def count(self, model: str, body: Json) -> int:
        """Return an upper bound of the prompt in tokens. It takes milliseconds: not on the loop."""
        ...

    def whole(self, decoded: Json) -> tuple[Usage | None, str | None, str]:
        """Read an unstreamed answer: its usage, its finish reason, and what was generated.

        Raises:
            ValueError, KeyError, TypeError, IndexError, AttributeError: it is no such answer.
        """
        ...

    def tally(self) -> Tally:
        """Begin to add up a stream."""
        ...

    def held_back(self, chunk: Json) -> bool:
        """Whether a chunk waits for the last facts."""
        ...

    def shown(self, body: Json) -> bool:
        """Whether the client asked for the held-back chunk."""
        ...

    def last(self, answer: Json, plan_tokens: int, facts: Mapping[str, object]) -> dict[str, Any]:
        """Return a held-back chunk, or a whole answer, without the guideline's tokens and with the facts."""
        ...


@runtime_checkable
class Conversation(Format, Protocol):
    """A format whose requests the cascade can answer."""

    def as_chat(self, body: Json) -> dict[str, Any]:
        """Return the request as a chat completion.

        Raises:
            NotServedError: only the large model can answer it.
        """
        ...

    def guided(self, body: Json, guideline: str) -> dict[str, Any]:
        """Return the request with a guideline for the large executor."""
        ...

    def render(self, body: Json, local: Local) -> bytes:
        """Render a local answer."""
        ...

    def events(self, body: Json, local: Local) -> Iterator[bytes]:
        """Render a local answer as the payloads of a stream, without the farewell."""
        ...
