"""Chat completions that their clients asked to store: local answers themselves, and the owners of all others."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import ColumnElement, String, and_, cast, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.database import insert_new
from proxy.ledger.tables import StoredCompletionRow
from proxy.ledger.views import view

Row = StoredCompletionRow


class StoredCompletion(Struct, frozen=True, kw_only=True):
    """One stored chat completion.

    Attributes:
        id: its id, by the model that made it.
        key_id: the key that owns it.
        created_at: the time of the answer.
        model: the name of the large model that made it, or `None` for a local answer.
        answered_by: the model that the completion names.
        labels: the client's metadata.
        answer: the completion itself, or `None` if the upstream keeps it.
        messages: the messages of its request, or `None` if the upstream keeps them.
    """

    id: str
    key_id: str | None
    created_at: datetime
    model: str | None
    answered_by: str
    labels: dict[str, str]
    answer: dict[str, Any] | None = None
    messages: list[dict[str, Any]] | None = None


class Page(Struct, frozen=True, kw_only=True):
    """Which stored completions to list. `after` is the id of the last one of the page before."""

    limit: int
    descending: bool = False
    after: str | None = None
    answered_by: str | None = None
    labels: Mapping[str, str] = {}


async def store_completion(engine: AsyncEngine, completion: StoredCompletion) -> None:
    """Store one completion, or keep the one that already has this id. Raise the errors of the driver."""
    async with engine.begin() as connection:
        await insert_new(connection, Row, asdict(completion))


async def find_completion(engine: AsyncEngine, completion_id: str) -> StoredCompletion | None:
    """Return a completion, or `None` if it is unknown."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        row = (await connection.execute(select(Row.__table__).where(Row.id == completion_id))).one_or_none()
    return None if row is None else view(StoredCompletion, row)


async def list_completions(
    engine: AsyncEngine, key_id: str | None, page: Page
) -> tuple[list[StoredCompletion], bool]:
    """Return a page of a key's completions, oldest first, and whether there are more.

    An `after` that is unknown, or of another key, has an empty page.
    """
    owned = Row.key_id.is_(None) if key_id is None else Row.key_id == key_id
    order = (Row.created_at.desc(), Row.id.desc()) if page.descending else (Row.created_at, Row.id)
    query = select(Row.__table__).where(owned, *_filters(page)).order_by(*order).limit(page.limit + 1)
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        if page.after is not None:
            last = select(Row.created_at, Row.id).where(Row.id == page.after, owned)
            found = (await connection.execute(last)).one_or_none()
            if found is None:
                return [], False
            query = query.where(_beyond(found, descending=page.descending))
        rows = [view(StoredCompletion, row) for row in await connection.execute(query)]
    return rows[: page.limit], len(rows) > page.limit


async def label_completion(engine: AsyncEngine, completion_id: str, labels: Mapping[str, str]) -> None:
    """Replace the metadata of a completion."""
    async with engine.begin() as connection:
        await connection.execute(update(Row).where(Row.id == completion_id).values(labels=dict(labels)))


async def delete_completion(engine: AsyncEngine, completion_id: str) -> None:
    """Delete one completion."""
    async with engine.begin() as connection:
        await connection.execute(delete(Row).where(Row.id == completion_id))


async def delete_completions(engine: AsyncEngine, *, local_before: datetime, before: datetime) -> int:
    """Delete local completions from before a time, and all from before an earlier one. Return how many."""
    old = or_(and_(Row.answer.is_not(None), Row.created_at < local_before), Row.created_at < before)
    async with engine.begin() as connection:
        done = await connection.execute(delete(Row).where(old))
    return int(done.rowcount)


def _beyond(place: Any, *, descending: bool) -> ColumnElement[bool]:
    created_at, id_ = place
    if descending:
        return or_(Row.created_at < created_at, and_(Row.created_at == created_at, Row.id < id_))
    return or_(Row.created_at > created_at, and_(Row.created_at == created_at, Row.id > id_))


def _filters(page: Page) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if page.answered_by is not None:
        filters.append(Row.answered_by == page.answered_by)
    # Both databases keep the text that `json.dumps` wrote. A pair has only one form in it, because a quotation mark
    # inside a text has a backslash. `replace` compares case-sensitively on both, and needs no path to the key.
    text = cast(Row.labels, String)
    for key, value in page.labels.items():
        pair = json.dumps({key: value})[1:-1]
        filters.append(func.replace(text, pair, "") != text)
    return filters
