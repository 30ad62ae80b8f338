"""Records into rows, in one transaction, and carefully when some may be there already."""

from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from msgspec.structs import asdict
from sqlalchemy import exc, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger import rate_limits, rollups
from proxy.ledger.budgets import Key, Outcome, ReservationRequest, reservation_row, settle_and_reserve
from proxy.ledger.journal import Journal
from proxy.ledger.rate_limits import Admit, Admitted, RateLimitExceededError
from proxy.ledger.tables import Base, CallRow, PlanRow, RequestRow, ReservationRow, StageRow
from proxy.records import CallRecord, PlanRecord, Record, RequestRecord, Reservation, Settlement


async def write(
    connection: AsyncConnection,
    records: Sequence[Record],
    asks: Sequence[ReservationRequest | Admit],
    *,
    holder: str,
    zone: ZoneInfo,
    known: dict[Key, int],
) -> list[Outcome | Admitted | RateLimitExceededError]:
    """Write records that are not there yet, and decide on what is asked, in the transaction of `connection`."""
    requests = [r for r in records if isinstance(r, RequestRecord)]
    calls = [r for r in records if isinstance(r, CallRecord)]
    await _insert(connection, RequestRow, (request_row(r) for r in requests))
    await _insert(
        connection, StageRow, ({"request_id": r.id, **asdict(s)} for r in requests for s in r.stages)
    )
    await _insert(connection, CallRow, (_call_row(r) for r in calls))
    await _insert(
        connection, PlanRow, (_plan_row(r) for r in records if isinstance(r, PlanRecord)), repeated=True
    )
    settles = [r for r in records if isinstance(r, Settlement)]
    settled = {s.reservation_id for s in settles}
    # A hold whose settlement comes along never has to be there.
    holds = [r for r in records if isinstance(r, Reservation) and r.id not in settled]
    await _insert(connection, ReservationRow, (reservation_row(h, holder, []) for h in holds))
    holding = [a for a in asks if isinstance(a, ReservationRequest)]
    moved = iter(
        await settle_and_reserve(connection, settles=settles, asks=holding, holder=holder, known=known)
    )
    admitted = iter(await rate_limits.admit(connection, [a for a in asks if isinstance(a, Admit)]))
    sums, buckets = rollups.roll_requests(requests, zone)
    await rollups.add(connection, {**sums, **rollups.roll_calls(calls, zone)}, buckets)
    return [next(moved if isinstance(a, ReservationRequest) else admitted) for a in asks]


async def write_carefully(
    engine: AsyncEngine, records: Sequence[Record], journal: Journal, zone: ZoneInfo
) -> None:
    """Write records of which some may be there already, or be such that no database takes them.

    A commit whose answer was lost leaves the first kind; they are left out. The second kind is put aside, one
    by one, so that it holds up nothing.
    """
    try:
        async with engine.begin() as connection:
            fresh = await _not_there(connection, records)
            await write(connection, fresh, [], holder=journal.id, zone=zone, known={})
            return
    except Exception as e:
        if not _about_the_data(e):
            raise
    for group in _requests_with_their_calls(records):
        try:
            async with engine.begin() as connection:
                fresh = await _not_there(connection, group)
                await write(connection, fresh, [], holder=journal.id, zone=zone, known={})
        except Exception as e:
            if not _about_the_data(e):
                raise
            for record in group:
                journal.reject(record)


async def _not_there(connection: AsyncConnection, records: Sequence[Record]) -> list[Record]:
    there: set[tuple[type, object]] = set()
    for kind, column in (
        (RequestRecord, RequestRow.id), (CallRecord, CallRow.id), (Reservation, ReservationRow.id),
    ):  # fmt: skip
        ids = sorted({r.id for r in records if isinstance(r, kind)})
        for i in range(0, len(ids), 1000):
            found: Iterable[str] = await connection.scalars(
                select(column).where(column.in_(ids[i : i + 1000]))
            )
            there |= {(kind, f) for f in found}
    # A hold whose call is on record has been settled.
    there |= {(Reservation, id_) for kind, id_ in list(there) if kind is CallRecord}
    return [r for r in records if (type(r), getattr(r, "id", None)) not in there]


def _requests_with_their_calls(records: Sequence[Record]) -> list[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        match record:
            case RequestRecord() | Settlement():
                key = record.id if isinstance(record, RequestRecord) else f"settle {record.reservation_id}"
            case _:
                key = record.request_id
        groups.setdefault(key, []).append(record)
    return list(groups.values())


def _about_the_data(e: Exception) -> bool:
    """Tell an error that comes back however often the same records are written from one that passes."""
    if isinstance(e, (exc.IntegrityError, exc.DataError)):
        return True
    if isinstance(e, exc.DBAPIError):
        state = str(getattr(e.orig, "sqlstate", None) or "")
        return state[:2] in ("22", "23") or isinstance(getattr(e.orig, "__cause__", None), ValueError)
    return isinstance(e, (exc.StatementError, OverflowError, ValueError)) and not isinstance(e, OSError)


async def _insert(
    connection: AsyncConnection,
    table: type[Base],
    rows: Iterable[dict[str, object]],
    *,
    repeated: bool = False,
) -> None:
    if not (values := list(rows)):
        return
    if repeated:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        await connection.execute(dialect.insert(table).on_conflict_do_nothing(), values)
    else:
        await connection.execute(insert(table), values)


def request_row(record: RequestRecord) -> dict[str, object]:
    """Return the row of a request."""
    row = {
        n: getattr(record, n)
        for n in record.__struct_fields__
        if n not in ("stages", "cost", "baseline", "tags")
    }
    return {**row, "tags": list(record.tags), "cost_nano": record.cost, "baseline_nano": record.baseline}


def _call_row(record: CallRecord) -> dict[str, object]:
    kept = ("usage", "cost", "price")
    row = {n: getattr(record, n) for n in record.__struct_fields__ if n not in kept}
    price = record.price.at(record.usage.prompt_tokens)
    return {
        **row,
        "prompt_tokens": record.usage.prompt_tokens,
        "cached_tokens": record.usage.cached_tokens,
        "completion_tokens": record.usage.completion_tokens,
        "reasoning_tokens": record.usage.reasoning_tokens,
        "cost_nano": record.cost,
        "input_per_mtok_nano": price.input,
        "cached_input_per_mtok_nano": price.cached_input,
        "output_per_mtok_nano": price.output,
        "price_source": record.price.source,
    }


def _plan_row(record: PlanRecord) -> dict[str, object]:
    return {**asdict(record), "sample": -1 if record.sample is None else record.sample}
