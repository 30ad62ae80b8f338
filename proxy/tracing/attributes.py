"""The attributes of spans: one table of their names by version of OpenTelemetry's GenAI conventions.

The conventions still change. A new version is a new value of `tracing.semconv`: its names go into `Fact`, and those that
differ in older versions go into a table beside it.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
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


class Fact(StrEnum):
    """A fact about a span, and its attribute's name in 2026-11."""

    OPERATION = "gen_ai.operation.name"
    PROVIDER = "gen_ai.provider.name"
    WORKFLOW = "gen_ai.workflow.name"
    CONVERSATION = "gen_ai.conversation.id"
    REQUEST_MODEL = "gen_ai.request.model"
    RESPONSE_MODEL = "gen_ai.response.model"
    STREAM = "gen_ai.request.stream"
    FIRST_CHUNK_S = "gen_ai.response.time_to_first_chunk"
    FINISH_REASONS = "gen_ai.response.finish_reasons"
    INPUT_TOKENS = "gen_ai.usage.input_tokens"
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
    CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
    CACHE_WRITE_TOKENS = "gen_ai.usage.cache_write.input_tokens"
    REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
    COST_AMOUNT = "gen_ai.usage.cost.amount"
    COST_CURRENCY = "gen_ai.usage.cost.currency"
    COST_SOURCE = "gen_ai.usage.cost.source"
    INPUT_MESSAGES = "gen_ai.input.messages"
    OUTPUT_MESSAGES = "gen_ai.output.messages"

    ERROR_TYPE = "error.type"
    HTTP_METHOD = "http.request.method"
    HTTP_ROUTE = "http.route"
    HTTP_STATUS = "http.response.status_code"
    SERVER_ADDRESS = "server.address"
    SERVER_PORT = "server.port"

    REQUEST_ID = "cope.request_id"
    CALL_ID = "cope.call_id"
    KEY_ID = "cope.key_id"
    MODE = "cope.mode"
    TASK = "cope.task"
    STAGE = "cope.stage"
    DECISION = "cope.decision"
    REASON = "cope.reason"
    DEGRADED = "cope.degraded"
    CONFIDENCE = "cope.confidence"
    THRESHOLD = "cope.threshold"
    ACCEPTED = "cope.accepted"
    PLANNED = "cope.samples.planned"
    DRAWN = "cope.samples.drawn"
    AGREED = "cope.samples.agreed"
    SAMPLE = "cope.sample"
    VOTE_GROUP = "cope.vote.group"
    VOTE = "cope.vote.text"
    PLAN = "cope.plan.text"
    TIER = "cope.tier"
    CALLS = "cope.calls"
    COST_USD = "cope.cost_usd"
    COST_NANO_USD = "cope.cost_nano_usd"
    BASELINE_USD = "cope.baseline_usd"
    ESTIMATED = "cope.estimated"
    OVERRUN = "cope.overrun"


IN_1_37: Mapping[Fact, str | None] = {
    Fact.WORKFLOW: None,
    Fact.STREAM: "cope.stream",
    Fact.FIRST_CHUNK_S: "cope.time_to_first_chunk",
    Fact.CACHE_READ_TOKENS: None,
    Fact.CACHE_WRITE_TOKENS: None,
    Fact.REASONING_TOKENS: None,
    Fact.COST_AMOUNT: None,
    Fact.COST_CURRENCY: None,
    Fact.COST_SOURCE: None,
}
"""The names that differ in 1.37. None: that version has no such attribute."""

Facts = Mapping[Fact, Value | None]

_NAMES: Mapping[Semconv, Mapping[Fact, str | None]] = {
    "2026-11": {fact: fact.value for fact in Fact},
    "1.37": {fact: IN_1_37.get(fact, fact.value) for fact in Fact},
}


def named(facts: Facts, version: Semconv) -> dict[str, Value]:
    """Return facts under the names of a version, with values that OTLP can carry. Unknown facts are left out."""
    names = _NAMES[version]
    found: dict[str, Value] = {}
    for fact, value in facts.items():
        if value is None or (name := names[fact]) is None:
            continue
        if (valid := _valid(value)) is not None:
            found[name] = valid
    return found


def short(text: str) -> str:
    """Return the beginning of a text that is no content, in complete characters."""
    return storable_text(text[:MOST_CHARACTERS])


def _valid(value: Value) -> Value | None:
    """Return a value that OTLP can carry: complete characters, integers of 64 bits, finite numbers."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return max(-_LARGEST_INT, min(value, _LARGEST_INT))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return tuple(storable_text(text) for text in value)
