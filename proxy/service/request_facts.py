"""The facts of a finished request for its line in the log. None of them is a text of a client, a model or an upstream."""

from contextvars import ContextVar
from typing import Any

from proxy.errors import plain_word
from proxy.pricing.money import NANO_PER_USD
from proxy.service.finished import Finished

REQUEST_FACTS: ContextVar[dict[str, Any] | None] = ContextVar("request_facts", default=None)
"""The fields of the present request's line. `None` outside of requests, and if there are no such lines."""


def note_facts(finished: Finished) -> None:
    """Add the facts of a finished request to its line."""
    if (facts := REQUEST_FACTS.get()) is None:
        return
    record = finished.record
    facts |= {
        "status": record.status,
        "error": None if record.error is None else plain_word(record.error),
        "key_id": record.key_id,
        "kind": record.task,
        "mode": record.mode,
        "stage": record.stage,
        "model": record.model,
        "degraded": record.degraded is not None,
        "stream": record.stream,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "calls": len(finished.calls),
        "cost_usd": record.cost / NANO_PER_USD,
        "baseline_usd": None if record.baseline is None else record.baseline / NANO_PER_USD,
        "first_token_s": None if record.first_token_ms is None else record.first_token_ms / 1000,
        "overhead_s": round(finished.overhead_s, 6),
    }
