"""Rollups: sums by day, updated in the transaction that writes the rows, so that reports need not scan the rows.

There is one row for each day, key, dimension and value, and one for each month, so that a year has few rows. Days
begin at midnight in the zone of the budgets. Pruning deletes the rows of requests and keeps the rollups.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from operator import add
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.compiled import add_to_rows
from proxy.ledger.sum_tables import LatencyRollupRow, RollupRow
from proxy.ledger.wide_sums import MOST_SUM, capped_addition
from proxy.records import CallRecord, RequestRecord

Dimension = Literal[
    "all", "stage", "task", "session", "user", "tag", "model", "tier", "team", "center", "environ"
]
"""With the suffix of `by_month`, a name has to fit into the 16 characters of its column."""
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
TIMED: tuple[Dimension, ...] = ("all", "stage", "task")
"""The dimensions with latencies."""
OF_CALLS: tuple[Dimension, ...] = ("model", "tier")
"""These dimensions count model calls and sum their costs. All others count requests."""
ATTRIBUTED: dict[Dimension, str] = {"team": "team", "center": "cost_center", "environ": "environment"}
"""These dimensions are fields of a request that come from its key. Requests without a value have no sums in them."""
SUMS = (
    "requests", "errors", "escalated", "prompt_tokens", "completion_tokens", "cost_nano", "baseline_nano",
    "sent_tokens", "read_tokens", "written_tokens",
)  # fmt: skip
GROWTH = math.log(1.1)
"""A latency bucket is 10 % wide, so a percentile read from it is within 5 % of the exact one."""

Key = tuple[str, str, str, str]  # dimension, day, key id, value
Sums = dict[Key, list[int]]
Buckets = dict[tuple[str, str, str, str, int], int]


def local_day(at: datetime, zone: ZoneInfo) -> str:
    """Return the day of a time, as "2026-10-31"."""
    return at.astimezone(zone).strftime("%Y-%m-%d")


@cache
def by_month(dimension: Dimension) -> str:
    """Return the name of the dimension for months, with a `day` such as "2026-10"."""
    return f"{dimension}:month"


def roll_requests(records: Iterable[RequestRecord], zone: ZoneInfo) -> tuple[Sums, Buckets]:
    """Sum requests by each of their dimensions, and count their latencies in buckets."""
    sums: Sums = defaultdict(lambda: [0] * len(SUMS))
    buckets: Buckets = defaultdict(int)
    for r in records:
        day, key = local_day(r.started_at, zone), r.key_id or ""
        amounts = (
            1, r.status >= 400, (r.stage or 0) > 1 and r.mode == "cascade", r.prompt_tokens, r.completion_tokens,
            r.cost, r.baseline or 0, r.sent_tokens, r.read_tokens, r.written_tokens,
        )  # fmt: skip
        stage, task = str(r.stage or ""), r.task or ""
        values: list[tuple[Dimension, str]] = [
            ("all", ""), ("stage", stage), ("task", task), ("session", r.session or ""), ("user", r.user or ""),
            *(("tag", tag) for tag in r.tags or ("",)),
            *((dimension, found) for dimension, field in ATTRIBUTED.items() if (found := getattr(r, field))),
        ]  # fmt: skip
        for dimension, value in values:
            _add(sums, dimension, day, key, value, amounts)
        bucket = bucket_of(r.latency_ms)
        for dimension, value in values:
            if dimension in TIMED:
                buckets[dimension, day, key, value, bucket] += 1
                buckets[by_month(dimension), day[:7], key, value, bucket] += 1
    return sums, buckets


def roll_calls(records: Iterable[CallRecord], zone: ZoneInfo) -> Sums:
    """Sum calls by model and tier."""
    sums: Sums = defaultdict(lambda: [0] * len(SUMS))
    for c in records:
        day, key = local_day(c.started_at, zone), c.key_id or ""
        used = c.usage
        cache = used.prompt_tokens, used.cached_tokens, used.cache_write_tokens
        amounts = (1, c.error is not None, 0, used.prompt_tokens, used.completion_tokens, c.cost, 0, *cache)
        _add(sums, "model", day, key, c.model, amounts)
        _add(sums, "tier", day, key, c.tier, amounts)
    return sums


def bucket_of(latency_ms: int) -> int:
    """Return the bucket of a latency."""
    return round(math.log(max(1, latency_ms)) / GROWTH)


def bucket_middle(bucket: int) -> int:
    """Return the middle of a bucket in milliseconds."""
    return round(math.exp(bucket * GROWTH))


def percentile(buckets: Mapping[int, int], share: float) -> int | None:
    """Return the latency that a share of the requests did not exceed. Return `None` without requests."""
    wanted = share * sum(buckets.values())
    for bucket in sorted(buckets):
        wanted -= buckets[bucket]
        if wanted <= 0:
            return bucket_middle(bucket)
    return None


async def add_sums(
    connection: AsyncConnection,
    sums: Mapping[Key, list[int]],
    buckets: Mapping[tuple[str, str, str, str, int], int],
) -> None:
    """Add sums to the stored ones. Lock rows in the order of their keys, so that writers never deadlock."""
    capped = {key: [min(amount, MOST_SUM) for amount in amounts] for key, amounts in sums.items()}
    rows = [_named(key) | dict(zip(SUMS, capped[key], strict=True)) for key in sorted(sums)]
    await add_to_rows(connection, RollupRow, rows, SUMS, capped_addition)
    counts = [_named(k[:4]) | {"bucket": k[4], "requests": buckets[k]} for k in sorted(buckets)]
    await add_to_rows(connection, LatencyRollupRow, counts, ("requests",), add)


def _named(key: Key) -> dict[str, object]:
    return dict(zip(("dimension", "day", "key_id", "value"), key, strict=True))


def _add(sums: Sums, dimension: Dimension, day: str, key: str, value: str, amounts: tuple[int, ...]) -> None:
    for into in (sums[dimension, day, key, value], sums[by_month(dimension), day[:7], key, value]):
        for i, amount in enumerate(amounts):
            into[i] += amount
