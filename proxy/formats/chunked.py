"""The part that `/v1/chat/completions` and `/v1/completions` have in common: streams of chunks with a usage at the end."""

from collections.abc import Mapping
from typing import Any

from proxy.cascade.types import Json
from proxy.formats.base import without_guideline
from proxy.formats.sse import Accumulator


class ChunkedFormat:
    """The common methods of `proxy.formats.base.Format`."""

    end_event: bytes | None = b"[DONE]"
    events_are_named = False
    model_is_optional = False
    is_free = False

    def streams(self, body: Json) -> bool:
        """Read `stream`."""
        return bool(body.get("stream"))

    def unbounded_cost(self, body: Json) -> str | None:
        """Return a service tier that costs more than the list price."""
        return priority(body)

    def upstream_body(self, body: Json) -> dict[str, Any]:
        """Ask for the usage of a stream."""
        if not body.get("stream"):
            return dict(body)
        return {**body, "stream_options": {**(body.get("stream_options") or {}), "include_usage": True}}

    def tally(self) -> Accumulator:
        """Return an empty accumulator."""
        return Accumulator()

    def is_final_chunk(self, chunk: Json) -> bool:
        """Return True for the usage chunk."""
        return not chunk.get("choices") and bool(chunk.get("usage"))

    def sends_final_chunk(self, body: Json) -> bool:
        """Return True if the client asked for the usage chunk."""
        return wants_usage(body)

    def with_facts(self, answer: Json, plan_tokens: int, facts: Mapping[str, object]) -> dict[str, Any]:
        """Add the facts, and correct the usage."""
        return without_guideline(
            answer, plan_tokens, prompt="prompt_tokens", output="completion_tokens", facts=facts
        )


def wants_usage(body: Json) -> bool:
    """Return True if the client asked for a usage chunk at the end of the stream."""
    return bool((body.get("stream_options") or {}).get("include_usage"))


def priority(body: Json) -> str | None:
    """Return the service tier if it costs more than the list price."""
    tier = body.get("service_tier")
    return None if tier in (None, "auto", "default", "flex") else f"service_tier {str(tier)[:40]!r}"
