"""The spend of days, from the rollups."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from sqlalchemy import String, cast, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.sum_tables import RollupRow
from proxy.ledger.wide_sums import MOST_SUM, joined, sum_parts


async def spend_of_days(engine: AsyncEngine, first: str, last: str) -> dict[str, int]:
    """Return the spend of all requests of each day with requests, in nano-USD. Days are like "2026-10-31"."""
    high, low = sum_parts(RollupRow.cost_nano)
    query = (
        select(RollupRow.day, cast(high, String), cast(low, String))
        .where(RollupRow.dimension == "all", RollupRow.day >= first, RollupRow.day <= last)
        .group_by(RollupRow.day)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        return {day: joined(high_sum, low_sum) for day, high_sum, low_sum in await connection.execute(query)}


async def highest_keys(engine: AsyncEngine, day: str, *, least: int, most: int) -> dict[str, int]:
    """Return the keys that spent at least an amount on a day, and their spend, the highest first. "" is no key."""
    query = (
        select(RollupRow.key_id, RollupRow.cost_nano)
        .where(
            RollupRow.dimension == "all", RollupRow.day == day, RollupRow.cost_nano >= min(least, MOST_SUM)
        )
        .order_by(RollupRow.cost_nano.desc(), RollupRow.key_id)
        .limit(most)
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        rows: Any = await connection.execute(query)
        return {row.key_id: row.cost_nano for row in rows}


async def spend_of_keys(
    engine: AsyncEngine, keys: Collection[str], first: str, last: str
) -> dict[str, list[int]]:
    """Return the spend of some keys on each day with requests of theirs, in nano-USD."""
    found: dict[str, list[int]] = defaultdict(list)
    query = select(RollupRow.key_id, RollupRow.cost_nano).where(
        RollupRow.dimension == "all",
        RollupRow.day >= first,
        RollupRow.day <= last,
        RollupRow.key_id.in_(keys),
    )
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        for row in await connection.execute(query):
            found[row.key_id].append(row.cost_nano)
    return found
