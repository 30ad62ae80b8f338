"""Reading the ledger. Every struct holds nano-USD."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import Call, Plan, Request, Stage


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


def _row(struct: type[Any], row: Any) -> Any:
    names = struct.__struct_fields__
    stored = row._mapping  # noqa: SLF001  (SQLAlchemy's public name for it)
    return struct(*(stored[n] if n in stored else stored[f"{n}_nano"] for n in names))
