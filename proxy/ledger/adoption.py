"""Take over the journal, the reservations and the leases of a process that has died."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.journal import Journal
from proxy.ledger.lease_rows import release_leases
from proxy.ledger.rows import write_carefully
from proxy.ledger.unsettled import mark_orphaned


@dataclass(frozen=True, slots=True)
class Adopted:
    """How many records were written, and how many calls are unsettled."""

    records: int
    unsettled: int


async def replay(engine: AsyncEngine, journal: Journal, zone: ZoneInfo) -> int:
    """Write the journal of a dead process into the database. Return the number of records.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is unavailable, and the journal is unchanged.
    """
    count = 0
    while journal.backlog_bytes:
        records, end = journal.read()
        await write_carefully(engine, records, journal, zone)
        journal.drop(end)
        count += len(records)
    return count


async def adopt(engine: AsyncEngine, journal: Journal, zone: ZoneInfo) -> Adopted:
    """Replay the journal of a dead process, and mark its open calls as unsettled.

    What is left of its leases is free again if the journal has all draws from them. After a power loss it may lack the
    last ones. Then the leases count as unsettled too, at what is left of them. Raise the errors of `replay`.
    """
    count = await replay(engine, journal, zone)
    if journal.complete:
        await release_leases(engine, journal.process_id)
    return Adopted(count, await mark_orphaned(engine, journal.process_id))
