"""The tables of alerts. See `tables` for the units."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from proxy.ledger.tables import Base, Text


class AlertRow(Base):
    """An alert that was raised. The unique key lets all processes raise it once."""

    __tablename__ = "alerts"
    __table_args__ = (
        UniqueConstraint("alert", "subject", "window", "level", name="uq_alerts"),
        Index("ix_alerts_created_at", "created_at"),
    )

    id: Mapped[str] = mapped_column(Text(64), primary_key=True)
    """Receivers see it too, and can drop a second delivery by it."""
    alert: Mapped[str] = mapped_column(Text(64))
    """Its name in the config."""
    kind: Mapped[str] = mapped_column(Text(16))
    subject: Mapped[str]
    """The thing that it is about, such as a budget."""
    window: Mapped[str] = mapped_column(Text(64))
    """The window in which it is raised once."""
    level: Mapped[str] = mapped_column(Text(16))
    """A fraction of a budget, else ""."""
    created_at: Mapped[datetime]
    title: Mapped[str]
    text: Mapped[str]
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)


class AlertDeliveryRow(Base):
    """The delivery of an alert to one target. An alert that a higher level has replaced has none."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (Index("ix_alert_deliveries_due", "state", "target", "due_at"),)

    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True)
    target: Mapped[str] = mapped_column(Text(64), primary_key=True)
    state: Mapped[str] = mapped_column(Text(16))
    """`pending`, `delivered` or `failed`."""
    attempts: Mapped[int] = mapped_column(Integer)
    due_at: Mapped[datetime]
    """The time of the next attempt. During an attempt: the time from which another process may take it over."""
    ended_at: Mapped[datetime | None]
    error: Mapped[str | None]
    """The reason why the last attempt failed."""


class AlertRoundRow(Base):
    """When the next check of an alert is due. The process that moves the time makes the check."""

    __tablename__ = "alert_rounds"

    alert: Mapped[str] = mapped_column(Text(64), primary_key=True)
    due_at: Mapped[datetime]


class OutageRow(Base):
    """The present or last outage of a tier, as all processes have seen it."""

    __tablename__ = "outages"

    tier: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]
    seen_at: Mapped[datetime]
    """The last time that any process saw the tier down."""
