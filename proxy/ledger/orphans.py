"""Requests without a row: their process died after it had recorded their paid calls.

A row for each of them makes these calls visible in lists and reports.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger import counters, rollups
from proxy.ledger.rows import request_row
from proxy.ledger.tables import CallRow, KeyRow, RequestRow
from proxy.ledger.wide_sums import capped_sum
from proxy.records import Attribution, RequestRecord


async def close_orphaned_requests(
    engine: AsyncEngine, since: datetime, until: datetime, zone: ZoneInfo
) -> int:
    """Write a row, with status 500, for each request that has calls in a span of time but no row.

    Args:
        engine: the database.
        since: start of the span.
        until: its end. No request that began a call before it can still be running.
        zone: days begin at midnight in this zone.
    """
    query = (
        select(
            CallRow.request_id,
            func.min(CallRow.key_id).label("key_id"),
            *(func.min(getattr(KeyRow, field)).label(field) for field in Attribution.__struct_fields__),
            func.min(CallRow.started_at).label("started_at"),
            func.max(CallRow.model).label("model"),
            capped_sum(CallRow.cost_nano).label("cost"),
        )
        .outerjoin(RequestRow, RequestRow.id == CallRow.request_id)
        .outerjoin(
            KeyRow, KeyRow.id == CallRow.key_id
        )  # this is minutes after the calls, so its team is still theirs
        .where(CallRow.started_at >= since, CallRow.started_at < until, RequestRow.id.is_(None))
        .group_by(CallRow.request_id)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        if (await connection.execute(query.limit(1))).one_or_none() is None:
            return 0
    async with engine.begin() as connection:
        orphaned = [_record(row) for row in await connection.execute(query)]
        if orphaned:
            await connection.execute(insert(RequestRow), [request_row(r) for r in orphaned])
            await rollups.add_sums(connection, *rollups.roll_requests(orphaned, zone))
            await counters.add(connection, counters.count_requests(orphaned))
        return len(orphaned)


def _record(row: object) -> RequestRecord:
    r = row._mapping  # type: ignore[attr-defined]  # noqa: SLF001  (SQLAlchemy's public name for it)
    return RequestRecord(
        id=r["request_id"], started_at=r["started_at"], key_id=r["key_id"], session=None, user=None, task=None,
        mode="cascade", stage=None, confidence=None, status=500, reason=None, degraded=None,
        requested_model=r["model"], model=None, prompt_tokens=0, completion_tokens=0, cost=int(r["cost"]),
        baseline=None, latency_ms=0, first_token_ms=None, stream=False, error="process_died",
        team=r["team"], cost_center=r["cost_center"], environment=r["environment"],
    )  # fmt: skip
