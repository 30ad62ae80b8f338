"""POST /v1/embeddings, for the large model only. Source: OpenAI API reference, "Embeddings"."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from proxy.cascade.types import Json
from proxy.formats import known_costs
from proxy.formats.base import CallLimits, ReadAnswer
from proxy.formats.completions import checked_texts
from proxy.formats.lenient import with_members
from proxy.formats.sse import Accumulator
from proxy.pricing.bounds import texts_bound
from proxy.pricing.prices import Price
from proxy.pricing.reported import NOTHING_REPORTED, read_usage


class Embeddings:
    """See `proxy.formats.base.Format`."""

    path = "/embeddings"
    end_event: bytes | None = None
    events_are_named = False
    model_is_optional = False
    is_conversation = False
    is_free = False
    unread = frozenset({"data"})

    def check(self, body: Json) -> None:
        """Check the input."""
        checked_texts(body, "input")

    def prompt(self, body: Json) -> object:
        """Return the input."""
        return body.get("input")

    def streams(self, body: Json) -> bool:
        """Return False: embeddings are never streamed."""
        return False

    def unbounded_cost(self, body: Json, price: Price) -> str | None:
        """Name the fields that are not in the table."""
        return known_costs.unknown_in_embeddings(body, price)

    def upstream_body(self, body: Json) -> dict[str, Any]:
        """Return the body as it is."""
        return dict(body)

    def limits(self, body: Json, default_output: int) -> CallLimits:
        """Return limits without output."""
        return CallLimits(asked=0, least=0)

    def count(self, model: str, body: Json, *, in_bytes: bool = False) -> int:
        """Count everything. Token ids count as one each."""
        rest = {name: value for name, value in body.items() if name != "input"}
        return texts_bound(model, checked_texts(body, "input"), rest, in_bytes=in_bytes)

    def is_answer(self, decoded: Json) -> bool:
        """Look for data or a usage."""
        return "data" in decoded or "usage" in decoded

    def read_complete(self, decoded: Json) -> ReadAnswer:
        """Read a list of embeddings. All of its tokens are input."""
        reported = read_usage(decoded.get("usage")).at_tier(decoded.get("service_tier"))
        prompt = max((n for n in (reported.prompt, reported.total) if n), default=None)
        usage = (
            NOTHING_REPORTED
            if prompt is None
            else replace(
                reported, prompt=prompt, completion=0, total=None, reasoning=None, audio_completion=None
            )
        )
        return ReadAnswer(reported=usage, finish_reason="stop" if decoded.get("data") is not None else None)

    def tally(self) -> Accumulator:
        """Return a tally that stays empty."""
        return Accumulator()

    def is_final_chunk(self, chunk: Json) -> bool:
        """Return False: there are no chunks."""
        return False

    def sends_final_chunk(self, body: Json) -> bool:
        """Return False: there is no final chunk."""
        return False

    def is_content(self, chunk: Json) -> bool:
        """Return False: there are no chunks."""
        return False

    def with_facts(self, answer: bytes, plan_tokens: int, facts: Mapping[str, object]) -> bytes:
        """Add the facts."""
        return with_members(answer, {"cope": msgspec.json.encode(facts)})
