"""Any interleaving of draws, grants, settlements, crashes, power losses and outages, on real databases.

A model in plain Python knows what each call has cost and may still cost. The database may lag behind it, but never counts
less than that, and never more than a limit.
"""

import asyncio
import atexit
import contextlib
import functools
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from proxy.ledger import migrate
from proxy.ledger.adoption import adopt
from proxy.ledger.budgets import BudgetExceededError, list_budgets
from proxy.ledger.database import open_database
from proxy.ledger.journal import BOOT, abandoned, open_journal
from proxy.ledger.leases import IDLE_S
from proxy.ledger.windows import window_start
from proxy.ledger.writer import LedgerUnavailableError, Writer
from proxy.records import BudgetRef, Reservation, Settlement
from tests.support.ledger import call
from tests.support.postgres import postgres_server

ZONE = ZoneInfo("Europe/Berlin")
LIMITS = {"session": 40_000, "key": 60_000, "team": 80_000, "user": 25_000, "global": 100_000}
SCOPES = st.sets(st.sampled_from(sorted(LIMITS)), min_size=1)
PROCESS = st.integers(0, 1)
SMALL = st.integers(1, 300)


@functools.cache
def empty_ledger():
    """Return a database file with the newest schema, made once."""
    path = Path(tempfile.mkdtemp()) / "empty.db"
    migrate.upgrade(f"sqlite+aiosqlite:///{path}")
    return path


@functools.cache
def postgres_ledger():
    """Return the URL of a Postgres with the newest schema, which ends with the tests."""
    server = contextlib.ExitStack()
    atexit.register(server.close)
    url = server.enter_context(postgres_server())
    migrate.upgrade(url)
    return url


@dataclass
class Call:
    """A paid call in the model: its worst case, its budgets, and the number of its process."""

    id: str
    amount: int
    budgets: tuple
    process: int


class Process:
    """A process of the proxy: its writer, its journal, and a database that can be away."""

    def __init__(self, url, spool, name, clock):
        self.engine, self.away = open_database(url), False
        event.listen(self.engine.sync_engine, "begin", self._begin, insert=True)
        self.journal = open_journal(spool, name, max_bytes=10**7)
        self.writer = Writer(self.engine, self.journal, ZONE, clock=clock)

    def _begin(self, _):
        if self.away:
            raise OperationalError("BEGIN", None, Exception("the database is away"))

    def leases(self):
        """Return what each lease has left, with its budgets."""
        payers = self.writer._leases._payers.values()
        return [(lease.free, payer.refs) for payer in payers for lease in payer.leases]

    async def settle_down(self):
        """Write all records."""
        self.writer.submit()
        await self.writer.flush()

    async def die(self):
        """Release the lock of the journal, as the end of a process does, and do nothing else."""
        self.writer._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.writer._task
        os.close(self.journal._file)
        os.close(self.journal._lock)
        await self.engine.dispose()


class LeaseMachine(RuleBasedStateMachine):
    """Two processes on one database; each can die, and the other one takes over."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.spool = Path(self.folder.name) / "spool"
        self.spool.mkdir()
        self.loop = asyncio.new_event_loop()
        self.url = self.empty()
        self.reader = open_database(self.url)
        self.now = datetime(2026, 10, 24, 21, tzinfo=UTC)  # an hour before a day of 25 hours in Berlin
        self.seconds = 1000.0
        self.numbers = 0
        self.limits = dict(LIMITS)
        self.open, self.unsettled = {}, {}
        self.spent = Counter()  # what the ended calls have really cost, by budget
        self.over = Counter()  # costs above their reservations
        self.unsure = set()  # budgets of which a power loss has hidden calls
        self.before = {}  # what counted against each budget after the last step
        self.processes = [self.start(i) for i in range(2)]

    def run(self, work):
        async def soon():
            async with asyncio.timeout(60):
                return await work

        return self.loop.run_until_complete(soon())

    def start(self, number):
        self.numbers += 1

        async def make():
            return Process(self.url, self.spool, f"proc_{number}_{self.numbers}", lambda: self.seconds)

        return self.run(make())

    def refs(self, scopes):
        windows = {"session": "total", "key": "day", "team": "month", "user": "week", "global": "month"}
        return tuple(
            BudgetRef(
                scope=scope, name="x", limit=self.limits[scope], window=windows[scope],
                window_start=window_start(windows[scope], self.now, ZONE),
            )
            for scope in sorted(scopes)
        )  # fmt: skip

    def reservation(self, amount):
        self.numbers += 1
        hour = timedelta(hours=1)
        return Reservation(
            id=f"call_{self.numbers}", request_id=f"req_{self.numbers}", model="m", amount=amount, created_at=self.now,
            expires_at=self.now + hour,
        )  # fmt: skip

    def available(self, refs, more=()):
        """Return what the database has free, with leases that will be back."""
        rows = {(b.scope, b.window_start): b for b in self.run(list_budgets(self.reader))}
        left = []
        for ref in refs:
            row = rows.get(names([ref])[0])
            counted = 0 if row is None else row.spent + row.reserved + row.unsettled
            limit = ref.limit if row is None or ref.scope != "session" else row.limit
            back = sum(free for free, lease in more if names([ref])[0] in names(lease))
            left.append(limit - counted + back)
        return min(left)

    def reserve(self, process, amount, refs, *, least, wait_s):
        reservation = self.reservation(amount)
        writer = self.processes[process].writer
        reserved = self.run(writer.reserve(reservation, refs, least=least, wait_s=wait_s, key="k"))
        assert least <= reserved.amount <= amount
        one = self.open[reservation.id] = Call(reservation.id, reserved.amount, names(refs), process)
        return one

    def end(self, one, cost):
        """Settle a call, as `RequestBudget.settle` does."""
        writer = self.processes[one.process].writer
        writer.submit_end(Settlement(one.id, cost), call(one.id, one.id.replace("call", "req"), cost))
        del self.open[one.id]
        self.book(one, cost)

    def book(self, one, cost):
        for budget in one.budgets:
            self.spent[budget] += cost
            self.over[budget] += max(0, cost - one.amount)

    @rule(amounts=st.lists(SMALL, min_size=4, max_size=15), share=st.floats(0, 1), left_open=st.integers(0, 2), process=PROCESS, scopes=SCOPES)  # fmt: skip
    def burst(self, amounts, share, left_open, process, scopes):
        """Many calls of one payer get leases, if there is ample room. The database decides the others."""
        refs = self.refs(scopes)
        for i, amount in enumerate(amounts):
            if self.processes[process].away and not self.leased(process, refs, amount):
                with pytest.raises(LedgerUnavailableError):
                    self.reserve(process, amount, refs, least=1, wait_s=5)
                return
            if not self.processes[process].away and self.available(refs) < 4 * amount:
                return
            one = self.reserve(process, amount, refs, least=1, wait_s=5)
            if i >= left_open:
                self.end(one, int(one.amount * share))
            self.seconds += 0.01

    def leased(self, process, refs, amount):
        leases = self.processes[process].writer._leases
        payer = leases._payers.get(("k", refs))
        trial = self.reservation(amount)
        return payer is not None and any(one.serves(trial, self.seconds) for one in payer.leases)

    @precondition(lambda self: not any(p.away for p in self.processes))
    @rule(amount=st.integers(1, 60_000), share=st.floats(0, 1), process=PROCESS, scopes=SCOPES)
    def large(self, amount, share, process, scopes):
        """The leases of the own process keep no money from a call: they are given back for it, without a wait."""
        refs, least = self.refs(scopes), max(1, int(amount * share))
        self.run(self.processes[process].settle_down())
        available = self.available(refs, self.processes[process].leases())
        try:
            self.reserve(process, amount, refs, least=least, wait_s=0)
        except BudgetExceededError:
            assert available < least, "blocked although there was money left"

    @rule(share=st.floats(0, 1), pick=st.integers(0, 100))
    def settle(self, share, pick):
        """A call ends, also while the database is away."""
        if self.open:
            one = list(self.open.values())[pick % len(self.open)]
            self.end(one, int(one.amount * share))

    @precondition(lambda self: self.open and not any(p.away for p in self.processes))
    @rule(pick=st.integers(0, 100))
    def overrun(self, pick):
        """A call costs more than was reserved: from a lease or not, it is booked as it is."""
        one = list(self.open.values())[pick % len(self.open)]
        self.end(one, one.amount + 50)
        self.run(self.processes[one.process].settle_down())

    @precondition(lambda self: not any(p.away for p in self.processes))
    @rule()
    def idle(self):
        """Idle leases are given back, and then the books are exact."""
        for process in self.processes:
            self.run(process.settle_down())  # a lease that is asked for now is not idle later
        self.seconds += 2 * IDLE_S
        self.everything_is_exact(leases=False)

    @rule(process=PROCESS)
    def write(self, process):
        """A process writes what it has, and gets leases."""
        if not self.processes[process].away:
            self.run(self.processes[process].settle_down())

    @rule(hours=st.sampled_from([-1, 1, 3, 24, 200]))
    def time_passes(self, hours):
        """Windows turn, and clocks are set back."""
        self.now += timedelta(hours=hours)

    @rule(scope=st.sampled_from(["key", "user", "global"]), part=st.sampled_from([0.1, 0.5, 1]))
    def limit_changes(self, scope, part):
        """A limit is lowered, or raised again."""
        self.limits[scope] = int(LIMITS[scope] * part)

    @rule(process=PROCESS, away=st.booleans())
    def database(self, process, away):
        """The database is away for a process, or back."""
        self.processes[process].away = away

    @rule(process=PROCESS)
    def crash(self, process):
        """A process dies: its open calls are unsettled, and its leases are free again."""
        self.bury(process)
        for one in [one for one in self.open.values() if one.process == process]:
            self.unsettled[one.id] = self.open.pop(one.id)
        self.take_over(process)
        if not any(p.away for p in self.processes):
            self.everything_is_exact(leases=True)

    @rule(process=PROCESS, keep=st.floats(0, 1), hole=st.floats(0, 1))
    def power_loss(self, process, keep, hole):
        """The machine loses the end of the journal, and perhaps a line in its middle: nothing is counted too low."""
        journal = self.processes[process].journal
        self.unsure |= {b for one in self.open.values() if one.process == process for b in one.budgets}
        self.unsure |= {b for _, refs in self.processes[process].leases() for b in names(refs)}
        self.bury(process)
        (journal.folder / BOOT).write_text("another boot")
        path = journal._path(journal._segments[0])
        data = path.read_bytes()
        kept = data[: journal._offset + int((len(data) - journal._offset) * keep)]
        lines = kept.splitlines(keepends=True)
        if lines and hole < 0.5:
            lost = int(len(lines) * 2 * hole)
            if sum(map(len, lines[:lost])) >= journal._offset:
                lines[lost] = b"\0" * len(lines[lost])
        path.write_bytes(b"".join(lines))
        if len(data) > journal._offset:
            self.unsure |= set(self.spent) | set(self.before)
        for one in [one for one in self.open.values() if one.process == process]:
            self.unsettled[one.id] = self.open.pop(one.id)
        self.take_over(process)

    def bury(self, process):
        self.run(self.processes[process].die())

    def take_over(self, process):
        async def work():
            for dead in abandoned(self.spool, max_bytes=10**7):
                await adopt(self.reader, dead, ZONE)
                dead.close()

        self.run(work())
        self.processes[process] = self.start(process)

    def everything_is_exact(self, *, leases):
        """Once all records are written, no cent is lost or counted twice."""
        for process in self.processes:
            self.run(process.settle_down())
        assert leases or not any(process.leases() for process in self.processes)
        held = Counter()
        for process in self.processes:
            for free, refs in process.leases():
                held.update(dict.fromkeys(names(refs), free))
        for row in self.run(list_budgets(self.reader)):
            name = row.scope, row.window_start
            if name in self.unsure:
                continue
            assert row.spent == self.spent[name]
            assert row.reserved == worst_cases(self.open, name) + held[name]
            assert row.unsettled == worst_cases(self.unsettled, name)

    @invariant()
    def nothing_is_counted_too_low_or_beyond_a_limit(self):
        """What has been spent, or may be, is counted. A budget exceeds its limit only if that was lowered."""
        for row in self.run(list_budgets(self.reader)):
            name = row.scope, row.window_start
            counted = row.spent + row.reserved + row.unsettled
            assert counted >= self.spent[name] + worst_cases(self.open, name) + worst_cases(
                self.unsettled, name
            )
            assert counted - self.over[name] <= max(row.limit, self.before.get(name, 0))
            self.before[name] = counted - self.over[name]

    @invariant()
    def rows_add_up(self):
        """The open and unsettled amounts of a budget are those of its rows. No row is negative."""

        async def read():
            async with self.reader.connect() as connection:
                if connection.dialect.name == "postgresql":  # both tables as they are at one time
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                budgets = await connection.execute(
                    text("SELECT id, reserved_nano, unsettled_nano FROM budgets")
                )
                rows = await connection.execute(
                    text("SELECT state, amount_nano, CAST(budget_ids AS TEXT) AS ids FROM reservations")
                )
                return list(budgets), list(rows)

        budgets, rows = self.run(read())
        sums = Counter()
        for row in rows:
            assert row.amount_nano > 0
            for id_ in row.ids.strip("[]").replace('"', "").split(", "):
                sums[row.state, int(id_)] += row.amount_nano
        for budget in budgets:
            assert budget.reserved_nano == sums["reserved", budget.id]
            assert budget.unsettled_nano == sums["unsettled", budget.id]

    def teardown(self):
        async def close():
            for process in self.processes:
                process.away = False
                await process.writer.close(timeout_s=20)
                await process.engine.dispose()

        try:
            self.run(close())
            self.processes = []
            self.everything_is_exact(leases=False)
        finally:
            self.loop.run_until_complete(self.reader.dispose())
            self.loop.close()
            self.folder.cleanup()

    def empty(self):
        """Return the URL of an empty database."""
        shutil.copy(empty_ledger(), Path(self.folder.name) / "money.db")
        return f"sqlite+aiosqlite:///{self.folder.name}/money.db"


class PostgresMachine(LeaseMachine):
    """The same on Postgres."""

    def empty(self):
        """Empty the tables."""
        url = postgres_ledger()

        async def truncate():
            engine = open_database(url)
            async with engine.begin() as connection:
                await connection.execute(text("TRUNCATE budgets, reservations, calls, requests CASCADE"))
            await engine.dispose()

        self.run(truncate())
        return url


def names(refs):
    """Return what identifies budgets in the model."""
    return tuple((ref.scope, ref.window_start) for ref in refs)


def worst_cases(calls, budget):
    """Return the sum of the amounts of calls in a budget."""
    return sum(one.amount for one in calls.values() if budget in one.budgets)


TestLeases = LeaseMachine.TestCase
TestLeases.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLeasesOnPostgres = pytest.mark.postgres(PostgresMachine.TestCase)
TestLeasesOnPostgres.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
