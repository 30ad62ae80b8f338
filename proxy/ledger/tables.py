"""The ledger's tables. Amounts are nano-USD, times UTC, durations milliseconds."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class Utc(TypeDecorator[datetime]):
    """An aware UTC time on every database; SQLite stores no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Store UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return UTC."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {int: BigInteger, datetime: Utc, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012


class Request(Base):
    """One request as its client saw it."""

    __tablename__ = "requests"
    __table_args__ = (
        Index("ix_requests_started_at", "started_at"),
        Index("ix_requests_key_started", "key_id", "started_at"),
        Index("ix_requests_session", "session"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    started_at: Mapped[datetime]
    key_id: Mapped[str | None]
    session: Mapped[str | None]
    user: Mapped[str | None]
    task: Mapped[str | None]
    mode: Mapped[str]
    stage: Mapped[int | None]
    confidence: Mapped[float | None]
    status: Mapped[int]
    reason: Mapped[str | None]
    degraded: Mapped[str | None]
    requested_model: Mapped[str]
    model: Mapped[str | None]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    cost_nano: Mapped[int]
    baseline_nano: Mapped[int | None]
    latency_ms: Mapped[int]
    first_token_ms: Mapped[int | None]
    stream: Mapped[bool]
    error: Mapped[str | None]
    prompt: Mapped[str | None]
    answer: Mapped[str | None]


class Stage(Base):
    """How one sampled stage of a request was decided."""

    __tablename__ = "stages"

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    drawn: Mapped[int]
    planned: Mapped[int]
    agreed: Mapped[int]
    confidence: Mapped[float]
    threshold: Mapped[float]
    accepted: Mapped[bool]


class Call(Base):
    """One model call, whole or cut short, with the unit prices that it was billed at."""

    __tablename__ = "calls"
    __table_args__ = (Index("ix_calls_request", "request_id"), Index("ix_calls_started_at", "started_at"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    request_id: Mapped[str]
    started_at: Mapped[datetime]
    stage: Mapped[int]
    role: Mapped[str]
    tier: Mapped[str]
    model: Mapped[str]
    sample: Mapped[int | None]
    prompt_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    reasoning_tokens: Mapped[int]
    cost_nano: Mapped[int]
    input_per_mtok_nano: Mapped[int]
    cached_input_per_mtok_nano: Mapped[int | None]
    output_per_mtok_nano: Mapped[int]
    price_source: Mapped[str]
    latency_ms: Mapped[int]
    finish_reason: Mapped[str | None]
    estimated: Mapped[bool]
    vote: Mapped[str | None]
    error: Mapped[str | None]


class Plan(Base):
    """A goal or guideline; written only when content is stored."""

    __tablename__ = "plans"

    request_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    sample: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    stage: Mapped[int]
    text: Mapped[str]
    chosen: Mapped[bool]


class Budget(Base):
    """A limit and what stands against it, one row a window."""

    __tablename__ = "budgets"
    __table_args__ = (UniqueConstraint("scope", "name", "window", "window_start", name="uq_budgets"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    scope: Mapped[str]
    name: Mapped[str]
    window: Mapped[str]
    window_start: Mapped[datetime]
    limit_nano: Mapped[int]
    spent_nano: Mapped[int]
    reserved_nano: Mapped[int]
    owner: Mapped[str]


class Reservation(Base):
    """Money set aside for one paid call; gone when the call is settled."""

    __tablename__ = "reservations"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    request_id: Mapped[str]
    model: Mapped[str]
    amount_nano: Mapped[int]
    state: Mapped[str]  # "held" | "unsettled": its process died; it stays counted at its worst case
    budget_ids: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Key(Base):
    """A client's key; only a digest of its secret is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str]
    secret_sha256: Mapped[str]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
