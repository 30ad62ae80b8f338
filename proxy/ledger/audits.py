"""What audits have found: how often local answers are those of the large model.

What one pair of models did is no evidence of another, so all that is read here is of one pair.
"""

from datetime import datetime
from itertools import groupby

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import ColumnElement, and_, case, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import Audit, Request

NO_ANSWER = -1.0
"""The confidence of a stage that came to no valid answer: it is below every threshold."""


class Models(Struct, frozen=True):
    """A small and a large model."""

    small: str
    large: str


class Audited(Struct, frozen=True):
    """One audit; the fields are those of the table.

    In what is read, `large_nano` is the request's baseline where the large model was not asked for an answer of its own.
    """

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

    @property
    def priced(self) -> bool:
        """Whether it says what the stage, and what the large model's answer, cost."""
        return self.spent_nano is not None and self.large_nano is not None


class Agreement(Struct, frozen=True):
    """How audits of the accepted, or of the refused, answers of one task kind and stage went.

    `unclear` ones are in neither of the other counts; `samples` are the n that occur among them.
    """

    task: str
    stage: int
    accepted: bool
    agreed: int
    differed: int
    unclear: int
    small_model: str
    large_model: str
    samples: list[int]


async def keep(engine: AsyncEngine, audited: Audited) -> None:
    """Store one audit. Raises what the driver raises."""
    async with engine.begin() as connection:
        await connection.execute(insert(Audit).values(**asdict(audited)))


async def agreements(engine: AsyncEngine, since: datetime, models: Models) -> list[Agreement]:
    """Return how the audits of two models since a time went, by task kind and stage, accepted answers first."""
    counted = [
        func.sum(case((condition, 1), else_=0))
        for condition in (Audit.agreed.is_(True), Audit.agreed.is_(False), Audit.agreed.is_(None))
    ]
    key = Audit.task, Audit.stage, Audit.accepted
    wanted = (
        select(*key, Audit.samples, *counted)
        .where(Audit.created_at >= since, _of(models))
        .group_by(*key, Audit.samples)
        .order_by(Audit.task, Audit.stage, Audit.accepted.desc(), Audit.samples)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        rows = (await connection.execute(wanted)).all()
    found = []
    for (task, stage, accepted), group in groupby(rows, key=lambda row: row[:3]):
        samples, *counts = zip(*(row[3:] for row in group), strict=True)
        agreed, differed, unclear = (int(sum(count)) for count in counts)
        found.append(
            Agreement(
                task, stage, accepted, agreed, differed, unclear, models.small, models.large, list(samples)
            )
        )
    return found


async def verdicts(
    engine: AsyncEngine, since: datetime, models: Models, *, of: tuple[str, int] | None = None
) -> list[Audited]:
    """Return the audits of two models since a time that came to a verdict, in order of time.

    Args:
        engine: the database.
        since: when the first one may have been made.
        models: whose audits.
        of: only those of the accepted answers of this task kind and stage.
    """
    which: list[ColumnElement[bool]] = [Audit.agreed.is_not(None)]
    if of is not None:
        which += [Audit.task == of[0], Audit.stage == of[1], Audit.accepted.is_(True)]
    return await _read(engine, since, models, *which)


async def evidence(engine: AsyncEngine, since: datetime, models: Models) -> list[Audited]:
    """Return all audits of two models since a time, in order of time, also those without a verdict."""
    return await _read(engine, since, models)


async def _read(
    engine: AsyncEngine, since: datetime, models: Models, *which: ColumnElement[bool]
) -> list[Audited]:
    columns = {name: getattr(Audit, name) for name in Audited.__struct_fields__}
    columns["large_nano"] = func.coalesce(Audit.large_nano, Request.baseline_nano)
    wanted = (
        select(*columns.values())
        .join(Request, Request.id == Audit.request_id, isouter=True)
        .where(Audit.created_at >= since, _of(models), *which)
        .order_by(Audit.created_at, Audit.id, Audit.stage)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [Audited(*row) for row in await connection.execute(wanted)]


async def total(engine: AsyncEngine, since: datetime) -> int:
    """Return how many audits since a time came to a verdict, of whatever models."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        counted = select(func.count(Audit.agreed)).where(Audit.created_at >= since)
        return int((await connection.execute(counted)).scalar_one())


def _of(models: Models) -> ColumnElement[bool]:
    return and_(Audit.small_model == models.small, Audit.large_model == models.large)


async def forget(engine: AsyncEngine, before: datetime) -> int:
    """Delete audits that are older; return how many."""
    async with engine.begin() as connection:
        done = await connection.execute(delete(Audit).where(Audit.created_at < before))
    return int(done.rowcount)
