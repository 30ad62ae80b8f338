"""The queue of deliveries. A process leases a delivery, and another one takes it over if the lease runs out.

So an alert is delivered at least once. It is delivered twice if a process dies after the receiver has taken it and before
that is stored. Receivers can drop the second one by the id.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger.alert_tables import AlertDeliveryRow, AlertRow
from proxy.ledger.alerts import DELIVERED, FAILED, PENDING, AlertMessage
from proxy.ledger.views import view

_MOST_ERROR = 300


class Lease(Struct, frozen=True, kw_only=True):
    """A delivery that this process may attempt until its lease ends. `attempts` counts this attempt."""

    message: AlertMessage
    target: str
    attempts: int


async def lease_deliveries(
    engine: AsyncEngine, target: str, now: datetime, lease: timedelta, most: int
) -> list[Lease]:
    """Lease the deliveries of a target that are due, oldest first."""
    due = (
        select(AlertDeliveryRow.alert_id, AlertDeliveryRow.attempts)
        .where(
            AlertDeliveryRow.state == PENDING,
            AlertDeliveryRow.target == target,
            AlertDeliveryRow.due_at <= now,
        )
        .order_by(AlertDeliveryRow.due_at, AlertDeliveryRow.alert_id)
        .limit(most)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        if not (await connection.execute(due)).all():
            return []  # without a transaction that writes, which SQLite gives to one process at a time
    async with engine.begin() as connection:
        found = (await connection.execute(due.with_for_update(skip_locked=True))).all()
        attempts = {row.alert_id: row.attempts + 1 for row in found}
        for id_, attempt in attempts.items():
            await _change(connection, id_, target, due_at=now + lease, attempts=attempt)
        alerts = await connection.execute(select(AlertRow.__table__).where(AlertRow.id.in_(attempts)))
        return [
            Lease(message=view(AlertMessage, row), target=target, attempts=attempts[row.id]) for row in alerts
        ]


async def store_delivered(engine: AsyncEngine, lease: Lease, at: datetime) -> None:
    """Store that a delivery has succeeded."""
    async with engine.begin() as connection:
        await _change(connection, lease.message.id, lease.target, state=DELIVERED, ended_at=at, error=None)


async def store_failure(
    engine: AsyncEngine, lease: Lease, error: str, *, retry_at: datetime | None, at: datetime
) -> None:
    """Store that an attempt has failed. Without `retry_at` the delivery is given up.

    Nothing changes if another process has taken over the delivery since.
    """
    values: dict[str, object] = (
        {"state": FAILED, "ended_at": at} if retry_at is None else {"due_at": retry_at}
    )
    async with engine.begin() as connection:
        await connection.execute(
            update(AlertDeliveryRow)
            .where(
                AlertDeliveryRow.alert_id == lease.message.id,
                AlertDeliveryRow.target == lease.target,
                AlertDeliveryRow.state == PENDING,
                AlertDeliveryRow.attempts == lease.attempts,
            )
            .values(error=error[:_MOST_ERROR], **values)
        )


async def give_up_unknown(
    engine: AsyncEngine, known: Collection[str], created_before: datetime, at: datetime
) -> list[str]:
    """Give up old deliveries to targets that this process does not know. Return the names of the targets."""
    old = select(AlertRow.id).where(AlertRow.created_at < created_before)
    unknown = (
        AlertDeliveryRow.state == PENDING,
        AlertDeliveryRow.target.not_in(known),
        AlertDeliveryRow.alert_id.in_(old),
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        targets = sorted(set(await connection.scalars(select(AlertDeliveryRow.target).where(*unknown))))
    if targets:
        async with engine.begin() as connection:
            await connection.execute(
                update(AlertDeliveryRow)
                .where(*unknown)
                .values(state=FAILED, ended_at=at, error="no proxy has this target in its config")
            )
    return targets


async def _change(connection: AsyncConnection, id_: str, target: str, **values: object) -> None:
    await connection.execute(
        update(AlertDeliveryRow)
        .where(AlertDeliveryRow.alert_id == id_, AlertDeliveryRow.target == target)
        .values(**values)
    )
