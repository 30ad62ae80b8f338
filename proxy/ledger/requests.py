"""Reading the ledger. Every struct holds nano-USD."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import CallRow, PlanRow, RequestRow, StageRow


class RequestView(msgspec.Struct, frozen=True):
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


class StageView(msgspec.Struct, frozen=True):
    """How one stage was decided."""

    stage: int
    drawn: int
    planned: int
    agreed: int
    confidence: float
    threshold: float
    accepted: bool


class CallView(msgspec.Struct, frozen=True):
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


class PlanView(msgspec.Struct, frozen=True):
    """A stored plan."""

    kind: str
    text: str
    chosen: bool


class RequestDetails(msgspec.Struct, frozen=True):
    """Everything about one request."""

    request: RequestView
    stages: list[StageView]
    calls: list[CallView]
    plans: list[PlanView]


async def list_requests(
    engine: AsyncEngine,
    *,
    limit: int,
    before: str | None = None,
    key_id: str | None = None,
    session: str | None = None,
) -> list[RequestView]:
    """List requests, newest first; `before` is the id of the last one seen."""
    query = select(RequestRow.__table__).order_by(RequestRow.id.desc()).limit(limit)
    for column, value in ((RequestRow.key_id, key_id), (RequestRow.session, session)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(RequestRow.id < before)
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [_row(RequestView, r) for r in await connection.execute(query)]


async def get_request(
    engine: AsyncEngine, request_id: str, key_id: str | None = None
) -> RequestDetails | None:
    """Return the story of a request; `None` when it is unknown or another key's."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        found = (
            await connection.execute(select(RequestRow.__table__).where(RequestRow.id == request_id))
        ).one_or_none()
        if found is None or (key_id is not None and found.key_id != key_id):
            return None
        stages = await connection.execute(
            select(StageRow.__table__).where(StageRow.request_id == request_id).order_by(StageRow.stage)
        )
        calls = await connection.execute(
            select(CallRow.__table__)
            .where(CallRow.request_id == request_id)
            .order_by(CallRow.stage, CallRow.role.desc(), CallRow.sample, CallRow.started_at)
        )
        plans = await connection.execute(
            select(PlanRow.__table__)
            .where(PlanRow.request_id == request_id)
            .order_by(PlanRow.stage, PlanRow.sample)
        )
        return RequestDetails(
            _row(RequestView, found),
            [_row(StageView, r) for r in stages],
            [_row(CallView, r) for r in calls],
            [_row(PlanView, r) for r in plans],
        )


def _row(struct: type[Any], row: Any) -> Any:
    names = struct.__struct_fields__
    stored = row._mapping  # noqa: SLF001  (SQLAlchemy's public name for it)
    return struct(*(stored[n] if n in stored else stored[f"{n}_nano"] for n in names))
