"""Rate limits: requests and tokens a minute, counted in the database, so that they are exact over all processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger.tables import RateWindowRow
from proxy.records import CallRecord


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """A request by a key with a rate limit. A minute is one of the clock."""

    key_id: str
    at: datetime
    requests_per_minute: int | None
    tokens_per_minute: int | None

    @property
    def minute(self) -> datetime:
        """The start of the minute."""
        return _minute(self.at)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request is within the limits of its key."""


@dataclass(eq=False)
class RateLimitExceededError(Exception):
    """The key has reached its limit for this minute."""

    unit: Literal["requests", "tokens"]
    limit: int
    retry_after_s: int


AdmissionOutcome = Admitted | RateLimitExceededError


async def count_and_admit(
    connection: AsyncConnection, calls: Sequence[CallRecord], requests: Sequence[AdmissionRequest]
) -> list[AdmissionOutcome]:
    """Count the tokens of calls, then count requests against their limits, in the transaction of `connection`.

    Return one outcome for each request, in order. A call counts in the minute in which it ended, however it ended. So a
    request is admitted if the calls that have ended in its minute have left any tokens.
    """
    new_tokens = dict.fromkeys(((a.key_id, a.minute) for a in requests), 0)
    for call in calls:
        if call.key_id is not None:
            ended = call.key_id, _minute(call.started_at + timedelta(milliseconds=call.latency_ms))
            used = call.usage.prompt_tokens + call.usage.completion_tokens
            new_tokens[ended] = new_tokens.get(ended, 0) + used
    if not new_tokens:
        return []
    # Each transaction locks its windows here, in one order. So no two transactions wait for each other in a circle.
    windows = sorted(new_tokens)
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    added = dialect.insert(RateWindowRow)
    await connection.execute(
        added.on_conflict_do_update(
            index_elements=list(RateWindowRow.__table__.primary_key),
            set_={"tokens": RateWindowRow.tokens + added.excluded["tokens"]},
        ),
        [{"key_id": k, "minute": m, "requests": 0, "tokens": new_tokens[k, m]} for k, m in windows],
    )
    return await _admit(connection, requests) if requests else []


async def _admit(connection: AsyncConnection, requests: Sequence[AdmissionRequest]) -> list[AdmissionOutcome]:
    """Count requests against their limits. Their windows exist and are locked."""
    windows = sorted({(a.key_id, a.minute) for a in requests})
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    counts: dict[tuple[str, datetime], int] = {}
    tokens: dict[tuple[str, datetime], int] = {}
    for key_id, minute in windows:
        query = select(RateWindowRow.requests, RateWindowRow.tokens).where(
            RateWindowRow.key_id == key_id, RateWindowRow.minute == minute
        )
        row = (await connection.execute(query)).one()
        counts[key_id, minute], tokens[key_id, minute] = row.requests, row.tokens
    outcomes: list[AdmissionOutcome] = []
    for a in requests:
        window = a.key_id, a.minute
        wait = 60 - a.at.second
        if a.requests_per_minute is not None and counts[window] >= a.requests_per_minute:
            outcomes.append(RateLimitExceededError("requests", a.requests_per_minute, wait))
        elif a.tokens_per_minute is not None and tokens[window] >= a.tokens_per_minute:
            outcomes.append(RateLimitExceededError("tokens", a.tokens_per_minute, wait))
        else:
            counts[window] += 1
            outcomes.append(Admitted())
    counted = [{"key_id": k, "minute": m, "requests": counts[k, m], "tokens": 0} for k, m in windows]
    insert = dialect.insert(RateWindowRow)
    await connection.execute(
        insert.on_conflict_do_update(
            index_elements=list(RateWindowRow.__table__.primary_key),
            set_={"requests": insert.excluded["requests"]},
        ),
        counted,
    )
    return outcomes


async def delete_past_minutes(engine: AsyncEngine, now: datetime) -> None:
    """Delete the counts of past minutes."""
    async with engine.begin() as connection:
        await connection.execute(delete(RateWindowRow).where(RateWindowRow.minute < now - timedelta(hours=1)))


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)
