"""Rate limits: requests and tokens a minute, counted in the database, so that they are exact over all processes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.tables import RateWindowRow, RequestRow


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
        return self.at.replace(second=0, microsecond=0)


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


async def admit(connection: AsyncConnection, requests: Sequence[AdmissionRequest]) -> list[AdmissionOutcome]:
    """Count requests against their limits, in the transaction of `connection`. Return one outcome each, in order.

    Only the tokens of finished requests count: a request is admitted if the minute has any tokens left.
    """
    windows = sorted({(a.key_id, a.minute) for a in requests})
    if not windows:
        return []
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    opened = [{"key_id": k, "minute": m, "requests": 0} for k, m in windows]
    await connection.execute(dialect.insert(RateWindowRow).on_conflict_do_nothing(), opened)
    counts: dict[tuple[str, datetime], int] = {}
    tokens: dict[tuple[str, datetime], int] = defaultdict(int)
    for key_id, minute in windows:
        this = (RateWindowRow.key_id == key_id, RateWindowRow.minute == minute)
        row = await connection.execute(select(RateWindowRow.requests).where(*this).with_for_update())
        counts[key_id, minute] = row.scalar_one()
        if any(a.tokens_per_minute is not None for a in requests if a.key_id == key_id):
            used = select(func.sum(RequestRow.prompt_tokens + RequestRow.completion_tokens)).where(
                RequestRow.key_id == key_id, RequestRow.started_at >= minute
            )
            tokens[key_id, minute] = int(await connection.scalar(used) or 0)
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
    counted = [{"key_id": k, "minute": m, "requests": counts[k, m]} for k, m in windows]
    insert = dialect.insert(RateWindowRow)
    await connection.execute(
        insert.on_conflict_do_update(
            index_elements=list(RateWindowRow.__table__.primary_key),
            set_={"requests": insert.excluded["requests"]},
        ),
        counted,
    )
    return outcomes


async def delete_past_minutes(connection: AsyncConnection, now: datetime) -> None:
    """Delete the counts of past minutes."""
    await connection.execute(delete(RateWindowRow).where(RateWindowRow.minute < now - timedelta(hours=1)))
