"""The calls of a day, read row by row for exports, and what the daily sums say about the same day."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.rollups import local_day
from proxy.ledger.row_sums import DaySpan
from proxy.ledger.sum_tables import RollupRow
from proxy.ledger.tables import CallRow, RequestRow
from proxy.records import UNATTRIBUTED, Attribution

Connection = AsyncConnection
"""The type for other packages: they pass it on to the ledger and use no SQL."""
AT_ONCE = 2000
"""Rows that a driver fetches together."""


class BilledCall(NamedTuple):
    """One model call as it was booked. Costs are nano-USD, rates nano-USD per million tokens."""

    model: str
    tier: str
    key_id: str | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: int
    input_rate: int
    cached_input_rate: int | None
    output_rate: int
    price_source: str
    cache_write_tokens: int | None
    """`None`, here and below, if an old version recorded the call."""
    audio_prompt_tokens: int | None
    audio_completion_tokens: int | None
    cache_write_rate: int | None
    audio_input_rate: int | None
    audio_output_rate: int | None
    fee: int | None
    cache_write_1h_tokens: int | None
    """`None`, here and below, also if the upstream does not tell such tokens apart, or if they have no own rate."""
    image_prompt_tokens: int | None
    image_completion_tokens: int | None
    cache_write_1h_rate: int | None
    image_input_rate: int | None
    image_output_rate: int | None
    reasoning_rate: int | None
    tags: tuple[str, ...]
    """`key=value` of its request."""
    attribution: Attribution = UNATTRIBUTED
    """That of its request."""


class DaySum(NamedTuple):
    """The calls of one key and model in a day: tokens, and nano-USD."""

    calls: int
    tokens: int
    cost: int


async def as_one_snapshot(connection: AsyncConnection) -> None:
    """Let all reads of a connection see the same state, so that rows and sums agree. Call it before the first read."""
    await connection.execution_options(readonly=True)
    if connection.dialect.name == "postgresql":
        await connection.execution_options(isolation_level="REPEATABLE READ")


async def days_with_calls(
    connection: AsyncConnection, since: datetime | None, until: datetime | None, zone: ZoneInfo
) -> list[DaySpan]:
    """List each local day with calls, and its part that lies in a range. Days of pruned calls are in it."""
    query = select(RollupRow.day).where(RollupRow.dimension == "model").distinct().order_by(RollupRow.day)
    if since is not None:
        query = query.where(RollupRow.day >= local_day(since, zone))
    if until is not None:
        query = query.where(RollupRow.day <= local_day(until, zone))
    spans = [whole_day(day, zone) for day in await connection.scalars(query)]
    cut = [
        DaySpan(s.day, max(s.low, since or s.low), min(s.high, until or s.high)) for s in spans
    ]  # a range may begin and end within a day
    return [span for span in cut if span.low < span.high]


def whole_day(day: str, zone: ZoneInfo) -> DaySpan:
    """Return a local day such as "2026-10-31" in UTC."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
    return DaySpan(day, midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC))


async def billed_calls(connection: AsyncConnection, span: DaySpan) -> AsyncIterator[BilledCall]:
    """Yield the calls that began in a span. A few thousand rows are in memory at a time."""
    query = (
        select(
            CallRow.model, CallRow.tier, CallRow.key_id,
            CallRow.prompt_tokens, CallRow.cached_tokens, CallRow.completion_tokens, CallRow.reasoning_tokens,
            CallRow.cost_nano, CallRow.input_per_mtok_nano, CallRow.cached_input_per_mtok_nano,
            CallRow.output_per_mtok_nano, CallRow.price_source, CallRow.cache_write_tokens,
            CallRow.audio_prompt_tokens, CallRow.audio_completion_tokens, CallRow.cache_write_per_mtok_nano,
            CallRow.audio_input_per_mtok_nano, CallRow.audio_output_per_mtok_nano, CallRow.request_nano,
            CallRow.cache_write_1h_tokens, CallRow.image_prompt_tokens, CallRow.image_completion_tokens,
            CallRow.cache_write_1h_per_mtok_nano, CallRow.image_input_per_mtok_nano,
            CallRow.image_output_per_mtok_nano, CallRow.reasoning_per_mtok_nano,
            *(getattr(RequestRow, field) for field in Attribution.__struct_fields__), RequestRow.tags,
        )
        .outerjoin(RequestRow, RequestRow.id == CallRow.request_id)
        .where(CallRow.started_at >= span.low, CallRow.started_at < span.high)
    )  # fmt: skip
    result = await connection.stream(query.execution_options(yield_per=AT_ONCE))
    async for *fields, team, cost_center, environment, tags in result:
        attribution = Attribution(team=team, cost_center=cost_center, environment=environment)
        yield BilledCall._make((*fields, tuple(tags or ()), attribution))


async def sums_of_day(connection: AsyncConnection, day: str) -> dict[tuple[str, str], DaySum]:
    """Return the stored sums of a day by key id ("" for none) and model. They outlive the rows of the calls."""
    query = select(RollupRow).where(RollupRow.dimension == "model", RollupRow.day == day)
    return {
        (row.key_id, row.value): DaySum(
            row.requests, row.prompt_tokens + row.completion_tokens, row.cost_nano
        )
        for row in await connection.execute(query.with_only_columns(*RollupRow.__table__.columns))
    }


async def sums_by_day(connection: AsyncConnection, first: str, last: str) -> dict[str, tuple[int, int]]:
    """Return the number of calls and their cost for each day of a range, both ends included."""
    totals: dict[str, tuple[int, int]] = {}
    query = (
        select(RollupRow.day, RollupRow.requests, RollupRow.cost_nano)
        .where(RollupRow.dimension == "model", RollupRow.day >= first, RollupRow.day <= last)
        .order_by(RollupRow.day)
    )
    for day, calls, cost in await connection.execute(query):
        before = totals.get(day, (0, 0))
        totals[day] = before[0] + calls, before[1] + cost
    return totals
