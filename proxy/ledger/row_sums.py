"""Sums over the rows themselves, in the shape of the rollups: for ranges of part days, and to rebuild the rollups."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

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
)
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.rollups import ATTRIBUTED, GROWTH, OF_CALLS, SUMS, Dimension, local_day
from proxy.ledger.tables import CallRow, RequestRow
from proxy.ledger.wide_sums import capped_sum


class DaySpan(NamedTuple):
    """A local day, and the part of it to sum: from `low` to before `high` (UTC)."""

    day: str
    low: datetime
    high: datetime


async def days_with_rows(
    connection: AsyncConnection, since: datetime | None, until: datetime | None, zone: ZoneInfo
) -> AsyncIterator[DaySpan]:
    """Yield each local day between the first and the last row, and its part that lies in a range."""
    ends: list[Any] = []
    for table in (RequestRow, CallRow):
        ends += (
            await connection.execute(select(func.min(table.started_at), func.max(table.started_at)))
        ).one()
    times = [end for end in ends if end is not None]
    if not times:
        return
    low = max(min(times), since or min(times))
    high = min(max(times) + timedelta(microseconds=1), until or datetime.max.replace(tzinfo=UTC))
    while low < high:
        midnight = low.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        end = min(high, (midnight + timedelta(days=1)).astimezone(UTC))
        yield DaySpan(local_day(low, zone), low, end)
        low = end


def _value(connection: AsyncConnection, dimension: Dimension) -> tuple[Any, ColumnElement[str]]:
    """Return the table to select from, and the column with the value of a dimension."""
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
    column = getattr(RequestRow, ATTRIBUTED.get(dimension, dimension))
    return RequestRow, func.coalesce(cast(column, String), "")


def totals(connection: AsyncConnection, dimension: Dimension, span: DaySpan) -> Select[Any]:
    """Select the rollups of a span from the rows."""
    source, value = _value(connection, dimension)
    table: Any = CallRow if dimension in OF_CALLS else RequestRow
    errors: Any
    escalated: Any
    baseline: Any
    if table is CallRow:
        errors, escalated, baseline = CallRow.error.is_not(None), literal(value=False), literal(0)
        cache: Any = (CallRow.prompt_tokens, CallRow.cached_tokens, CallRow.cache_write_tokens)
    else:
        errors = RequestRow.status >= 400
        escalated = (RequestRow.stage > 1) & (RequestRow.mode == "cascade")
        baseline = func.coalesce(RequestRow.baseline_nano, 0)
        cache = (RequestRow.sent_tokens, RequestRow.read_tokens, RequestRow.written_tokens)
    amounts = (
        func.count(), _count_if(errors), _count_if(escalated), capped_sum(table.prompt_tokens),
        capped_sum(table.completion_tokens), capped_sum(table.cost_nano), capped_sum(baseline),
        *map(capped_sum, cache),
    )  # fmt: skip
    key = func.coalesce(table.key_id, "")
    named: list[Any] = [cast(a, BigInteger).label(n) for n, a in zip(SUMS, amounts, strict=True)]
    query = (
        select(literal(span.day).label("day"), key.label("key_id"), value.label("value"), *named)
        .select_from(source)
        .where(table.started_at >= span.low, table.started_at < span.high)
        .group_by(key, value)
    )
    return query.where(value != "") if dimension in ATTRIBUTED else query


def latencies(connection: AsyncConnection, dimension: Dimension, span: DaySpan) -> Select[Any]:
    """Select the latency rollups of a span from the rows."""
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
        select(literal(span.day).label("day"), *columns, func.count().label("requests"))
        .select_from(source)
        .where(RequestRow.started_at >= span.low, RequestRow.started_at < span.high)
        .group_by(key, value, bucket)
    )


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
