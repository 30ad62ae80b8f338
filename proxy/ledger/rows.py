"""Records into rows: in one transaction, or carefully if some rows may exist already."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from msgspec.structs import asdict
from sqlalchemy import exc, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger import counters, rate_limits, rollups
from proxy.ledger.budgets import BudgetKey
from proxy.ledger.compiled import insert_rows
from proxy.ledger.database import described
from proxy.ledger.journal import Journal
from proxy.ledger.lease_rows import apply_to_leases
from proxy.ledger.rate_limits import AdmissionOutcome, AdmissionRequest
from proxy.ledger.reservations import (
    ReservationOutcome,
    ReservationRequest,
    costs_of,
    reservation_row,
    settle_and_reserve,
)
from proxy.ledger.tables import CallRow, PlanRow, RequestRow, ReservationRow, StageRow
from proxy.pricing.prices import cost_at
from proxy.records import (
    MOST,
    CallRecord,
    Draw,
    LeaseEnd,
    PlanRecord,
    Record,
    RequestRecord,
    Reservation,
    Settlement,
    without_texts,
)

log = logging.getLogger(__name__)


async def write(
    connection: AsyncConnection,
    records: Sequence[Record],
    requests: Sequence[ReservationRequest | AdmissionRequest],
    *,
    process_id: str,
    zone: ZoneInfo,
    budget_ids: dict[BudgetKey, int],
    held: Counter[str],
) -> list[ReservationOutcome | AdmissionOutcome]:
    """Write new records and decide requests, in the transaction of `connection`.

    Return the outcomes of the reservations, then those of the admissions, each in order.
    """
    await _write_facts(connection, records)
    settlements = [r for r in records if isinstance(r, Settlement)]
    settled = {s.reservation_id for s in settlements}
    # Skip reservations that are settled in the same batch.
    reservations = [r for r in records if isinstance(r, Reservation) and r.id not in settled]
    await insert_rows(connection, ReservationRow, [reservation_row(r, process_id, []) for r in reservations])
    released = await apply_to_leases(
        connection,
        [r for r in records if isinstance(r, Draw)],
        [r for r in records if isinstance(r, LeaseEnd)],
        costs_of(settlements),
    )
    reserved = await settle_and_reserve(
        connection,
        settlements=settlements,
        released=released,
        requests=[r for r in requests if isinstance(r, ReservationRequest)],
        process_id=process_id,
        budget_ids=budget_ids,
        held=held,
    )
    calls = [r for r in records if isinstance(r, CallRecord)]
    admitted = await rate_limits.count_and_admit(
        connection, calls, [r for r in requests if isinstance(r, AdmissionRequest)]
    )
    ended = [r for r in records if isinstance(r, RequestRecord)]
    sums, buckets = rollups.roll_requests(ended, zone)
    await rollups.add_sums(connection, {**sums, **rollups.roll_calls(calls, zone)}, buckets)
    await counters.add(connection, {**counters.count_requests(ended), **counters.count_calls(calls)})
    return [*reserved, *admitted]


async def _write_facts(connection: AsyncConnection, records: Sequence[Record]) -> None:
    requests = [r for r in records if isinstance(r, RequestRecord)]
    stages = [{"request_id": r.id, **asdict(stage)} for r in requests for stage in r.stages]
    calls = [_call_row(r) for r in records if isinstance(r, CallRecord)]
    plans = [_plan_row(r) for r in records if isinstance(r, PlanRecord)]
    await insert_rows(connection, RequestRow, [request_row(r) for r in requests])
    await insert_rows(connection, StageRow, stages)
    await insert_rows(connection, CallRow, calls)
    if plans:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        await connection.execute(dialect.insert(PlanRow).on_conflict_do_nothing(), plans)


async def write_carefully(
    engine: AsyncEngine, records: Sequence[Record], journal: Journal, zone: ZoneInfo
) -> None:
    """Write records, of which some may exist already or be refused by every database.

    Records exist already if the answer to a commit was lost. They are skipped. A record that the database refuses is
    written without its texts. If that is refused too, it is moved aside. So it blocks no others, and no text costs
    the record of a payment.
    """

    async def accepted(group: Sequence[Record]) -> bool:
        try:
            async with engine.begin() as connection:
                missing = await _missing(connection, group)
                await write(
                    connection,
                    missing,
                    [],
                    process_id=journal.process_id,
                    zone=zone,
                    budget_ids={},
                    held=Counter(),
                )
        except Exception as e:
            if not about_the_data(e):
                raise
            log.warning("records are refused by the database (%s)", described(e))
            return False
        return True

    if await accepted(records):
        return
    for group in _groups(records):
        if await accepted(group):
            continue
        for record in group:
            if not (await accepted([record]) or await accepted([without_texts(record)])):
                journal.reject(record)


async def _missing(connection: AsyncConnection, records: Sequence[Record]) -> list[Record]:
    existing: set[tuple[type, object]] = set()
    for kind, column in (
        (RequestRecord, RequestRow.id), (CallRecord, CallRow.id), (Reservation, ReservationRow.id),
    ):  # fmt: skip
        ids = sorted({r.id for r in records if isinstance(r, kind)})
        for i in range(0, len(ids), 1000):
            found: Iterable[str] = await connection.scalars(
                select(column).where(column.in_(ids[i : i + 1000]))
            )
            existing |= {(kind, f) for f in found}
    # A reservation whose call is on record has been settled.
    existing |= {(Reservation, id_) for kind, id_ in list(existing) if kind is CallRecord}
    return [r for r in records if (type(r), getattr(r, "id", None)) not in existing]


def _groups(records: Sequence[Record]) -> list[list[Record]]:
    """Return the records of leases, which need their order, then each settlement, then each request with its calls."""
    groups: dict[str, list[Record]] = {"leases": []}
    for record in records:
        match record:
            case Draw() | LeaseEnd():
                key = "leases"
            case RequestRecord() | Settlement():
                key = record.id if isinstance(record, RequestRecord) else f"settle {record.reservation_id}"
            case _:
                key = record.request_id
        groups.setdefault(key, []).append(record)
    return [group for group in groups.values() if group]


def about_the_data(e: Exception) -> bool:
    """Return True if writing the same data again would fail again, and False if the error is temporary."""
    if isinstance(e, (exc.IntegrityError, exc.DataError)):
        return True
    if isinstance(e, exc.DBAPIError):
        state = str(getattr(e.orig, "sqlstate", None) or "")
        # 22: data, 23: constraints, 54: limits such as the size of an index entry.
        unusable = state[:2] in ("22", "23", "54") or "binding parameter" in str(e.orig)
        return unusable or isinstance(getattr(e.orig, "__cause__", None), ValueError)
    faults = (exc.StatementError, ArithmeticError, LookupError, TypeError, ValueError)
    return isinstance(e, faults) and not isinstance(e, OSError)


def request_row(record: RequestRecord) -> dict[str, object]:
    """Return the row of a request."""
    row = asdict(record)
    del row["cost"], row["baseline"], row["stages"]
    return {
        **row,
        "cost_nano": record.cost,
        "baseline_nano": record.baseline,
        "tags": list(record.tags),
    }


def _call_row(record: CallRecord) -> dict[str, object]:
    row = asdict(record)
    del row["usage"], row["cost"], row["price"], row["task"]
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
        "cache_write_tokens": record.usage.cache_write_tokens,
        "audio_prompt_tokens": record.usage.audio_prompt_tokens,
        "audio_completion_tokens": record.usage.audio_completion_tokens,
        "cache_write_per_mtok_nano": price.cache_write_rate,
        "audio_input_per_mtok_nano": price.audio_input_rate,
        "audio_output_per_mtok_nano": price.audio_output_rate,
        "request_nano": price.request,
        "service_tier": record.usage.tier,
        "cache_write_1h_tokens": record.usage.cache_write_1h_tokens,
        "image_prompt_tokens": record.usage.image_prompt_tokens,
        "image_completion_tokens": record.usage.image_completion_tokens,
        "cache_write_1h_per_mtok_nano": price.cache_write_1h_rate,
        "image_input_per_mtok_nano": price.image_input,
        "image_output_per_mtok_nano": price.image_output,
        "reasoning_per_mtok_nano": price.reasoning,
        "reported_cost_nano": record.usage.charged,
        "computed_cost_nano": None if record.usage.charged is None else _computed(record),
    }


def _computed(record: CallRecord) -> int:
    return min(MOST, cost_at(record.price, record.usage))


def _plan_row(record: PlanRecord) -> dict[str, object]:
    return {**asdict(record), "sample": -1 if record.sample is None else record.sample}
