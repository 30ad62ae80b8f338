"""The part that `/v1/chat/completions` and `/v1/completions` have in common: streams of chunks with a usage at the end."""

from collections.abc import Mapping
from typing import Any

from proxy.cascade.types import Json
from proxy.formats.base import ReadAnswer, without_guideline
from proxy.formats.generated import generated_text, in_unicode
from proxy.formats.lenient import mended, objects
from proxy.formats.sse import Accumulator
from proxy.pricing.reported import read_usage


class ChunkedFormat:
    """The common methods of `proxy.formats.base.Format`."""

    end_event: bytes | None = b"[DONE]"
    events_are_named = False
    model_is_optional = False
    is_conversation = False
    is_free = False
    unread = frozenset[str]()

    def streams(self, body: Json) -> bool:
        """Read `stream`."""
        return bool(body.get("stream"))

    def upstream_body(self, body: Json) -> dict[str, Any]:
        """Ask for the usage of a stream."""
        if not body.get("stream"):
            return dict(body)
        return {**body, "stream_options": {**(body.get("stream_options") or {}), "include_usage": True}}

    def tally(self) -> Accumulator:
        """Return an empty accumulator."""
        return Accumulator()

    def is_answer(self, decoded: Json) -> bool:
        """Look for choices or a usage."""
        return "choices" in decoded or "usage" in decoded

    def read_complete(self, decoded: Json) -> ReadAnswer:
        """Read a `chat.completion` or a `text_completion`."""
        choices = objects(decoded.get("choices"))
        finish = next((c["finish_reason"] for c in choices[:1] if c.get("finish_reason")), None)
        generated = [generated_text(c["message"] if c.get("message") else c) for c in choices]
        return ReadAnswer(
            reported=read_usage(decoded.get("usage")).at_tier(decoded.get("service_tier")),
            finish_reason=None if finish is None else mended(str(finish)[:100]),
            generated=in_unicode(generated),
        )

    def is_final_chunk(self, chunk: Json) -> bool:
        """Return True for a chunk with a usage and without choices, or with a choice that ends."""
        if not chunk.get("usage"):
            return False
        choices = objects(chunk.get("choices"))
        return not choices or any(choice.get("finish_reason") for choice in choices)

    def is_content(self, chunk: Json) -> bool:
        """Return True for a chunk with choices."""
        return bool(chunk.get("choices"))

    def sends_final_chunk(self, body: Json) -> bool:
        """Return True if the client asked for the usage chunk."""
        return wants_usage(body)

    def with_facts(self, answer: bytes, plan_tokens: int, facts: Mapping[str, object]) -> bytes:
        """Add the facts, and correct the usage."""
        return without_guideline(
            answer, plan_tokens, prompt="prompt_tokens", output="completion_tokens", facts=facts
        )


def wants_usage(body: Json) -> bool:
    """Return True if the client asked for a usage chunk at the end of the stream."""
    return bool((body.get("stream_options") or {}).get("include_usage"))
