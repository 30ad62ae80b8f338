"""Delete rows and content that are past their retention. Rollups stay, so that reports keep their sums."""

from datetime import datetime

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import CallRow, PlanRow, RequestRow

AT_ONCE = 2000
"""Requests a transaction, so that other transactions do not wait long."""


async def prune(engine: AsyncEngine, older_than: datetime) -> int:
    """Delete requests older than a time, with their calls, plans and stages. Return how many."""
    deleted = 0
    while True:
        async with engine.begin() as connection:
            old = select(RequestRow.id).where(RequestRow.started_at < older_than).limit(AT_ONCE)
            ids = list(await connection.scalars(old))
            for table, column in (
                (CallRow, CallRow.request_id),
                (PlanRow, PlanRow.request_id),
                (RequestRow, RequestRow.id),
            ):
                await connection.execute(delete(table).where(column.in_(ids)))
        deleted += len(ids)
        if len(ids) < AT_ONCE:
            return deleted


async def drop_content(engine: AsyncEngine, older_than: datetime) -> int:
    """Delete prompts, answers and plans older than a time. Return how many requests had some."""
    cleared = 0
    while True:
        async with engine.begin() as connection:
            stored = or_(
                RequestRow.prompt.is_not(None),
                RequestRow.answer.is_not(None),
                select(func.count()).where(PlanRow.request_id == RequestRow.id).scalar_subquery() > 0,
            )
            old = select(RequestRow.id).where(RequestRow.started_at < older_than, stored).limit(AT_ONCE)
            ids = list(await connection.scalars(old))
            await connection.execute(delete(PlanRow).where(PlanRow.request_id.in_(ids)))
            await connection.execute(
                update(RequestRow).where(RequestRow.id.in_(ids)).values(prompt=None, answer=None)
            )
        cleared += len(ids)
        if len(ids) < AT_ONCE:
            return cleared
