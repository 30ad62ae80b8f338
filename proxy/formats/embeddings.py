"""POST /v1/embeddings, for the large model only. Source: OpenAI API reference, "Embeddings"."""

from collections.abc import Mapping
from typing import Any

from proxy.cascade.types import Json
from proxy.formats.base import CallLimits
from proxy.formats.completions import checked_texts
from proxy.formats.sse import Accumulator
from proxy.pricing.prices import Usage
from proxy.pricing.tokens import count_bound, usage_from


class Embeddings:
    """See `proxy.formats.base.Format`."""

    path = "/embeddings"
    end_event: bytes | None = None
    events_are_named = False
    model_is_optional = False
    is_free = False

    def check(self, body: Json) -> None:
        """Check the input."""
        checked_texts(body, "input")

    def prompt(self, body: Json) -> object:
        """Return the input."""
        return body.get("input")

    def streams(self, body: Json) -> bool:
        """Return False: embeddings are never streamed."""
        return False

    def unbounded_cost(self, body: Json) -> str | None:
        """Return None: only the input costs."""
        return None

    def upstream_body(self, body: Json) -> dict[str, Any]:
        """Return the body as it is."""
        return dict(body)

    def limits(self, body: Json, default_output: int) -> CallLimits:
        """Return limits without output."""
        return CallLimits(asked=0, least=0)

    def count(self, model: str, body: Json) -> int:
        """Count the input."""
        return count_bound(model, checked_texts(body, "input"))

    def read_complete(self, decoded: Json) -> tuple[Usage | None, str | None, str]:
        """Read a list of embeddings."""
        usage = usage_from(decoded["usage"]) if decoded.get("usage") else None
        return usage, "stop" if decoded["data"] is not None else None, ""

    def tally(self) -> Accumulator:
        """Return a tally that stays empty."""
        return Accumulator()

    def is_final_chunk(self, chunk: Json) -> bool:
        """Return False: there are no chunks."""
        return False

    def sends_final_chunk(self, body: Json) -> bool:
        """Return False: there is no final chunk."""
        return False

    def with_facts(self, answer: Json, plan_tokens: int, facts: Mapping[str, object]) -> dict[str, Any]:
        """Add the facts."""
        return {**answer, "cope": facts}
