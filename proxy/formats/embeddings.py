"""POST /v1/embeddings, passed on. Source: OpenAI API reference, "Embeddings"."""

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
    farewell: bytes | None = None
    events_are_named = False

    def check(self, body: Json) -> None:
        """Check the input."""
        checked_texts(body, "input")

    def prompt(self, body: Json) -> object:
        """Return the input."""
        return body.get("input")

    def streams(self, body: Json) -> bool:
        """Embeddings come whole."""
        return False

    def unbounded(self, body: Json) -> str | None:
        """Only the input costs."""
        return None

    def outgoing(self, body: Json) -> dict[str, Any]:
        """Pass the body on."""
        return dict(body)

    def bound(self, body: Json, default_output: int) -> CallLimits:
        """There is no output."""
        return CallLimits(0, 0)

    def count(self, model: str, body: Json) -> int:
        """Bound the input."""
        return count_bound(model, checked_texts(body, "input"))

    def whole(self, decoded: Json) -> tuple[Usage | None, str | None, str]:
        """Read a list of embeddings."""
        usage = usage_from(decoded["usage"]) if decoded.get("usage") else None
        return usage, "stop" if decoded["data"] is not None else None, ""

    def tally(self) -> Accumulator:
        """Nothing is ever added to it."""
        return Accumulator()

    def held_back(self, chunk: Json) -> bool:
        """There are no chunks."""
        return False

    def shown(self, body: Json) -> bool:
        """Show it to who asked for it."""
        return False

    def last(self, answer: Json, plan_tokens: int, facts: Mapping[str, object]) -> dict[str, Any]:
        """Add the facts."""
        return {**answer, "cope": facts}
