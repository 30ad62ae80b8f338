"""What `previous_response_id` stands for: the conversations of local answers, and whose the upstream's are.

The upstream keeps its own responses; ours have to be kept here, as a client that sends only what is new expects.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import KeptResponseRow


class Kept(Struct, frozen=True):
    """One response that a later one may name.

    Attributes:
        id: the response's id.
        key_id: whose it is.
        context_tokens: what the upstream adds when it is continued there.
        items: the whole conversation as input items; `None` when the upstream keeps it.
    """

    id: str
    key_id: str | None
    created_at: datetime
    context_tokens: int
    items: list[dict[str, Any]] | None = None


async def keep(engine: AsyncEngine, kept: Kept) -> None:
    """Store one response. Raises what the driver raises."""
    async with engine.begin() as connection:
        await connection.execute(
            insert(KeptResponseRow).values(
                id=kept.id,
                key_id=kept.key_id,
                created_at=kept.created_at,
                context_tokens=kept.context_tokens,
                items=kept.items,
            )
        )


async def find(engine: AsyncEngine, response_id: str) -> Kept | None:
    """Return a response, `None` when it is not known."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        row = (
            await connection.execute(select(KeptResponseRow).where(KeptResponseRow.id == response_id))
        ).one_or_none()
    return None if row is None else Kept(row.id, row.key_id, row.created_at, row.context_tokens, row.items)


async def forget(engine: AsyncEngine, before: datetime) -> int:
    """Delete responses that are older; return how many."""
    async with engine.begin() as connection:
        done = await connection.execute(delete(KeptResponseRow).where(KeptResponseRow.created_at < before))
    return int(done.rowcount)
