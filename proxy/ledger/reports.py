"""Spend reports. A range of complete days is read from the rollups, any other range from the rows."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Select, String, Subquery, cast, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger import row_sums
from proxy.ledger.rollups import ATTRIBUTED, SUMS, Dimension, by_month, local_day, percentile
from proxy.ledger.sum_tables import LatencyRollupRow, RollupRow
from proxy.ledger.wide_sums import MOST_SUM, capped_sum, joined, sum_parts

By = Literal[
    "day",
    "model",
    "tier",
    "stage",
    "task",
    "key",
    "session",
    "user",
    "tag",
    "team",
    "cost_center",
    "environment",
]
GROUPS = get_args(By)
OF_KEYS = tuple(ATTRIBUTED.values())
"""Groups that a request has from its key. Their reports show the requests without one in a row of their own."""
WITH_LATENCY = ("day", "key", "stage", "task")
METHOD = (
    "Saved: compared with one call of the large model for each answered request, at its price for the request's own "
    "prompt and an answer of the same length (in tokens of the large model's encoding)."
)


class SpendRow(msgspec.Struct, frozen=True, kw_only=True):
    """The spend of one group.

    `baseline` is the estimated cost with the large model alone. `escalated` counts requests of the cascade that stage 1
    did not answer. For a model or a tier, `requests` counts model calls, and `baseline` and `escalated` are 0.
    Percentiles are in milliseconds, within 5 %. `share` is the part of the cost of all groups, for the groups of keys.
    """

    group: str | None
    requests: int
    errors: int
    escalated: int
    prompt_tokens: int
    completion_tokens: int
    cost: int
    baseline: int
    sent_tokens: int = 0
    """Prompt tokens of the large model's calls. For a model or a tier: of the counted calls."""
    read_tokens: int = 0
    """The part of them that the upstream read from its cache."""
    written_tokens: int = 0
    """The part of them that it wrote into its cache."""
    p50_ms: int | None = None
    p95_ms: int | None = None
    p99_ms: int | None = None
    share: float | None = None


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
    """Sum the spend by a group: days in order, all other groups by falling cost.

    If the range begins and ends at midnight, it is read from the rollups, which takes the same time for any number of
    requests. Otherwise the rows are summed, day by day.

    For the groups of keys, such as teams, the last row has the requests without one, even if there are none. It counts
    as no group for `limit`. The costs of all rows add up to that of all requests.

    Args:
        engine: the database.
        by: the group.
        zone: days begin at midnight in this zone.
        since: start of the range, included.
        until: end of the range, not included.
        key_id: if given, only requests of this key.
        limit: the largest number of groups to return.
    """
    totals: dict[str, list[int]] = defaultdict(lambda: [0] * len(SUMS))
    latencies: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    timed = by in WITH_LATENCY
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        if _midnight(since, zone) and _midnight(until, zone):
            first = None if since is None else local_day(since, zone)
            last = None if until is None else local_day(until - timedelta(microseconds=1), zone)
            dearest = None if by == "day" or by in OF_KEYS else limit
            stored = [s for group in _read_with(by) for s in _stored(RollupRow, group, first, last)]
            await _add_totals(connection, _totals(stored, by=by, key_id=key_id, limit=dearest), totals)
            if timed:
                stored = _stored(LatencyRollupRow, by, first, last)
                await _add_latencies(connection, _latencies(stored, by=by, key_id=key_id), latencies)
        else:
            async for span in row_sums.days_with_rows(connection, since, until, zone):
                summed = [row_sums.totals(connection, _dimension(group), span) for group in _read_with(by)]
                await _add_totals(connection, _totals(summed, by=by, key_id=key_id), totals)
                if timed:
                    found = row_sums.latencies(connection, _dimension(by), span)
                    await _add_latencies(connection, _latencies([found], by=by, key_id=key_id), latencies)
    if by in OF_KEYS:
        return _attributed(totals, limit)
    rows = [_row(group, amounts, latencies[group]) for group, amounts in totals.items()]
    if by == "day":
        rows.sort(key=lambda row: row.group or "")
    else:
        rows.sort(key=_dearest_first)
    return rows[:limit]


def _read_with(by: By) -> tuple[By, ...]:
    """Return the groups to read for a report. All requests together have no value, so they are the group ""."""
    return (by, "key") if by in OF_KEYS else (by,)


def _attributed(totals: dict[str, list[int]], limit: int | None) -> list[SpendRow]:
    """Return the rows of a group of keys. `totals` has the sum of all requests as the group ""."""
    if not totals:
        return []
    whole = totals.pop("")
    cost = SUMS.index("cost_nano")
    named = [_row(group, amounts, {}) for group, amounts in totals.items()]
    named.sort(key=_dearest_first)
    rest = [max(0, n - sum(amounts[i] for amounts in totals.values())) for i, n in enumerate(whole)]
    rows = [*named[:limit], _row("", rest, {})]
    return [replace(row, share=row.cost / whole[cost] if whole[cost] else None) for row in rows]


def _dearest_first(row: SpendRow) -> tuple[int, int, str]:
    return -row.cost, -row.requests, row.group or ""


def _midnight(at: datetime | None, zone: ZoneInfo) -> bool:
    if at is None:
        return True
    local = at.astimezone(zone)
    return (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)


def _dimension(by: By) -> Dimension:
    if by in ("day", "key"):
        return "all"
    return next((dimension for dimension, field in ATTRIBUTED.items() if field == by), by)  # type: ignore[arg-type]


def _stored(
    table: type[RollupRow] | type[LatencyRollupRow], by: By, first: str | None, last: str | None
) -> list[Select[Any]]:
    """Select the rollups of a range of days. Read complete months from their own rows, unless the group is a day."""
    dimension = _dimension(by)
    names = [c.name for c in table.__table__.columns if c.name != "dimension"]
    spans = [(dimension, first, last)] if by == "day" else list(_spans(dimension, first, last))
    selects = []
    for span, low, high in spans:
        query = select(*(getattr(table, n) for n in names)).where(table.dimension == span)
        query = query.where(table.day >= low) if low is not None else query
        selects.append(query.where(table.day <= high) if high is not None else query)
    return selects


def _spans(
    dimension: Dimension, first: str | None, last: str | None
) -> Iterator[tuple[str, str | None, str | None]]:
    """Split a range of days into complete months and the days before and after them."""
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


def _totals(
    selects: Iterable[Select[Any]], *, by: By, key_id: str | None, limit: int | None = None
) -> Select[Any]:
    """Sum the totals of rollups, or of selects with their columns, by group. With a limit, only the dearest groups."""
    rows = union_all(*selects).subquery()
    group = _group(rows, by)
    # As text: Postgres sums into numeric, and a driver may turn that into floats.
    parts = (cast(part, String) for name in SUMS for part in sum_parts(rows.c[name]))
    query = select(group, *parts).group_by(group)
    if limit is not None:
        dearest = (capped_sum(rows.c.cost_nano).desc(), capped_sum(rows.c.requests).desc(), group)
        query = query.order_by(*dearest).limit(limit)
    return query if key_id is None else query.where(rows.c.key_id == key_id)


def _latencies(selects: Iterable[Select[Any]], *, by: By, key_id: str | None) -> Select[Any]:
    """Sum the latency buckets of rollups, or of selects with their columns, by group."""
    rows = union_all(*selects).subquery()
    columns = (_group(rows, by), rows.c.bucket)
    query = select(*columns, cast(func.sum(rows.c.requests), String)).group_by(*columns)
    return query if key_id is None else query.where(rows.c.key_id == key_id)


def _group(rows: Subquery, by: By) -> ColumnElement[Any]:
    match by:
        case "day":
            return rows.c.day
        case "key":
            return rows.c.key_id
        case _:
            return rows.c.value


async def _add_totals(connection: AsyncConnection, query: Select[Any], totals: dict[str, list[int]]) -> None:
    for group, *parts in await connection.execute(query):
        amounts = (joined(high, low) for high, low in zip(parts[::2], parts[1::2], strict=True))
        totals[group] = [min(a + b, MOST_SUM) for a, b in zip(totals[group], amounts, strict=True)]


async def _add_latencies(
    connection: AsyncConnection, query: Select[Any], latencies: dict[str, dict[int, int]]
) -> None:
    for group, bucket, count in await connection.execute(query):
        latencies[group][bucket] += int(count)


def _row(group: str, amounts: list[int], buckets: Mapping[int, int]) -> SpendRow:
    requests, errors, escalated, prompt_tokens, completion_tokens, cost, baseline, sent, read, written = (
        amounts
    )
    return SpendRow(
        group=group or None,
        requests=requests,
        errors=errors,
        escalated=escalated,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost=cost,
        baseline=baseline,
        sent_tokens=sent,
        read_tokens=read,
        written_tokens=written,
        p50_ms=percentile(buckets, 0.5),
        p95_ms=percentile(buckets, 0.95),
        p99_ms=percentile(buckets, 0.99),
    )


def total(rows: Iterable[SpendRow]) -> SpendRow:
    """Sum the rows of a report. The total has no percentiles."""
    rows = list(rows)
    return SpendRow(
        group="all",
        requests=sum(row.requests for row in rows),
        errors=sum(row.errors for row in rows),
        escalated=sum(row.escalated for row in rows),
        prompt_tokens=sum(row.prompt_tokens for row in rows),
        completion_tokens=sum(row.completion_tokens for row in rows),
        cost=sum(row.cost for row in rows),
        baseline=sum(row.baseline for row in rows),
        sent_tokens=sum(row.sent_tokens for row in rows),
        read_tokens=sum(row.read_tokens for row in rows),
        written_tokens=sum(row.written_tokens for row in rows),
    )
