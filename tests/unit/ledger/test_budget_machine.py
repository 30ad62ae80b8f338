"""Any interleaving of reserve, settle, cancel, crash, recover and window turn, on a real database.

A model in plain Python predicts the amounts of every budget.
"""

import asyncio
import functools
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from proxy.ledger import migrate
from proxy.ledger.adoption import replay
from proxy.ledger.budgets import BudgetExceededError, list_budgets
from proxy.ledger.database import open_database
from proxy.ledger.journal import Journal, abandoned, open_journal
from proxy.ledger.unsettled import mark_orphaned, resolve
from proxy.ledger.windows import window_start
from proxy.ledger.writer import Writer
from proxy.records import BudgetRef, Reservation, Settlement

ZONE = ZoneInfo("Europe/Berlin")
LIMITS = {"session": 1000, "key": 1500, "team": 2000, "user": 800, "global": 2500}
AMOUNTS = st.integers(1, 600)


@functools.cache
def empty_ledger() -> Path:
    """Return a database file with the newest schema, made once."""
    path = Path(tempfile.mkdtemp()) / "empty.db"
    migrate.upgrade(f"sqlite+aiosqlite:///{path}")
    return path


@dataclass
class Open:
    """A reservation in the model: its amount, its budgets and its process."""

    id: str
    amount: int
    budgets: tuple
    process: int


class MoneyMachine(RuleBasedStateMachine):
    """Three processes on one database; each can die, and another takes over."""

    reserved = Bundle("reserved")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        shutil.copy(empty_ledger(), root / "money.db")
        self.loop = asyncio.new_event_loop()
        self.engine = open_database(f"sqlite+aiosqlite:///{root}/money.db")
        self.spool = root / "spool"
        self.spool.mkdir()
        self.now = datetime(
            2026, 10, 24, 21, tzinfo=UTC
        )  # an hour before midnight in Berlin, clocks go back next day
        self.numbers = 0
        self.writers = {}
        self.open = {}  # id -> Open
        self.unsettled = {}
        self.spent = {}
        self.over = {}  # costs above their reservations
        for process in range(3):
            self.start(process)

    def run(self, work):
        return self.loop.run_until_complete(work)

    def start(self, process):
        self.numbers += 1

        async def make():
            journal = open_journal(self.spool, f"proc_{process}_{self.numbers}", max_bytes=10**7)
            return Writer(self.engine, journal, ZONE), journal

        self.writers[process] = self.run(make())

    def refs(self, scopes):
        out = []
        for scope in scopes:
            window = {"session": "total", "key": "day", "team": "month", "user": "week", "global": "month"}[
                scope
            ]
            start = window_start(window, self.now, ZONE)
            out.append(
                BudgetRef(scope=scope, name="x", limit=LIMITS[scope], window=window, window_start=start)
            )
        return tuple(out)

    @staticmethod
    def names(refs):
        return tuple((r.scope, r.window_start) for r in refs)

    def book(self, one, cost):
        for budget in one.budgets:
            self.spent[budget] = self.spent.get(budget, 0) + cost
            self.over[budget] = self.over.get(budget, 0) + max(0, cost - one.amount)

    def standing(self, name):
        spent = self.spent.get(name, 0)
        reserved = sum(p.amount for p in self.open.values() if name in p.budgets)
        unsettled = sum(p.amount for p in self.unsettled.values() if name in p.budgets)
        return spent, reserved, unsettled

    def available(self, refs):
        return min(LIMITS[r.scope] - sum(self.standing((r.scope, r.window_start))) for r in refs)

    @rule(
        target=reserved, amount=AMOUNTS, share=st.floats(0, 1), process=st.integers(0, 2),
        scopes=st.sets(st.sampled_from(sorted(LIMITS)), min_size=1),
    )  # fmt: skip
    def reserve(self, amount, share, process, scopes):
        """Reserve the amount, or the fair share of it if that is enough. Otherwise the reservation is refused."""
        refs, least = self.refs(sorted(scopes)), max(1, int(amount * share))
        available = self.available(refs)
        reservation = self.reservation(amount)
        try:
            reserved = self.run(self.writers[process][0].reserve(reservation, refs, least=least, wait_s=0))
        except BudgetExceededError:
            assert available < least, "blocked although there was money left"
            return multiple()
        parts = [self.available([ref]) // (2 if ref.scope == "global" else 1) for ref in refs]
        assert reserved.amount == min(amount, max(least, min(parts)))
        assert reserved.remaining == available - reserved.amount
        self.open[reservation.id] = Open(reservation.id, reserved.amount, self.names(refs), process)
        return reservation.id

    @rule(name=consumes(reserved), share=st.floats(0, 1.3), twice=st.booleans())
    def settle(self, name, share, twice):
        """Book the cost once, even above the reservation. A dead process settles nothing."""
        one = self.open.pop(name, None)
        if one is None:
            return
        cost = int(one.amount * share)
        writer = self.writers[one.process][0]
        writer.submit(*[Settlement(name, cost)] * (2 if twice else 1))
        self.run(writer.flush())
        self.book(one, cost)

    @rule(amount=AMOUNTS, process=st.integers(0, 2), steps=st.integers(0, 12))
    def cancel(self, amount, process, steps):
        """A client that leaves at any moment of its reservation reserves nothing."""
        reservation = self.reservation(amount)
        writer = self.writers[process][0]

        async def leave():
            task = asyncio.ensure_future(
                writer.reserve(reservation, self.refs(["global"]), least=1, wait_s=0)
            )
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await writer.flush()

        self.run(leave())
        if reservation.id in {p.id for p in self.run(self.reservations())}:
            raise AssertionError("the cancelled reservation still exists")

    def reservation(self, amount):
        self.numbers += 1
        return Reservation(
            id=f"h{self.numbers}",
            request_id="req",
            model="m",
            amount=amount,
            created_at=self.now,
            expires_at=self.now + timedelta(hours=1),
        )

    async def reservations(self):
        async with self.engine.connect() as connection:
            return list(await connection.exec_driver_sql("SELECT id FROM reservations"))

    @rule(process=st.integers(0, 2), settled=st.booleans())
    def crash(self, process, settled):
        """A process dies. Its journal is replayed, and its other reservations are unsettled."""
        writer, journal = self.writers[process]
        mine = [p for p in self.open.values() if p.process == process]

        async def die():
            writer._task.cancel()
            await asyncio.gather(writer._task, return_exceptions=True)
            if settled and mine:
                writer.submit(Settlement(mine[0].id, 1))  # in the journal, not in the database
            os_level_death(journal)

        self.run(die())
        if settled and mine:
            del self.open[mine[0].id]
            self.book(mine[0], 1)
        for one in mine:
            if self.open.pop(one.id, None) is not None:
                self.unsettled[one.id] = one

        async def take_over():
            count = 0
            for dead in abandoned(self.spool, max_bytes=10**7):
                await replay(self.engine, dead, ZONE)
                await mark_orphaned(self.engine, dead.process_id)
                dead.close()
                count += 1
            return count

        assert self.run(take_over()) == 1
        self.start(process)

    @rule(cost=st.integers(0, 600))
    def operator_resolves(self, cost):
        """An operator reads the bill and resolves a reservation of a dead process."""
        if not self.unsettled:
            return
        name, one = self.unsettled.popitem()
        assert self.run(resolve(self.engine, name, cost))
        self.book(one, cost)

    @rule(hours=st.sampled_from([1, 3, 24, 200]))
    def time_passes(self, hours):
        """Windows turn."""
        self.now += timedelta(hours=hours)

    @invariant()
    def budgets_match_the_model(self):
        """No amount is lost or counted twice, and only a bill above its reservation can exceed a limit."""
        for row in self.run(list_budgets(self.engine)):
            name = (row.scope, row.window_start)
            assert (row.spent, row.reserved, row.unsettled) == self.standing(name)
            assert row.spent + row.reserved + row.unsettled - self.over.get(name, 0) <= row.limit

    def teardown(self):
        async def close():
            for writer, _ in self.writers.values():
                await writer.close(timeout_s=10)
            await self.engine.dispose()

        self.run(close())
        self.loop.close()
        self.folder.cleanup()


def os_level_death(journal: Journal) -> None:
    """Release the lock of the journal, as the end of a process does, and do nothing else."""
    os.close(journal._file)
    os.close(journal._lock)


TestMoney = MoneyMachine.TestCase
TestMoney.settings = settings(
    max_examples=50, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
