"""Group commit: whatever is queued goes to disk in one transaction, off the answer's critical path."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ledger.holds import hold_row, settle
from proxy.ledger.tables import Base, Call, Plan, Request, Reservation, Stage
from proxy.records import CallRecord, Hold, PlanRecord, RequestRecord

log = logging.getLogger(__name__)

BOUND = 50_000
BATCH = 2_000
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Settle:
    """The end of a hold: what its call has cost, in nano-USD."""

    hold_id: str
    cost: int


Record = RequestRecord | CallRecord | PlanRecord | Hold | Settle


class Writer:
    """Writes records in the order in which they came; retried until the database takes them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._queue: deque[Record] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.written = 0
        self.last_error: str | None = None
        self._task = asyncio.create_task(self._run())

    @property
    def backlog(self) -> int:
        """Records not yet on disk."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether the bound is reached: the database has been away for long."""
        return len(self._queue) >= BOUND

    def submit(self, record: Record) -> None:
        """Queue a record. Never waits."""
        self._queue.append(record)
        self._idle.clear()
        self._wake.set()

    async def flush(self) -> None:
        """Wait until everything submitted is on disk."""
        await self._idle.wait()

    async def close(self, timeout_s: float) -> None:
        """Write what is left, for at most `timeout_s` seconds, and stop."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.flush()
        except TimeoutError:
            log.critical("%d ledger records could not be written: %s", self.backlog, self.last_error)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = 0.1
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = [self._queue[i] for i in range(min(BATCH, len(self._queue)))]
                try:
                    async with self._engine.begin() as connection:
                        await _write(connection, batch)
                except (exc.DBAPIError, exc.TimeoutError, OSError) as e:
                    self.last_error = type(e).__name__
                    log.warning(
                        "the ledger cannot be written (%s), %d records wait", self.last_error, self.backlog
                    )
                    await asyncio.sleep(pause)
                    pause = min(LONGEST_PAUSE_S, pause * 2)
                    continue
                pause, self.last_error = 0.1, None
                for _ in batch:
                    self._queue.popleft()
                self.written += len(batch)
            self._idle.set()


async def _write(connection: AsyncConnection, batch: Sequence[Record]) -> None:
    requests = [r for r in batch if isinstance(r, RequestRecord)]
    await _insert(connection, Request, [_request_row(r) for r in requests])
    await _insert(connection, Stage, [{"request_id": r.id, **asdict(s)} for r in requests for s in r.stages])
    await _insert(connection, Call, [_call_row(r) for r in batch if isinstance(r, CallRecord)])
    await _insert(connection, Plan, [_plan_row(r) for r in batch if isinstance(r, PlanRecord)])
    settled = {r.hold_id for r in batch if isinstance(r, Settle)}
    # A hold whose settlement is in the same batch never has to reach the disk.
    await _insert(
        connection,
        Reservation,
        [hold_row(r, []) for r in batch if isinstance(r, Hold) and r.id not in settled],
    )
    held_here = {r.id for r in batch if isinstance(r, Hold)}
    for record in batch:
        if isinstance(record, Settle) and record.hold_id not in held_here:
            await settle(connection, record.hold_id, record.cost)


async def _insert(connection: AsyncConnection, table: type[Base], rows: list[dict[str, object]]) -> None:
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        # A batch is repeated after a commit whose answer was lost: what is there already stays.
        await connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


def _request_row(record: RequestRecord) -> dict[str, object]:
    row = {
        name: getattr(record, name)
        for name in RequestRecord.__slots__
        if name not in ("stages", "cost", "baseline")
    }
    return {**row, "cost_nano": record.cost, "baseline_nano": record.baseline}


def _call_row(record: CallRecord) -> dict[str, object]:
    kept = ("usage", "cost", "price")
    row = {name: getattr(record, name) for name in CallRecord.__slots__ if name not in kept}
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
