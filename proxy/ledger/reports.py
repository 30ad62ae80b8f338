"""Spend reports: from the rollups where the range is whole days, else from the rows themselves."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import String, cast, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger import rollups
from proxy.ledger.rollups import SUMS, Dimension, local_day
from proxy.ledger.tables import Call, LatencyRollup, Request, Rollup
from proxy.pricing.prices import Price, Usage
from proxy.records import CallRecord, RequestRecord

By = Literal["day", "model", "tier", "stage", "task", "key", "session", "user", "tag"]
GROUPS = get_args(By)
OF_CALLS = ("model", "tier")
"""These count model calls, and sum what each call has cost; all others count requests."""
WITH_LATENCY = ("day", "key", "stage", "task")
METHOD = (
    "Saved: against one call of the large model for each answered request, at its price for the request's own prompt "
    "and an answer of the length that was given (tokens of the large model's encoding)."
)


class SpendRow(msgspec.Struct, frozen=True):
    """The spend of one group.

    `requests` counts model calls where the group is a model or a tier, and `baseline` is 0 there. `baseline` is
    what the large model alone would have cost; `escalated` counts requests of the cascade that stage 1 did not
    answer. Percentiles are in milliseconds, within 5 %.
    """

    group: str | None
    requests: int
    errors: int
    escalated: int
    prompt_tokens: int
    completion_tokens: int
    cost: int
    baseline: int
    p50_ms: int | None = None
    p95_ms: int | None = None
    p99_ms: int | None = None


async def spend(
    engine: AsyncEngine,
    *,
    by: By,
    zone: ZoneInfo,
    since: datetime | None = None,
    until: datetime | None = None,
    key_id: str | None = None,
    limit: int | None = None,
) -> list[SpendRow]:
    """Sum the spend by a group: days in order, everything else dearest first.

    Args:
        engine: the database.
        by: the group.
        zone: whose midnight begins a day.
        since: start of the range, included.
        until: its end, not included. A range that begins and ends at midnight is answered from the rollups, at
            once however many requests there are; any other one is summed up from the rows.
        key_id: only this key's.
        limit: at most so many groups.
    """
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        if _midnight(since, zone) and _midnight(until, zone):
            first = None if since is None else local_day(since, zone)
            last = None if until is None else local_day(until - timedelta(microseconds=1), zone)
            sums, buckets = await _stored(connection, by, first, last, key_id)
        else:
            sums, buckets = await _counted(connection, by, since, until, key_id, zone)
    rows = [_row(by, group, amounts, buckets.get(group)) for group, amounts in sums.items()]
    rows.sort(
        key=(lambda r: r.group or "") if by == "day" else (lambda r: (-r.cost, -r.requests, r.group or ""))
    )
    return rows[:limit]


def _midnight(at: datetime | None, zone: ZoneInfo) -> bool:
    if at is None:
        return True
    local = at.astimezone(zone)
    return (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)


def _dimension(by: By) -> Dimension:
    return "all" if by in ("day", "key") else by  # type: ignore[return-value]


async def _stored(
    connection: AsyncConnection, by: By, first: str | None, last: str | None, key_id: str | None
) -> tuple[dict[str, list[int]], dict[str, dict[int, int]]]:
    def where(table: type[Rollup] | type[LatencyRollup]) -> list[Any]:
        conditions = [table.dimension == _dimension(by)]
        conditions += [table.day >= first] if first is not None else []
        conditions += [table.day <= last] if last is not None else []
        conditions += [table.key_id == key_id] if key_id is not None else []
        return conditions

    def group(table: type[Rollup] | type[LatencyRollup]) -> Any:
        return {"day": table.day, "key": table.key_id}.get(by, table.value)

    # As text: Postgres sums into numeric, and a driver may make floats of that.
    totals = [cast(func.sum(getattr(Rollup, name)), String) for name in SUMS]
    found = await connection.execute(
        select(group(Rollup), *totals).where(*where(Rollup)).group_by(group(Rollup))
    )
    sums = {g: [int(t) for t in amounts] for g, *amounts in found}
    buckets: dict[str, dict[int, int]] = defaultdict(dict)
    if by in WITH_LATENCY:
        grouped = (group(LatencyRollup), LatencyRollup.bucket)
        query = select(*grouped, cast(func.sum(LatencyRollup.requests), String)).where(*where(LatencyRollup))
        for g, bucket, count in await connection.execute(query.group_by(*grouped)):
            buckets[g][bucket] = int(count)
    return sums, buckets


async def _counted(
    connection: AsyncConnection,
    by: By,
    since: datetime | None,
    until: datetime | None,
    key_id: str | None,
    zone: ZoneInfo,
) -> tuple[dict[str, list[int]], dict[str, dict[int, int]]]:
    table = Call if by in OF_CALLS else Request
    query = select(table.__table__)
    for column, low, high in ((table.started_at, since, until),):
        query = query.where(column >= low) if low is not None else query
        query = query.where(column < high) if high is not None else query
    if key_id is not None:
        query = query.where(table.key_id == key_id)
    sums: rollups.Sums = defaultdict(lambda: [0] * len(SUMS))
    buckets: rollups.Buckets = defaultdict(int)
    result = await connection.stream(query)
    async for part in result.partitions(5000):
        _merge(sums, buckets, *_rolled(table, part, zone))
    return _grouped(by, sums, buckets)


def _rolled(
    table: type[Call] | type[Request], rows: Iterable[Any], zone: ZoneInfo
) -> tuple[rollups.Sums, rollups.Buckets]:
    if table is Call:
        return rollups.roll_calls((_call(r) for r in rows), zone), {}
    return rollups.roll_requests((_request(r) for r in rows), zone)


def _merge(sums: rollups.Sums, buckets: rollups.Buckets, more: rollups.Sums, counts: rollups.Buckets) -> None:
    for key, amounts in more.items():
        sums[key] = [a + b for a, b in zip(sums[key], amounts, strict=True)]
    for bucket, count in counts.items():
        buckets[bucket] += count


def _grouped(
    by: By, sums: rollups.Sums, buckets: rollups.Buckets
) -> tuple[dict[str, list[int]], dict[str, dict[int, int]]]:
    place = {"day": 1, "key": 2}.get(by, 3)
    out: dict[str, list[int]] = defaultdict(lambda: [0] * len(SUMS))
    for key, amounts in sums.items():
        if key[0] == _dimension(by):
            out[key[place]] = [a + b for a, b in zip(out[key[place]], amounts, strict=True)]
    latencies: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    if by in WITH_LATENCY:
        for bucket_key, count in buckets.items():
            if bucket_key[0] == _dimension(by):
                latencies[str(bucket_key[place])][bucket_key[4]] += count
    return out, latencies


def _row(by: By, group: str, amounts: list[int], buckets: Mapping[int, int] | None) -> SpendRow:
    percentiles = [rollups.percentile(buckets, share) for share in (0.5, 0.95, 0.99)] if buckets else []
    return SpendRow(group or None if by != "day" else group, *amounts, *percentiles)


async def rebuild(engine: AsyncEngine, zone: ZoneInfo) -> int:
    """Make the rollups anew from the rows, for every day whose rows are all still there. Returns how many requests.

    Needed after a change of the time zone; and it is the check that sums and rows agree.
    """
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        sums: rollups.Sums = defaultdict(lambda: [0] * len(SUMS))
        buckets: rollups.Buckets = defaultdict(int)
        count = 0
        for table in (Request, Call):
            result = await connection.stream(select(table.__table__))
            async for part in result.partitions(10_000):
                _merge(sums, buckets, *_rolled(table, part, zone))
                count += len(part) if table is Request else 0
    # Of the oldest day some rows may have been pruned: what was summed up before knows more.
    days = sorted({key[1] for key in sums})
    whole = set(days[1:]) if await _pruned(engine, days[:1]) else set(days)
    async with engine.begin() as connection:
        for rolled in (Rollup, LatencyRollup):
            await connection.execute(delete(rolled).where(rolled.day.in_(sorted(whole))))
        await rollups.add(
            connection,
            {k: v for k, v in sums.items() if k[1] in whole},
            {k: v for k, v in buckets.items() if k[1] in whole},
        )
    return count


async def _pruned(engine: AsyncEngine, oldest: list[str]) -> bool:
    """Whether there are sums of days before the oldest row."""
    if not oldest:
        return False
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return (await connection.scalar(select(func.min(Rollup.day)))) not in (None, *oldest)


def _request(row: Any) -> RequestRecord:
    return RequestRecord(
        id=row.id, started_at=row.started_at, key_id=row.key_id, session=row.session, user=row.user, task=row.task,
        mode=row.mode, stage=row.stage, confidence=None, status=row.status, reason=None, degraded=None,
        requested_model="", model=None, prompt_tokens=row.prompt_tokens, completion_tokens=row.completion_tokens,
        cost=row.cost_nano, baseline=row.baseline_nano, latency_ms=row.latency_ms, first_token_ms=None,
        stream=row.stream, error=row.error, tags=tuple(row.tags),
    )  # fmt: skip


_NO_PRICE = Price(input=0, output=0)


def _call(row: Any) -> CallRecord:
    return CallRecord(
        id=row.id, request_id=row.request_id, key_id=row.key_id, started_at=row.started_at, stage=row.stage,
        role=row.role, tier=row.tier, model=row.model, sample=None,
        usage=Usage(row.prompt_tokens, row.completion_tokens), cost=row.cost_nano, price=_NO_PRICE,
        latency_ms=row.latency_ms, finish_reason=None, estimated=row.estimated, error=row.error,
    )  # fmt: skip
