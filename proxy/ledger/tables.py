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

from proxy.records import storable_text


class Utc(TypeDecorator[datetime]):
    """An aware UTC time on every database. SQLite stores no zone, so reading adds it again."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Store UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return UTC."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Text(TypeDecorator[str]):
    """A text without the characters that a database refuses, when it is stored and when it is searched for."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Send a text that every database takes."""
        return storable_text(value) if isinstance(value, str) else value


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {str: Text, int: BigInteger, datetime: Utc, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012


class RequestRow(Base):
    """One request as its client saw it. See `proxy.records.RequestRecord`."""

    __tablename__ = "requests"
    __table_args__ = (
        Index("ix_requests_started_at", "started_at"),
        Index("ix_requests_key_started", "key_id", "started_at"),
        Index("ix_requests_session", "session"),
    )

    id: Mapped[str] = mapped_column(Text(64), primary_key=True)
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
    tags: Mapped[list[str]]
    config: Mapped[str | None]
    sent_tokens: Mapped[int] = mapped_column(server_default="0")
    read_tokens: Mapped[int] = mapped_column(server_default="0")
    written_tokens: Mapped[int] = mapped_column(server_default="0")
    prompt: Mapped[str | None]
    answer: Mapped[str | None]
    team: Mapped[str | None]
    """Of the key when the request began, here and below. `None` in rows of old versions."""
    cost_center: Mapped[str | None]
    environment: Mapped[str | None]


class StageRow(Base):
    """How one sampled stage of a request was decided. See `proxy.records.StageRecord`."""

    __tablename__ = "stages"

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    drawn: Mapped[int]
    planned: Mapped[int]
    agreed: Mapped[int]
    confidence: Mapped[float]
    threshold: Mapped[float]
    accepted: Mapped[bool]


class CallRow(Base):
    """One model call, complete or interrupted. See `proxy.records.CallRecord`."""

    __tablename__ = "calls"
    __table_args__ = (Index("ix_calls_request", "request_id"), Index("ix_calls_started_at", "started_at"))

    id: Mapped[str] = mapped_column(Text(64), primary_key=True)
    request_id: Mapped[str]
    key_id: Mapped[str | None]
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
    """The unit prices that the call was billed at, here and below."""
    cached_input_per_mtok_nano: Mapped[int | None]
    output_per_mtok_nano: Mapped[int]
    price_source: Mapped[str]
    """`config`, `genai-prices` or `free`."""
    latency_ms: Mapped[int]
    finish_reason: Mapped[str | None]
    estimated: Mapped[bool]
    vote: Mapped[str | None]
    error: Mapped[str | None]
    overrun: Mapped[bool]
    cache_write_tokens: Mapped[int | None]
    """Part of the prompt, as are the next ones of prompt or completion. `None`, here and below, in rows of old versions."""
    audio_prompt_tokens: Mapped[int | None]
    audio_completion_tokens: Mapped[int | None]
    cache_write_per_mtok_nano: Mapped[int | None]
    """The rate that such tokens were billed at, here and below, also if it was a guess."""
    audio_input_per_mtok_nano: Mapped[int | None]
    audio_output_per_mtok_nano: Mapped[int | None]
    request_nano: Mapped[int | None]
    """The fee per call."""
    service_tier: Mapped[str | None]
    """The tier that the upstream named."""
    cache_write_1h_tokens: Mapped[int | None]
    """Part of `cache_write_tokens`. `None`, here and below, also if the upstream does not tell it apart."""
    image_prompt_tokens: Mapped[int | None]
    image_completion_tokens: Mapped[int | None]
    cache_write_1h_per_mtok_nano: Mapped[int | None]
    image_input_per_mtok_nano: Mapped[int | None]
    """`None`, here and below, if such tokens have no rate of their own."""
    image_output_per_mtok_nano: Mapped[int | None]
    reasoning_per_mtok_nano: Mapped[int | None]
    reported_cost_nano: Mapped[int | None]
    """The cost that the upstream reported itself."""
    computed_cost_nano: Mapped[int | None]
    """The cost by the tokens and unit prices, if the upstream reported one."""


class PlanRow(Base):
    """A goal or guideline. It is written only if content is stored."""

    __tablename__ = "plans"

    request_id: Mapped[str] = mapped_column(Text(64), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    sample: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """-1 for a plan of no sample."""
    stage: Mapped[int]
    text: Mapped[str]
    chosen: Mapped[bool]


class BudgetRow(Base):
    """A limit and the amounts that count against it, one row a window."""

    __tablename__ = "budgets"
    __table_args__ = (
        UniqueConstraint("scope", "owner", "name", "window", "window_start", name="uq_budgets"),
        # Alerts read the budgets of the current windows. None of these columns changes, so updates stay cheap.
        Index("ix_budgets_window", "window", "window_start"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    scope: Mapped[str]
    name: Mapped[str]
    window: Mapped[str]
    window_start: Mapped[datetime]
    limit_nano: Mapped[int]
    lowest_header_nano: Mapped[int]
    """The lowest limit that a header of the session gave. Only a lower one lowers the limit again."""
    spent_nano: Mapped[int]
    reserved_nano: Mapped[int]
    """The sum of the open reservations."""
    unsettled_nano: Mapped[int]
    """The sum of the unsettled reservations, at their worst cases."""
    owner: Mapped[str]
    """The key of a session, "" without a key. Sessions of two keys may have the same name."""


class ReservationRow(Base):
    """Money reserved for one paid call. The row is deleted when the call is settled."""

    __tablename__ = "reservations"
    __table_args__ = (Index("ix_reservations_state", "state", "expires_at"),)

    id: Mapped[str] = mapped_column(Text(64), primary_key=True)
    request_id: Mapped[str]
    model: Mapped[str]
    amount_nano: Mapped[int]
    state: Mapped[str]
    """`reserved`, or `unsettled` if its process has died."""
    process_id: Mapped[str]
    """The process that reserved it."""
    budget_ids: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    """If it is not settled by then, its process has died."""


class KeyRow(Base):
    """A client's key. Only digests of its secrets are kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(Text(32), primary_key=True)
    name: Mapped[str]
    secret_sha256: Mapped[str]
    previous_sha256: Mapped[str | None]
    previous_until: Mapped[datetime | None]
    """After a rotation the previous secret works until then."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    budget_nano: Mapped[int | None]
    budget_window: Mapped[str | None]
    models: Mapped[list[str]]
    """The models that the key may use. Empty for all."""
    modes: Mapped[list[str]]
    """The modes that the key may use. Empty for all."""
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    team: Mapped[str | None]
    cost_center: Mapped[str | None]
    environment: Mapped[str | None]


class RateWindowRow(Base):
    """How many requests of a key were admitted in a minute, and the tokens of all its calls that ended in it."""

    __tablename__ = "rate_windows"

    key_id: Mapped[str] = mapped_column(Text(32), primary_key=True)
    minute: Mapped[datetime] = mapped_column(primary_key=True)
    requests: Mapped[int]
    tokens: Mapped[int]


class KeptResponseRow(Base):
    """A response that a later request may continue. See `proxy.ledger.kept_responses`."""

    __tablename__ = "responses"
    __table_args__ = (Index("ix_responses_created_at", "created_at"),)

    id: Mapped[str] = mapped_column(Text(128), primary_key=True)
    key_id: Mapped[str | None]
    created_at: Mapped[datetime]
    context_tokens: Mapped[int]
    items: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    model: Mapped[str | None]
    """The large model that made it. `None` for a local answer, and for a response of an old version."""
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """The response itself, if it is a local answer."""


class StoredCompletionRow(Base):
    """A chat completion that its client asked to store. See `proxy.ledger.stored_completions`."""

    __tablename__ = "chat_completions"
    __table_args__ = (
        Index("ix_chat_completions_key_created", "key_id", "created_at"),
        Index("ix_chat_completions_created_at", "created_at"),
    )

    id: Mapped[str] = mapped_column(Text(128), primary_key=True)
    key_id: Mapped[str | None]
    created_at: Mapped[datetime]
    model: Mapped[str | None]
    """The large model that made it. `None` for a local answer."""
    answered_by: Mapped[str]
    """The model that the completion names."""
    labels: Mapped[dict[str, Any]]
    """The client's metadata: texts by their keys."""
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """The completion itself, if it is a local answer. The upstream keeps its own."""
    messages: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    """The messages of its request, if it is a local answer."""


class OwnedObjectRow(Base):
    """An object of the upstream that a key got through this proxy. See `proxy.ledger.owned_objects`."""

    __tablename__ = "owned_objects"
    __table_args__ = (Index("ix_owned_objects_created_at", "created_at"),)

    key_id: Mapped[str] = mapped_column(Text(32), primary_key=True)
    id: Mapped[str] = mapped_column(Text(128), primary_key=True)
    created_at: Mapped[datetime]


class AuditRow(Base):
    """A stage's answer that was compared with the large model's. See `proxy.ledger.audits`."""

    __tablename__ = "audits"
    __table_args__ = (Index("ix_audits_created_at", "created_at"),)

    id: Mapped[str] = mapped_column(Text(32), primary_key=True)
    """The audit's own request to the large model."""
    stage: Mapped[int] = mapped_column(Integer, primary_key=True)
    """The stage that gave the compared answer."""
    request_id: Mapped[str] = mapped_column(Text(32))
    """The client's request."""
    created_at: Mapped[datetime]
    task: Mapped[str] = mapped_column(Text(16))
    confidence: Mapped[float]
    """-1 if the stage had no valid answer."""
    accepted: Mapped[bool]
    """True if the client got this answer."""
    agreed: Mapped[bool | None]
    """`None` if there was no valid answer, or if the large model gave nothing to compare it with."""
    small_model: Mapped[str | None]
    """`None`, here and below, for an audit by an old version that did not record it."""
    large_model: Mapped[str | None]
    samples: Mapped[int | None]
    """n of the vote."""
    spent_nano: Mapped[int | None]
    """The cost of the stage if it draws all samples, by `small.price`, and of the guideline in stage 2."""
    large_nano: Mapped[int | None]
    """The cost of the large model's answer to the same question. `None` if that answer is incomplete."""
