"""The attributes of spans: one table of their names by version of OpenTelemetry's GenAI conventions.

The conventions still change. A new version is a new column here, and a new value of `tracing.semconv`.
"""

import math
from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal

from proxy.records import storable_text

Semconv = Literal["2026-11", "1.37"]
"""The versions: the state of the conventions in November 2026, and the release 1.37 that older backends read."""

Value = str | bool | int | float | tuple[str, ...]
Attributes = Mapping[str, Value]

MOST_CHARACTERS = 256
"""The longest text that is no content."""
_LARGEST_INT: Final = 2**63 - 1
"""OTLP has signed integers of 64 bits."""


def _same(name: str) -> tuple[str, str]:
    return name, name


class Fact(Enum):
    """A fact about a span: the attribute's name in 2026-11 and in 1.37. None: that version has no such attribute."""

    OPERATION = _same("gen_ai.operation.name")
    PROVIDER = _same("gen_ai.provider.name")
    WORKFLOW = "gen_ai.workflow.name", None
    CONVERSATION = _same("gen_ai.conversation.id")
    REQUEST_MODEL = _same("gen_ai.request.model")
    RESPONSE_MODEL = _same("gen_ai.response.model")
    STREAM = "gen_ai.request.stream", "cope.stream"
    FIRST_CHUNK_S = "gen_ai.response.time_to_first_chunk", "cope.time_to_first_chunk"
    FINISH_REASONS = _same("gen_ai.response.finish_reasons")
    INPUT_TOKENS = _same("gen_ai.usage.input_tokens")
    OUTPUT_TOKENS = _same("gen_ai.usage.output_tokens")
    CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens", None
    CACHE_WRITE_TOKENS = "gen_ai.usage.cache_write.input_tokens", None
    REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens", None
    COST_AMOUNT = "gen_ai.usage.cost.amount", None
    COST_CURRENCY = "gen_ai.usage.cost.currency", None
    COST_SOURCE = "gen_ai.usage.cost.source", None
    INPUT_MESSAGES = _same("gen_ai.input.messages")
    OUTPUT_MESSAGES = _same("gen_ai.output.messages")

    ERROR_TYPE = _same("error.type")
    HTTP_METHOD = _same("http.request.method")
    HTTP_ROUTE = _same("http.route")
    HTTP_STATUS = _same("http.response.status_code")
    SERVER_ADDRESS = _same("server.address")
    SERVER_PORT = _same("server.port")

    REQUEST_ID = _same("cope.request_id")
    CALL_ID = _same("cope.call_id")
    KEY_ID = _same("cope.key_id")
    MODE = _same("cope.mode")
    TASK = _same("cope.task")
    STAGE = _same("cope.stage")
    DECISION = _same("cope.decision")
    REASON = _same("cope.reason")
    DEGRADED = _same("cope.degraded")
    CONFIDENCE = _same("cope.confidence")
    THRESHOLD = _same("cope.threshold")
    ACCEPTED = _same("cope.accepted")
    PLANNED = _same("cope.samples.planned")
    DRAWN = _same("cope.samples.drawn")
    AGREED = _same("cope.samples.agreed")
    SAMPLE = _same("cope.sample")
    VOTE_GROUP = _same("cope.vote.group")
    VOTE = _same("cope.vote.text")
    PLAN = _same("cope.plan.text")
    TIER = _same("cope.tier")
    CALLS = _same("cope.calls")
    COST_USD = _same("cope.cost_usd")
    COST_NANO_USD = _same("cope.cost_nano_usd")
    BASELINE_USD = _same("cope.baseline_usd")
    ESTIMATED = _same("cope.estimated")
    OVERRUN = _same("cope.overrun")


Facts = Mapping[Fact, Value | None]

_COLUMNS: Mapping[Semconv, int] = {"2026-11": 0, "1.37": 1}


def named(facts: Facts, version: Semconv) -> dict[str, Value]:
    """Return facts under the names of a version, with values that OTLP can carry. Unknown facts are left out."""
    column = _COLUMNS[version]
    pairs = ((fact.value[column], value) for fact, value in facts.items())
    return {name: valid for name, value in pairs if name is not None and (valid := _valid(value)) is not None}


def short(text: str) -> str:
    """Return the beginning of a text that is no content, in complete characters."""
    return storable_text(text[:MOST_CHARACTERS])


def _valid(value: Value | None) -> Value | None:
    """Return a value that OTLP can carry: complete characters, integers of 64 bits, finite numbers."""
    match value:
        case None | bool():
            return value
        case str():
            return storable_text(value)
        case int():
            return max(-_LARGEST_INT, min(value, _LARGEST_INT))
        case float():
            return value if math.isfinite(value) else None
        case tuple():
            return tuple(storable_text(text) for text in value)
