"""Alerts: raise each one once over all processes, and list them."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field
from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import new_id
from proxy.ledger.alert_tables import AlertDeliveryRow, AlertRow
from proxy.ledger.views import view

_LONGEST_WINDOW = timedelta(days=32)
PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"


class NewAlert(Struct, frozen=True, kw_only=True):
    """An alert to raise, unless it has been raised for its subject, window and level.

    `sent` is False if a higher level is raised at the same time: then it is stored and not sent.
    """

    alert: str
    kind: str
    subject: str
    window: str
    level: str = ""
    title: str
    text: str
    facts: dict[str, Any]
    sent: bool = True


class AlertMessage(Struct, frozen=True, kw_only=True):
    """An alert as its receivers get it. The fields are those of `AlertRow`."""

    id: str
    alert: str
    kind: str
    level: str
    created_at: datetime
    title: str
    text: str
    facts: dict[str, Any]


class DeliveryView(Struct, frozen=True, kw_only=True):
    """The state of a delivery."""

    target: str
    state: str
    attempts: int
    due_at: datetime
    ended_at: datetime | None
    error: str | None


class AlertView(AlertMessage, frozen=True, kw_only=True):
    """An alert with its deliveries. It has none if a higher level was sent in its place."""

    deliveries: list[DeliveryView] = field(default_factory=list)


async def raise_alerts(
    engine: AsyncEngine, found: Iterable[NewAlert], targets: Sequence[str], at: datetime
) -> list[str]:
    """Raise alerts that have not been raised yet. Return the ids of the new ones.

    The row of an alert and its deliveries are one transaction, so that an alert that was raised is also sent.
    """
    raised = []
    async with engine.begin() as connection:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        # In one order, so that no two processes wait for each other's rows in a circle.
        for new in sorted(found, key=lambda a: (a.alert, a.subject, a.window, a.level)):
            row = {
                "id": new_id("alert"), "alert": new.alert, "kind": new.kind,
                "subject": new.subject, "window": new.window, "level": new.level,
                "created_at": at, "title": new.title, "text": new.text, "facts": new.facts,
            }  # fmt: skip
            claim = dialect.insert(AlertRow).values(**row).on_conflict_do_nothing().returning(AlertRow.id)
            id_ = (await connection.execute(claim)).scalar_one_or_none()
            if id_ is None:
                continue
            raised.append(id_)
            if new.sent:
                await connection.execute(
                    insert(AlertDeliveryRow),
                    [
                        {
                            "alert_id": id_, "target": target, "state": PENDING, "attempts": 0, "due_at": at,
                            "ended_at": None, "error": None,
                        }
                        for target in dict.fromkeys(targets)
                    ],
                )  # fmt: skip
    return raised


async def is_raised(engine: AsyncEngine, alert: str, subject: str, window: str) -> bool:
    """Return True if an alert has been raised for a subject in a window, at any level."""
    named = AlertRow.alert == alert, AlertRow.subject == subject, AlertRow.window == window
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return await connection.scalar(select(AlertRow.id).where(*named).limit(1)) is not None


async def list_alerts(engine: AsyncEngine, *, limit: int, pending: bool = False) -> list[AlertView]:
    """List alerts with their deliveries, newest first.

    Args:
        engine: the database.
        limit: the most alerts to return.
        pending: only alerts with a delivery that is pending.
    """
    query = select(AlertRow.__table__).order_by(AlertRow.created_at.desc(), AlertRow.id.desc()).limit(limit)
    if pending:
        of_pending = select(AlertDeliveryRow.alert_id).where(AlertDeliveryRow.state == PENDING)
        query = query.where(AlertRow.id.in_(of_pending))
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        alerts = [view(AlertView, row, deliveries=[]) for row in await connection.execute(query)]
        by_id = {alert.id: alert for alert in alerts}
        deliveries = (
            select(AlertDeliveryRow.__table__)
            .where(AlertDeliveryRow.alert_id.in_(by_id))
            .order_by(AlertDeliveryRow.target)
        )
        for row in await connection.execute(deliveries):
            by_id[row.alert_id].deliveries.append(view(DeliveryView, row))
    return alerts


async def count_pending(engine: AsyncEngine) -> int:
    """Return the number of deliveries that are pending."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        counted = select(func.count()).where(AlertDeliveryRow.state == PENDING)
        return int((await connection.execute(counted)).scalar_one())


async def delete_alerts(engine: AsyncEngine, before: datetime, now: datetime) -> int:
    """Delete alerts that are older than a time, and return how many.

    Alerts of the last 32 days and of windows that never end stay. Without their rows they would be raised again.
    """
    async with engine.begin() as connection:
        old = AlertRow.created_at < min(before, now - _LONGEST_WINDOW), AlertRow.window != "total"
        # SQLite of an old version has no cascade: the deliveries go first.
        ids = select(AlertRow.id).where(*old)
        await connection.execute(delete(AlertDeliveryRow).where(AlertDeliveryRow.alert_id.in_(ids)))
        done = await connection.execute(delete(AlertRow).where(*old))
    return int(done.rowcount)
