"""Objects of the upstream that a key got through this proxy: output items, containers and files of tools.

The upstream does not know the keys of this proxy. An id in a request could therefore name an object of another key.
"""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import OwnedObjectRow

LONGEST_ID = 128
AT_ONCE = 500
"""Ids in one statement."""


async def store_objects(engine: AsyncEngine, key_id: str, ids: Collection[str], at: datetime) -> None:
    """Note that a key got objects. Raise the errors of the driver."""
    rows = [{"key_id": key_id, "id": id_, "created_at": at} for id_ in sorted(ids) if len(id_) <= LONGEST_ID]
    if not rows:
        return
    dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
    async with engine.begin() as connection:
        await connection.execute(dialect.insert(OwnedObjectRow).on_conflict_do_nothing(), rows)


async def owned_by(engine: AsyncEngine, key_id: str, ids: Collection[str]) -> set[str]:
    """Return those of the ids that a key got. Raise the errors of the driver."""
    wanted = sorted(ids)
    found: set[str] = set()
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        for i in range(0, len(wanted), AT_ONCE):
            owned = OwnedObjectRow.key_id == key_id, OwnedObjectRow.id.in_(wanted[i : i + AT_ONCE])
            found.update(await connection.scalars(select(OwnedObjectRow.id).where(*owned)))
    return found


async def delete_objects(engine: AsyncEngine, before: datetime) -> None:
    """Forget objects from before a time."""
    async with engine.begin() as connection:
        await connection.execute(delete(OwnedObjectRow).where(OwnedObjectRow.created_at < before))
