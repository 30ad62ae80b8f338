"""Responses that a later request may name: local answers with their conversations, and the owners of all others.

The upstream keeps its own responses. Local ones are kept here. A client may read them, delete them, and send only its
new messages.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import and_, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.database import insert_new
from proxy.ledger.tables import KeptResponseRow
from proxy.ledger.views import view


class KeptResponse(Struct, frozen=True, kw_only=True):
    """One response that a later request may continue.

    Attributes:
        id: the id of the response.
        key_id: the key that owns it.
        created_at: the time of the response.
        context_tokens: the tokens that the upstream adds to a request that continues it there.
        items: the complete conversation as items, the answer's own last, or `None` if the upstream keeps it.
        model: the name of the large model that made it, or `None` for a local answer.
        answer: the response itself, or `None` if the upstream keeps it.
    """

    id: str
    key_id: str | None
    created_at: datetime
    context_tokens: int
    items: list[dict[str, Any]] | None = None
    model: str | None = None
    answer: dict[str, Any] | None = None


async def store_response(engine: AsyncEngine, response: KeptResponse) -> None:
    """Store one response, or keep the one that already has this id. Raise the errors of the driver."""
    async with engine.begin() as connection:
        await insert_new(connection, KeptResponseRow, asdict(response))


async def find_response(engine: AsyncEngine, response_id: str) -> KeptResponse | None:
    """Return a response, or `None` if it is unknown."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        query = select(KeptResponseRow.__table__).where(KeptResponseRow.id == response_id)
        row = (await connection.execute(query)).one_or_none()
    return None if row is None else view(KeptResponse, row)


async def delete_response(engine: AsyncEngine, response_id: str) -> None:
    """Delete one response."""
    async with engine.begin() as connection:
        await connection.execute(delete(KeptResponseRow).where(KeptResponseRow.id == response_id))


async def delete_responses(engine: AsyncEngine, *, local_before: datetime, before: datetime) -> int:
    """Delete local responses from before a time, and all responses from before an earlier one. Return how many."""
    local = and_(KeptResponseRow.items.is_not(None), KeptResponseRow.created_at < local_before)
    old = or_(local, KeptResponseRow.created_at < before)
    async with engine.begin() as connection:
        done = await connection.execute(delete(KeptResponseRow).where(old))
    return int(done.rowcount)
