"""Agree between processes: which one makes the next check of an alert, and since when a tier is down."""

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.alert_tables import AlertRoundRow, OutageRow


async def claim_round(engine: AsyncEngine, alert: str, now: datetime, every: timedelta) -> bool:
    """Return True if this process makes the check of an alert that is due now.

    A time that is too far in the future comes from a wrong clock and counts as due.
    """
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        due = await connection.scalar(select(AlertRoundRow.due_at).where(AlertRoundRow.alert == alert))
    if due is not None and now < due <= now + 2 * every:
        return False
    async with engine.begin() as connection:
        if due is None:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            new = dialect.insert(AlertRoundRow).values(alert=alert, due_at=now + every)
            done = await connection.execute(new.on_conflict_do_nothing())
        else:
            moved = update(AlertRoundRow).where(AlertRoundRow.alert == alert, AlertRoundRow.due_at == due)
            done = await connection.execute(moved.values(due_at=now + every))
        return int(done.rowcount) == 1


async def note_outage(engine: AsyncEngine, tier: str, now: datetime, gap: timedelta) -> datetime:
    """Note that a tier is down for this process, and return since when it has been down.

    A new outage begins if no process has seen the tier down for longer than `gap`.
    """
    async with engine.begin() as connection:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        new = dialect.insert(OutageRow).values(tier=tier, since=now, seen_at=now)
        await connection.execute(new.on_conflict_do_nothing())
        row = (
            await connection.execute(
                select(OutageRow.__table__).where(OutageRow.tier == tier).with_for_update()
            )
        ).one()
        since: datetime = now if row.seen_at < now - gap else row.since
        seen = max(now, row.seen_at)
        await connection.execute(
            update(OutageRow).where(OutageRow.tier == tier).values(since=since, seen_at=seen)
        )
        return since
