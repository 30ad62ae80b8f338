"""Audits: how often local answers agree with those of the large model.

Results of one pair of models say nothing about another pair, so every query here is about one pair.
"""

from datetime import datetime
from itertools import groupby

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import ColumnElement, and_, case, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import AuditRow, RequestRow

NO_ANSWER = -1.0
"""The confidence of a stage without a valid answer. It is below every threshold."""


class Models(Struct, frozen=True):
    """A small and a large model."""

    small: str
    large: str


class Audited(Struct, frozen=True, kw_only=True):
    """One audit. The fields are those of `AuditRow`."""

    id: str
    request_id: str
    created_at: datetime
    task: str
    stage: int
    confidence: float
    accepted: bool
    agreed: bool | None
    small_model: str
    large_model: str
    samples: int
    spent_nano: int | None
    large_nano: int | None


class Evidence(Audited, frozen=True, kw_only=True):
    """An audit and the baseline of its request: the estimated cost of the large model's answer, in nano-USD.

    The baseline is `None` if the client got no answer, or one of another large model.
    """

    baseline_nano: int | None


class Agreement(Struct, frozen=True, kw_only=True):
    """The counts of audits of accepted, or of refused, answers of one task kind and stage.

    Each audit is in one count. `unanswered`: the stage had no valid answer. `samples`: each n that occurs among them.
    """

    task: str
    stage: int
    accepted: bool
    agreed: int
    differed: int
    unclear: int
    unanswered: int
    small_model: str
    large_model: str
    samples: list[int]


async def store_audit(engine: AsyncEngine, audited: Audited) -> None:
    """Store one audit. Raise the errors of the driver."""
    async with engine.begin() as connection:
        await connection.execute(insert(AuditRow).values(**asdict(audited)))


async def agreements(engine: AsyncEngine, since: datetime, models: Models) -> list[Agreement]:
    """Count the audits of two models since a time, by task kind and stage, accepted answers first."""
    counted = [
        func.sum(case((condition, 1), else_=0))
        for condition in (
            AuditRow.agreed.is_(True),
            AuditRow.agreed.is_(False),
            and_(AuditRow.agreed.is_(None), AuditRow.confidence > NO_ANSWER),
            AuditRow.confidence == NO_ANSWER,
        )
    ]
    key = AuditRow.task, AuditRow.stage, AuditRow.accepted
    query = (
        select(*key, AuditRow.samples, *counted)
        .where(AuditRow.created_at >= since, _of(models))
        .group_by(*key, AuditRow.samples)
        .order_by(AuditRow.task, AuditRow.stage, AuditRow.accepted.desc(), AuditRow.samples)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        rows = (await connection.execute(query)).all()
    found = []
    for (task, stage, accepted), group in groupby(rows, key=lambda row: row[:3]):
        samples, *counts = zip(*(row[3:] for row in group), strict=True)
        agreed, differed, unclear, unanswered = (int(sum(count)) for count in counts)
        found.append(
            Agreement(
                task=task,
                stage=stage,
                accepted=accepted,
                agreed=agreed,
                differed=differed,
                unclear=unclear,
                unanswered=unanswered,
                small_model=models.small,
                large_model=models.large,
                samples=list(samples),
            )
        )
    return found


async def verdicts(
    engine: AsyncEngine, since: datetime, models: Models, *, of: tuple[str, int] | None = None
) -> list[Audited]:
    """Return the audits of two models since a time that have a verdict, in order of time.

    Args:
        engine: the database.
        since: the time of the earliest audit to return.
        models: the two models.
        of: if given, only audits of accepted answers of this task kind and stage.
    """
    columns = [getattr(AuditRow, name) for name in Audited.__struct_fields__]
    wanted = (
        select(*columns)
        .where(AuditRow.created_at >= since, AuditRow.agreed.is_not(None), _of(models))
        .order_by(AuditRow.created_at, AuditRow.id, AuditRow.stage)
    )
    if of is not None:
        wanted = wanted.where(AuditRow.task == of[0], AuditRow.stage == of[1], AuditRow.accepted)
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [Audited(**row) for row in (await connection.execute(wanted)).mappings()]


async def evidence(engine: AsyncEngine, since: datetime, models: Models) -> list[Evidence]:
    """Return all audits of two models since a time, in order of time, with or without a verdict."""
    columns = [getattr(AuditRow, name) for name in Audited.__struct_fields__]
    comparable = or_(RequestRow.stage < 3, RequestRow.model == AuditRow.large_model)
    baseline = case((comparable, RequestRow.baseline_nano)).label("baseline_nano")
    wanted = (
        select(*columns, baseline)
        .join(RequestRow, RequestRow.id == AuditRow.request_id, isouter=True)
        .where(AuditRow.created_at >= since, _of(models))
        .order_by(AuditRow.created_at, AuditRow.id, AuditRow.stage)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        found = await connection.execute(wanted)
        return [Evidence(**row) for row in found.mappings()]


async def total(engine: AsyncEngine, since: datetime) -> int:
    """Return the number of audits since a time, of all models."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        counted = select(func.count()).where(AuditRow.created_at >= since)
        return int((await connection.execute(counted)).scalar_one())


def _of(models: Models) -> ColumnElement[bool]:
    return and_(AuditRow.small_model == models.small, AuditRow.large_model == models.large)


async def delete_audits(engine: AsyncEngine, before: datetime) -> int:
    """Delete audits that are older than a time. Return how many."""
    async with engine.begin() as connection:
        done = await connection.execute(delete(AuditRow).where(AuditRow.created_at < before))
    return int(done.rowcount)
