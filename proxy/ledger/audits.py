"""What audits have found: how often local answers are those of the large model."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import case, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import Audit


class Audited(Struct, frozen=True):
    """One audit; the fields are those of the table."""

    id: str
    request_id: str
    created_at: datetime
    task: str
    stage: int
    confidence: float
    accepted: bool
    agreed: bool | None


class Agreement(Struct, frozen=True):
    """How audits of the accepted, or of the refused, answers of one task kind and stage went.

    `unclear` ones are in neither of the other counts.
    """

    task: str
    stage: int
    accepted: bool
    agreed: int
    differed: int
    unclear: int


async def keep(engine: AsyncEngine, audited: Audited) -> None:
    """Store one audit. Raises what the driver raises."""
    async with engine.begin() as connection:
        await connection.execute(insert(Audit).values(**asdict(audited)))


async def agreements(engine: AsyncEngine, since: datetime) -> list[Agreement]:
    """Return how the audits since a time went, by task kind and stage, accepted answers first."""
    counted = [
        func.sum(case((condition, 1), else_=0))
        for condition in (Audit.agreed.is_(True), Audit.agreed.is_(False), Audit.agreed.is_(None))
    ]
    wanted = (
        select(Audit.task, Audit.stage, Audit.accepted, *counted)
        .where(Audit.created_at >= since)
        .group_by(Audit.task, Audit.stage, Audit.accepted)
        .order_by(Audit.task, Audit.stage, Audit.accepted.desc())
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        rows = await connection.execute(wanted)
        return [
            Agreement(task, stage, accepted, *map(int, counts)) for task, stage, accepted, *counts in rows
        ]


async def verdicts(engine: AsyncEngine, since: datetime) -> list[Audited]:
    """Return the audits since a time that came to a verdict."""
    columns = [getattr(Audit, name) for name in Audited.__struct_fields__]
    known = select(*columns).where(Audit.created_at >= since, Audit.agreed.is_not(None))
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return [
            Audited(*row)
            for row in await connection.execute(known.order_by(Audit.created_at, Audit.id, Audit.stage))
        ]


async def forget(engine: AsyncEngine, before: datetime) -> int:
    """Delete audits that are older; return how many."""
    async with engine.begin() as connection:
        done = await connection.execute(delete(Audit).where(Audit.created_at < before))
    return int(done.rowcount)
