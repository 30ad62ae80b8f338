"""What sessions have read from the upstream's prompt cache, beside what direct use of the large model would have read."""

from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.tables import RequestRow

SHORTEST_CACHED = 1024
"""Vendors cache no shorter prompts, in tokens."""
KEPT_FOR = timedelta(minutes=5)
"""Every vendor keeps a prompt at least this long."""
MOST_ROWS = 200_000
_LARGE_STAGE = 3


class SessionCache(NamedTuple):
    """One session, in tokens of prompts. `direct` is what direct use would have read, and `read` the part that was."""

    session: str
    key_id: str | None
    direct: int
    read: int


async def session_caches(engine: AsyncEngine, since: datetime, models: Collection[str]) -> list[SessionCache]:
    """Return the sessions whose large model could have read from its cache, the largest loss first.

    Direct use reads the prompt of the request before, if this one continues it soon enough. A request that the small
    model has answered counts too: direct use would have sent it.

    Args:
        engine: the database.
        since: the start of the range. Of the newest requests, at most `MOST_ROWS` are read.
        models: the large models whose upstream has a cache.
    """
    row = RequestRow
    newest = (
        select(row.session, row.key_id, row.started_at, row.id, row.stage, row.model, row.prompt_tokens, row.read_tokens)
        .where(row.session.is_not(None), row.started_at >= since, row.stage.is_not(None), row.prompt_tokens > 0)
        .order_by(row.started_at.desc())
        .limit(MOST_ROWS)
        .subquery()
    )  # fmt: skip
    query = select(newest).order_by(newest.c.session, newest.c.key_id, newest.c.started_at, newest.c.id)
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        rows = (await connection.execute(query)).all()
    found = []
    for (session, key_id), requests in groupby(rows, key=lambda r: (r.session, r.key_id)):
        direct, read = _sums(list(requests), models)
        if direct:
            found.append(SessionCache(session, key_id, direct, read))
    return sorted(found, key=lambda one: (one.read - one.direct, one.session))


def _sums(requests: list[Any], models: Collection[str]) -> tuple[int, int]:
    """Return what direct use would have read, and what was read of it."""
    direct = read = 0
    for before, request in pairwise(requests):
        prefix = before.prompt_tokens
        continues = SHORTEST_CACHED <= prefix <= request.prompt_tokens
        if not continues or request.started_at - before.started_at > KEPT_FOR:
            continue
        if request.stage == _LARGE_STAGE and request.model in models:
            direct += prefix
            read += min(prefix, request.read_tokens)
    return direct, read
