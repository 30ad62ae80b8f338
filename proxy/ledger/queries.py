"""Reading the ledger. Every struct holds nano-USD."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import Budget, Call, Plan, Request, Reservation, Stage


class RequestRow(msgspec.Struct, frozen=True):
    """One request."""

    id: str
    started_at: datetime
    key_id: str | None
    session: str | None
    user: str | None
    task: str | None
    mode: str
    stage: int | None
    confidence: float | None
    status: int
    reason: str | None
    degraded: str | None
    requested_model: str
    model: str | None
    prompt_tokens: int
    completion_tokens: int
    cost: int
    baseline: int | None
    latency_ms: int
    first_token_ms: int | None
    stream: bool
    error: str | None
    tags: list[str]


class StageRow(msgspec.Struct, frozen=True):
    """How one stage was decided."""

    stage: int
    drawn: int
    planned: int
    agreed: int
    confidence: float
    threshold: float
    accepted: bool


class CallRow(msgspec.Struct, frozen=True):
    """One model call."""

    id: str
    started_at: datetime
    stage: int
    role: str
    tier: str
    model: str
    sample: int | None
    vote: str | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: int
    latency_ms: int
    finish_reason: str | None
    estimated: bool
    overrun: bool
    error: str | None
    input_per_mtok: int
    output_per_mtok: int
    price_source: str


class PlanRow(msgspec.Struct, frozen=True):
    """A stored plan."""

    kind: str
    text: str
    chosen: bool


class RequestStory(msgspec.Struct, frozen=True):
    """Everything about one request."""

    request: RequestRow
    stages: list[StageRow]
    calls: list[CallRow]
    plans: list[PlanRow]


class BudgetRow(msgspec.Struct, frozen=True):
    """A budget and what stands against it."""

    scope: str
    name: str
    window: str
    window_start: datetime
    limit: int
    spent: int
    reserved: int
    unsettled: int


class UnsettledSum(msgspec.Struct, frozen=True):
    """How many reservations of dead processes there are, and their worst cases in all."""

    count: int
    amount: int


class UnsettledRow(msgspec.Struct, frozen=True):
    """A reservation whose process died."""

    id: str
    request_id: str
    model: str
    amount: int
    created_at: datetime


async def list_requests(
    engine: AsyncEngine,
    *,
    limit: int,
    before: str | None = None,
    key_id: str | None = None,
    session: str | None = None,
) -> list[RequestRow]:
    """List requests, newest first; `before` is the id of the last one seen."""
    query = select(Request.__table__).order_by(Request.id.desc()).limit(limit)
    for column, value in ((Request.key_id, key_id), (Request.session, session)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(Request.id < before)
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [_row(RequestRow, r) for r in await connection.execute(query)]


async def get_request(engine: AsyncEngine, request_id: str, key_id: str | None = None) -> RequestStory | None:
    """Return the story of a request; `None` when it is unknown or another key's."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        found = (
            await connection.execute(select(Request.__table__).where(Request.id == request_id))
        ).one_or_none()
        if found is None or (key_id is not None and found.key_id != key_id):
            return None
        stages = await connection.execute(
            select(Stage.__table__).where(Stage.request_id == request_id).order_by(Stage.stage)
        )
        calls = await connection.execute(
            select(Call.__table__)
            .where(Call.request_id == request_id)
            .order_by(Call.stage, Call.role.desc(), Call.sample, Call.started_at)
        )
        plans = await connection.execute(
            select(Plan.__table__).where(Plan.request_id == request_id).order_by(Plan.stage, Plan.sample)
        )
        return RequestStory(
            _row(RequestRow, found),
            [_row(StageRow, r) for r in stages],
            [_row(CallRow, r) for r in calls],
            [_row(PlanRow, r) for r in plans],
        )


async def list_budgets(engine: AsyncEngine) -> list[BudgetRow]:
    """List all budgets that have been used."""
    query = select(Budget.__table__).order_by(Budget.scope, Budget.name, Budget.window_start)
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [_row(BudgetRow, r) for r in await connection.execute(query)]


async def set_session_budget(engine: AsyncEngine, name: str, limit: int) -> bool:
    """Set a session's limit, up or down; False when the session has no budget."""
    query = update(Budget).where(Budget.scope == "session", Budget.name == name)
    async with engine.begin() as connection:
        return (await connection.execute(query.values(limit_nano=limit))).rowcount == 1


async def unsettled_sum(engine: AsyncEngine) -> UnsettledSum:
    """Count the reservations of dead processes, in one indexed look."""
    query = select(func.count(), func.sum(Reservation.amount_nano)).where(Reservation.state == "unsettled")
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        count, amount = (await connection.execute(query)).one()
    return UnsettledSum(count, int(amount or 0))


async def unsettled(engine: AsyncEngine) -> list[UnsettledRow]:
    """List the reservations of dead processes, oldest first."""
    query = (
        select(Reservation.__table__).where(Reservation.state == "unsettled").order_by(Reservation.created_at)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [_row(UnsettledRow, r) for r in await connection.execute(query)]


def _row(struct: type[Any], row: Any) -> Any:
    names = struct.__struct_fields__
    stored = row._mapping  # noqa: SLF001  (SQLAlchemy's public name for it)
    return struct(*(stored[n] if n in stored else stored[f"{n}_nano"] for n in names))
