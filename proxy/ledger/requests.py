"""Requests in the ledger, with their stages, calls and plans. Amounts are nano-USD."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import CallRow, PlanRow, RequestRow, StageRow
from proxy.ledger.views import view
from proxy.records import RequestSummary, StageRecord


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """One model call, with the unit prices that it was billed at."""

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
    cache_write_tokens: int | None
    completion_tokens: int
    reasoning_tokens: int
    service_tier: str | None
    cost: int
    reported_cost: int | None
    """The cost that the upstream reported itself, and below the one by tokens and prices. `None` if it reported none."""
    computed_cost: int | None
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
    """Everything that the ledger knows of one request."""

    request: RequestSummary
    stages: list[StageRecord]
    calls: list[CallView]
    plans: list[PlanView]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFilter:
    """Which requests to list. `None` admits all. `failed` admits those with an error status, or those without."""

    key_id: str | None = None
    session: str | None = None
    user: str | None = None
    task: str | None = None
    stage: int | None = None
    model: str | None = None
    status: int | None = None
    failed: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERY_REQUEST = RequestFilter()
_EQUAL = ("key_id", "session", "user", "task", "stage", "model", "status")
_FIRST_ERROR = 400


async def list_requests(
    engine: AsyncEngine, wanted: RequestFilter = EVERY_REQUEST, *, limit: int, before: str | None = None
) -> list[RequestSummary]:
    """List requests, newest first. `before` is the last id of the previous page."""
    query = _matching(select(RequestRow.__table__), wanted).order_by(RequestRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(RequestRow.id < before)
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [_summary(row) for row in await connection.execute(query)]


async def recent_costs(engine: AsyncEngine, wanted: RequestFilter, *, limit: int) -> list[tuple[int, int]]:
    """Return cost and baseline of the newest requests that have a baseline."""
    query = _matching(select(*RequestRow.__table__.c["cost_nano", "baseline_nano"]), wanted)
    query = query.where(RequestRow.baseline_nano.is_not(None)).order_by(RequestRow.id.desc()).limit(limit)
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [(cost, baseline) for cost, baseline in await connection.execute(query)]


def _matching(query: Select[Any], wanted: RequestFilter) -> Select[Any]:
    for name in _EQUAL:
        if (value := getattr(wanted, name)) is not None:
            query = query.where(getattr(RequestRow, name) == value)
    if wanted.failed is not None:
        failed = RequestRow.status >= _FIRST_ERROR
        query = query.where(failed if wanted.failed else ~failed)
    if wanted.since is not None:
        query = query.where(RequestRow.started_at >= wanted.since)
    return query if wanted.until is None else query.where(RequestRow.started_at < wanted.until)


async def get_request(
    engine: AsyncEngine, request_id: str, key_id: str | None = None
) -> RequestDetails | None:
    """Return the details of a request, or `None` if it is unknown or belongs to another key."""
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
            request=_summary(found),
            stages=[view(StageRecord, row) for row in stages],
            calls=[_call(row) for row in calls],
            plans=[view(PlanView, row) for row in plans],
        )


def _summary(row: Any) -> RequestSummary:
    return view(
        RequestSummary, row, cost=row.cost_nano, baseline=row.baseline_nano, tags=tuple(row.tags or ())
    )


def _call(row: Any) -> CallView:
    return view(
        CallView,
        row,
        cost=row.cost_nano,
        reported_cost=row.reported_cost_nano,
        computed_cost=row.computed_cost_nano,
        input_per_mtok=row.input_per_mtok_nano,
        output_per_mtok=row.output_per_mtok_nano,
    )
