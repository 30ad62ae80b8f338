"""Totals of the whole ledger by the labels of its metrics, updated in the transaction that writes the rows.

So they equal the rows, whichever process wrote them, and also after a crash. Every label has a closed set of values, or
is the name of a configured model. So there are few rows, and a scrape takes the same time for any number of requests.
Pruning keeps the totals: a counter never falls.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger.compiled import add_to_rows
from proxy.ledger.sum_tables import CounterRow
from proxy.ledger.wide_sums import MOST_SUM, capped_addition
from proxy.records import CallRecord, RequestRecord

LONGEST_LABEL = 16
"""The characters of a label, except for names of models."""
LABELS = ("subject", "kind", "mode", "stage", "role", "tier", "model", "outcome")
_MODEL = LABELS.index("model")
AMOUNTS = (
    "count", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost_nano", "baseline_nano",
    "cache_write_tokens",
)  # fmt: skip
NONE = "none"
"""A label without a value, such as the stage of a request that nothing answered."""

Key = tuple[str, ...]
Totals = dict[Key, list[int]]
_INTERRUPTED = frozenset({"cancelled", "disconnected", "timeout"})


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """One total. `subject` is "request", "call" or "stage". A label that its subject lacks is empty."""

    subject: str
    kind: str
    mode: str
    stage: str
    role: str
    tier: str
    model: str
    outcome: str
    count: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_nano: int
    baseline_nano: int
    cache_write_tokens: int


def count_requests(records: Iterable[RequestRecord]) -> Totals:
    """Count requests with their baselines, and the stages that decided them."""
    totals: Totals = defaultdict(lambda: [0] * len(AMOUNTS))
    for r in records:
        kind, stage = r.task or NONE, NONE if r.stage is None else str(r.stage)
        key = ("request", kind, r.mode, stage, "", tier_of(r.stage), r.model or NONE, request_outcome(r))
        _add(totals, key, (1, r.prompt_tokens, 0, r.completion_tokens, 0, r.cost, r.baseline or 0))
        for decided in r.stages:
            outcome = "accepted" if decided.accepted else "escalated"
            for event, count in ((outcome, 1), ("drawn", decided.drawn)):
                _add(totals, ("stage", kind, "", str(decided.stage), "", "", "", event), (count,))
    return totals


def count_calls(records: Iterable[CallRecord]) -> Totals:
    """Count model calls with their tokens and costs."""
    totals: Totals = defaultdict(lambda: [0] * len(AMOUNTS))
    for c in records:
        key = ("call", c.task or NONE, "", str(c.stage), c.role, c.tier, c.model, call_outcome(c))
        used = c.usage
        tokens = used.prompt_tokens, used.cached_tokens, used.completion_tokens, used.reasoning_tokens
        _add(totals, key, (1, *tokens, c.cost, 0, used.cache_write_tokens))
    return totals


def tier_of(stage: int | None) -> str:
    """Return the tier that answers in a stage."""
    if stage is None:
        return NONE
    return "large" if stage == 3 else "small"


def request_outcome(record: RequestRecord) -> str:
    """Return how a request ended: one of seven words."""
    match record.status:
        case 429:
            return "limited"
        case 499:
            return "disconnected"
        case 504:
            return "timeout"
        case status if status >= 500:
            return "failed"
        case status if status >= 400:
            return "refused"
    return "answered" if record.degraded is None else "degraded"


def call_outcome(record: CallRecord) -> str:
    """Return how a call ended: `ok`, `error`, `cancelled`, `disconnected` or `timeout`."""
    if record.error is not None:
        return "error"
    return reason if (reason := record.finish_reason) in _INTERRUPTED and reason else "ok"


async def add(connection: AsyncConnection, totals: Mapping[Key, list[int]]) -> None:
    """Add to the stored totals. Lock rows in the order of their keys, so that writers never deadlock."""
    rows = [
        dict(zip(LABELS, key, strict=True))
        | dict(zip(AMOUNTS, (min(amount, MOST_SUM) for amount in amounts), strict=True))
        for key, amounts in sorted((_cut(key), amounts) for key, amounts in totals.items())
    ]
    await add_to_rows(connection, CounterRow, rows, AMOUNTS, capped_addition)


async def read_totals(engine: AsyncEngine) -> list[Total]:
    """Return all totals."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        rows = await connection.execute(select(*(getattr(CounterRow, n) for n in LABELS + AMOUNTS)))
        return [Total(**row._mapping) for row in rows]  # noqa: SLF001  (SQLAlchemy's public name for it)


def _cut(key: Key) -> Key:
    """Return the labels as they fit their columns."""
    return tuple(name if at == _MODEL else name[:LONGEST_LABEL] for at, name in enumerate(key))


def _add(totals: Totals, key: Key, amounts: tuple[int, ...]) -> None:
    into = totals[key]
    for i, amount in enumerate(amounts):
        into[i] += amount
