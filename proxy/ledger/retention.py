"""Dropping what is older than the operator wants to keep."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import Call, Plan, Request


async def prune(engine: AsyncEngine, older_than: datetime) -> int:
    """Delete requests older than a time, with their calls, plans and stages. Returns how many."""
    old = select(Request.id).where(Request.started_at < older_than)
    async with engine.begin() as connection:
        await connection.execute(delete(Call).where(Call.request_id.in_(old)))
        await connection.execute(delete(Plan).where(Plan.request_id.in_(old)))
        return (await connection.execute(delete(Request).where(Request.started_at < older_than))).rowcount
