"""The format of an endpoint: how its requests and answers look. Each format is one module, and all share one service."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from proxy.cascade.types import Json, Sample
from proxy.pricing.prices import Usage


class NotServedError(Exception):
    """Only the large model can answer a request. The message is the reason."""


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

    def within(self, body: Json, output: int) -> dict[str, Any]:
        """Return the body with its output limited to `output` tokens for all choices together."""
        return dict(body) if self.field is None else {**body, self.field: output // self.choices}


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


class Tally(Protocol):
    """Add up the events of one streamed answer. It can be read at any time."""

    usage: Usage | None
    finish_reason: str | None
    error: dict[str, Any] | None
    chunks: int

    def add(self, data: bytes) -> dict[str, Any]:
        """Add one event's payload, and return it decoded.

        Raises:
            ValueError: the payload is not a JSON object, or its usage is impossible.
        """
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
    is_free: bool
    """Whether the upstream bills nothing for a request."""

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

    def unbounded_cost(self, body: Json) -> str | None:
        """Return the field that makes the cost of a request unpredictable, or None."""
        ...

    def upstream_body(self, body: Json) -> dict[str, Any]:
        """Return the body to send upstream. It asks a stream for its usage."""
        ...

    def limits(self, body: Json, default_output: int) -> CallLimits:
        """Return the limits of a call. `default_output` applies if the client gives no limit."""
        ...

    def count(self, model: str, body: Json) -> int:
        """Return an upper limit of the prompt in tokens. It takes milliseconds, so call it in a thread."""
        ...

    def read_complete(self, decoded: Json) -> tuple[Usage | None, str | None, str]:
        """Return the usage, the finish reason and the generated text of a complete answer.

        Raises:
            ValueError, KeyError, TypeError, IndexError, AttributeError: the answer does not have this format.
        """
        ...

    def tally(self) -> Tally:
        """Return an empty tally for a stream."""
        ...

    def is_final_chunk(self, chunk: Json) -> bool:
        """Whether a chunk is the final one, which carries the usage. The proxy adds the facts to it."""
        ...

    def sends_final_chunk(self, body: Json) -> bool:
        """Whether the client wants the final chunk."""
        ...

    def with_facts(self, answer: Json, plan_tokens: int, facts: Mapping[str, object]) -> dict[str, Any]:
        """Return a final chunk, or a complete answer, with the facts and without the guideline's tokens."""
        ...


@runtime_checkable
class Conversation(Format, Protocol):
    """A format with requests that the cascade can answer."""

    def as_chat(self, body: Json) -> dict[str, Any]:
        """Return the request as a chat completion.

        Raises:
            NotServedError: only the large model can answer it.
        """
        ...

    def with_guideline(self, body: Json, guideline: str) -> dict[str, Any]:
        """Return the request with a guideline for the large executor."""
        ...

    def render(self, body: Json, local: LocalAnswer) -> bytes:
        """Render a local answer."""
        ...

    def events(self, body: Json, local: LocalAnswer) -> Iterator[bytes]:
        """Render a local answer as the payloads of a stream, without the `end_event`."""
        ...


def without_guideline(
    answer: Json, tokens: int, *, prompt: str, output: str, facts: Mapping[str, object]
) -> dict[str, Any]:
    """Return an answer with the facts. Its usage counts the client's own prompt, without a guideline of `tokens`.

    `prompt` and `output` are the names of the two counts in this format.
    """
    out = {**answer, "cope": facts}
    if tokens and answer.get("usage"):
        usage = dict(answer["usage"])
        usage[prompt] = max(0, usage[prompt] - tokens)
        usage["total_tokens"] = usage[prompt] + usage[output]
        out["usage"] = usage
    return out
