"""Spend reports: from the rollups where the range is whole days, else from the rows themselves."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Select,
    String,
    case,
    cast,
    func,
    literal,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger import rollups
from proxy.ledger.rollups import GROWTH, SUMS, Dimension, by_month, local_day
from proxy.ledger.tables import CallRow, LatencyRollupRow, RequestRow, RollupRow

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
            once however many requests there are; any other one is summed up from the rows, day by day.
        key_id: only this key's.
        limit: at most so many groups.
    """
    sums: dict[str, list[int]] = {}
    buckets: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        if _midnight(since, zone) and _midnight(until, zone):
            first = None if since is None else local_day(since, zone)
            last = None if until is None else local_day(until - timedelta(microseconds=1), zone)
            totals, latencies = (
                _stored(RollupRow, by, first, last),
                _stored(LatencyRollupRow, by, first, last),
            )
            await _collect(
                connection, by, totals, latencies, key_id, sums, buckets, None if by == "day" else limit
            )
        else:
            async for day, low, high in _days(connection, since, until, zone):
                totals = [_totals(connection, _dimension(by), day, low, high)]
                timed = [_latencies(connection, _dimension(by), day, low, high)] if by in WITH_LATENCY else []
                await _collect(connection, by, totals, timed, key_id, sums, buckets)
    rows = [_row(group, amounts, buckets.get(group)) for group, amounts in sums.items()]
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


def _stored(
    table: type[RollupRow] | type[LatencyRollupRow], by: By, first: str | None, last: str | None
) -> list[Select[Any]]:
    """Select the rollups of a range of days: whole months as such, unless days are wanted."""
    if table is LatencyRollupRow and by not in WITH_LATENCY:
        return []
    dimension = _dimension(by)
    names = [c.name for c in table.__table__.columns if c.name != "dimension"]
    spans = [(dimension, first, last)] if by == "day" else list(_spans(dimension, first, last))
    out = []
    for span, low, high in spans:
        query = select(*(getattr(table, n) for n in names)).where(table.dimension == span)
        query = query.where(table.day >= low) if low is not None else query
        out.append(query.where(table.day <= high) if high is not None else query)
    return out


def _spans(
    dimension: Dimension, first: str | None, last: str | None
) -> Iterator[tuple[str, str | None, str | None]]:
    """Split a range of days into whole months and the days before and after them."""
    months = by_month(dimension)
    low, high = (None if first is None else first[:7]), (None if last is None else last[:7])
    if first is not None and not first.endswith("-01"):
        low = _month_after(first)
        yield dimension, first, min(f"{first[:7]}-31", last or "9999")
    if last is not None and (_month_after(last) == low or not _last_of_month(last)):
        high = _month_before(last)
        if first is None or first[:7] != last[:7] or first.endswith("-01"):
            yield dimension, max(f"{last[:7]}-01", first or ""), last
    if low is None or high is None or low <= high:
        yield months, low, high


def _month_after(day: str) -> str:
    year, month = int(day[:4]), int(day[5:7])
    return f"{year + month // 12:04}-{month % 12 + 1:02}"


def _month_before(day: str) -> str:
    year, month = int(day[:4]), int(day[5:7])
    return f"{year - (month == 1):04}-{(month - 2) % 12 + 1:02}"


def _last_of_month(day: str) -> bool:
    return (datetime.fromisoformat(day) + timedelta(days=1)).day == 1


async def _collect(
    connection: AsyncConnection,
    by: By,
    totals: list[Select[Any]],
    latencies: list[Select[Any]],
    key_id: str | None,
    sums: dict[str, list[int]],
    buckets: dict[str, dict[int, int]],
    limit: int | None = None,
) -> None:
    """Add what selects of rollup-shaped rows yield, by group; of the dearest groups only, where there is a limit."""

    def grouped(selects: list[Select[Any]], extra: tuple[str, ...], added: tuple[str, ...]) -> Select[Any]:
        rows = union_all(*selects).subquery()
        group = {"day": rows.c.day, "key": rows.c.key_id}.get(by, rows.c.value)
        columns = (group.label("group"), *(rows.c[n] for n in extra))
        # As text: Postgres sums into numeric, and a driver may make floats of that.
        query = select(*columns, *(cast(func.sum(rows.c[n]), String) for n in added)).group_by(*columns)
        if limit is not None and added == SUMS:
            dearest = (func.sum(rows.c.cost_nano).desc(), func.sum(rows.c.requests).desc(), group)
            query = query.order_by(*dearest).limit(limit)
        return query if key_id is None else query.where(rows.c.key_id == key_id)

    for group, *amounts in await connection.execute(grouped(totals, (), SUMS)) if totals else ():
        before = sums.get(group, [0] * len(SUMS))
        sums[group] = [b + int(a) for b, a in zip(before, amounts, strict=True)]
    for group, bucket, count in (
        await connection.execute(grouped(latencies, ("bucket",), ("requests",))) if latencies else ()
    ):
        buckets[group][bucket] += int(count)


def _row(group: str, amounts: list[int], buckets: Mapping[int, int] | None) -> SpendRow:
    percentiles = [rollups.percentile(buckets, share) for share in (0.5, 0.95, 0.99)] if buckets else []
    return SpendRow(group or None, *amounts, *percentiles)


async def _days(
    connection: AsyncConnection, since: datetime | None, until: datetime | None, zone: ZoneInfo
) -> Any:
    """Yield each local day between the first and the last row, with the part of it that lies in a range (UTC)."""
    ends: list[Any] = []
    for table in (RequestRow, CallRow):
        ends += (
            await connection.execute(select(func.min(table.started_at), func.max(table.started_at)))
        ).one()
    known = [end for end in ends if end is not None]
    if not known:
        return
    low = max(min(known), since or min(known))
    high = min(max(known) + timedelta(microseconds=1), until or datetime.max.replace(tzinfo=UTC))
    while low < high:
        midnight = low.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        end = min(high, (midnight + timedelta(days=1)).astimezone(UTC))
        yield local_day(low, zone), low, end
        low = end


def _value(connection: AsyncConnection, dimension: Dimension) -> tuple[Any, ColumnElement[str]]:
    """Return what to select from, and the value of a dimension in it."""
    if dimension in OF_CALLS:
        return CallRow, getattr(CallRow, dimension)
    if dimension == "tag":
        if connection.dialect.name == "sqlite":
            tags = func.json_each(RequestRow.tags).table_valued("value")
        else:
            tags = func.json_array_elements_text(RequestRow.tags).table_valued("value").render_derived()
        return RequestRow.__table__.outerjoin(tags, true()), func.coalesce(cast(tags.c.value, String), "")
    if dimension == "all":
        return RequestRow, literal("")
    return RequestRow, func.coalesce(cast(getattr(RequestRow, dimension), String), "")


def _totals(
    connection: AsyncConnection, dimension: Dimension, day: str, low: datetime, high: datetime
) -> Select[Any]:
    """Select the rollups of a span within one day from the rows."""
    source, value = _value(connection, dimension)
    table: Any = CallRow if dimension in OF_CALLS else RequestRow
    errors: Any
    escalated: Any
    baseline: Any
    if table is CallRow:
        errors, escalated, baseline = CallRow.error.is_not(None), literal(value=False), literal(0)
    else:
        errors = RequestRow.status >= 400
        escalated = (RequestRow.stage > 1) & (RequestRow.mode == "cascade")
        baseline = func.coalesce(RequestRow.baseline_nano, 0)
    amounts = (
        func.count(), _count_if(errors), _count_if(escalated), func.sum(table.prompt_tokens),
        func.sum(table.completion_tokens), func.sum(table.cost_nano), func.sum(baseline),
    )  # fmt: skip
    key = func.coalesce(table.key_id, "")
    named: list[Any] = [cast(a, BigInteger).label(n) for n, a in zip(SUMS, amounts, strict=True)]
    return (
        select(literal(day).label("day"), key.label("key_id"), value.label("value"), *named)
        .select_from(source)
        .where(table.started_at >= low, table.started_at < high)
        .group_by(key, value)
    )


def _latencies(
    connection: AsyncConnection, dimension: Dimension, day: str, low: datetime, high: datetime
) -> Select[Any]:
    """Select the latency rollups of a span within one day from the rows."""
    source, value = _value(connection, dimension)
    bucket: Any
    if connection.dialect.name == "sqlite":
        bucket = func.cope_bucket(RequestRow.latency_ms)
    else:
        bucket = cast(
            func.round(func.ln(cast(func.greatest(1, RequestRow.latency_ms), Float)) / GROWTH), BigInteger
        )
    key = func.coalesce(RequestRow.key_id, "")
    columns = (key.label("key_id"), value.label("value"), bucket.label("bucket"))
    return (
        select(literal(day).label("day"), *columns, func.count().label("requests"))
        .select_from(source)
        .where(RequestRow.started_at >= low, RequestRow.started_at < high)
        .group_by(key, value, bucket)
    )


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
