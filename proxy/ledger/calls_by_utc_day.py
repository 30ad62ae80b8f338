"""The paid calls of each UTC day, summed by model and price, to compare them with a vendor's reports.

Reports of the proxy have days in the zone of the budgets. Vendors have days in UTC, so the rows are summed here.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, String, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import CallRow
from proxy.ledger.wide_sums import joined, sum_parts


class CallsOfDay(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one model at one price in a UTC day. Costs are nano-USD, rates nano-USD per million tokens."""

    day: str
    model: str
    input_rate: int
    cached_input_rate: int | None
    output_rate: int
    price_source: str
    service_tier: str | None
    """The tier that the upstream named."""
    calls: int
    """Calls with tokens."""
    refused: int
    """Calls without tokens, which the ledger books at 0."""
    failed: int
    """Calls with tokens that ended in an error, a timeout or a departure of the client."""
    estimated: int
    """Calls whose tokens the upstream did not report."""
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    cost: int
    estimated_cost: int


async def calls_by_utc_day(engine: AsyncEngine, since: datetime, until: datetime) -> list[CallsOfDay]:
    """Sum the calls of the large tier. Both ends are midnights in UTC. Rows of pruned calls are not there."""
    found: list[CallsOfDay] = []
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        day = since
        while day < until:
            rows = await connection.execute(_query(day, day + timedelta(days=1)))
            found += [_calls(f"{day:%Y-%m-%d}", row) for row in rows]
            day += timedelta(days=1)
    return found


_GROUP = (
    CallRow.model,
    CallRow.input_per_mtok_nano,
    CallRow.cached_input_per_mtok_nano,
    CallRow.output_per_mtok_nano,
    CallRow.price_source,
    CallRow.service_tier,
)


def _query(low: datetime, high: datetime) -> Any:
    used = (CallRow.prompt_tokens + CallRow.completion_tokens) > 0
    broken = CallRow.error.is_not(None) | CallRow.finish_reason.in_(
        ("cancelled", "error", "timeout", "disconnected")
    )
    estimated = used & CallRow.estimated
    sums: list[Any] = [_count(used), _count(~used), _count(used & broken), _count(estimated)]
    amounts: tuple[Any, ...] = (
        CallRow.prompt_tokens,
        CallRow.cached_tokens,
        CallRow.cache_write_tokens,
        CallRow.completion_tokens,
        CallRow.cost_nano,
        case((estimated, CallRow.cost_nano), else_=0),
    )
    # As text: Postgres sums into numeric, and a driver may turn that into floats.
    sums += [cast(part, String) for amount in amounts for part in sum_parts(amount)]
    return (
        select(*_GROUP, *sums)
        .where(CallRow.tier == "large", CallRow.started_at >= low, CallRow.started_at < high)
        .group_by(*_GROUP)
        .order_by(CallRow.model)
    )


def _calls(day: str, row: Row[Any]) -> CallsOfDay:
    fields = tuple(row)
    model, input_rate, cached_rate, output_rate, source, tier, calls, refused, failed, estimated = fields[:10]
    parts = fields[10:]
    prompt, cached, written, completion, cost, estimated_cost = (
        joined(high, low) for high, low in zip(parts[::2], parts[1::2], strict=True)
    )
    return CallsOfDay(
        day=day,
        model=model,
        input_rate=input_rate,
        cached_input_rate=cached_rate,
        output_rate=output_rate,
        price_source=source,
        service_tier=tier,
        calls=int(calls),
        refused=int(refused),
        failed=int(failed),
        estimated=int(estimated),
        prompt_tokens=prompt,
        cached_tokens=cached,
        cache_write_tokens=written,
        completion_tokens=completion,
        cost=cost,
        estimated_cost=estimated_cost,
    )


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
