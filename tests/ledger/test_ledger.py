"""The ledger, on both databases."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.ledger import holds, keys, migrate, queries, retention
from proxy.ledger.database import open_database
from proxy.ledger.writer import Settle, Writer
from proxy.pricing.prices import Price, Usage
from proxy.records import BudgetRef, CallRecord, Hold, RequestRecord, StageRecord

NOW = datetime(2026, 10, 15, 12, tzinfo=UTC)
PRICE = Price(input=2_500_000_000, output=10_000_000_000)


def run(url, work):
    async def main():
        async with opened(url) as engine:
            return await work(engine)

    return asyncio.run(main())


@asynccontextmanager
async def opened(url):
    engine = open_database(url)
    try:
        yield engine
    finally:
        await engine.dispose()


def hold(name, amount, *budgets, expires=None):
    later = expires or datetime.now(UTC) + timedelta(hours=1)
    return Hold(name, f"req_{name}", "m", amount, budgets, datetime.now(UTC), later)


def request(name, **changes):
    fields = {
        "id": name, "started_at": NOW, "key_id": None, "session": None, "user": None, "task": "math", "mode": "cascade",
        "stage": 3, "confidence": None, "status": 200, "reason": None, "degraded": None, "requested_model": "cope",
        "model": "m", "prompt_tokens": 10, "completion_tokens": 5, "cost": 7, "baseline": 9, "latency_ms": 1,
        "first_token_ms": 1, "stream": False, "error": None,
        "stages": (StageRecord(1, 3, 4, 1, 0.25, 0.75, accepted=False),),
    }  # fmt: skip
    return RequestRecord(**{**fields, **changes})


def call(name, request_id, cost=7):
    return CallRecord(
        name,
        request_id,
        NOW,
        3,
        "executor",
        "large",
        "m",
        None,
        Usage(10, 5),
        cost,
        PRICE,
        1,
        "stop",
        estimated=False,
    )


async def write(engine, *records):
    writer = Writer(engine)
    for record in records:
        writer.submit(record)
    await writer.close(timeout_s=20)


def test_migrations_go_up_and_down_and_match_the_tables(empty_url):
    """Up, down to nothing, up again; then autogenerate finds nothing to add."""
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == migrate.head()
    migrate.downgrade(empty_url, "base")
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    command.check(migrate._config(empty_url))


def test_concurrent_holds_never_pass_the_limit(url):
    """Of 60 holds from two proxies on one budget of ten, exactly ten are granted."""
    ref = BudgetRef("session", "s", 1000)

    async def work(engine):
        async with opened(url) as other:

            async def attempt(i):
                try:
                    await holds.reserve((engine, other)[i % 2], hold(f"h{i}", 100, ref))
                except holds.BudgetExceeded:
                    return 0
                return 1

            granted = sum(await asyncio.gather(*(attempt(i) for i in range(60))))
        return granted, (await queries.list_budgets(engine))[0]

    granted, budget = run(url, work)
    assert granted == 10
    assert (budget.reserved, budget.spent, budget.limit) == (1000, 0, 1000)


def test_a_refused_hold_leaves_no_trace(url):
    """A hold that fits one budget and not the other reserves in neither."""

    async def work(engine):
        with pytest.raises(holds.BudgetExceeded) as e:
            await holds.reserve(
                engine, hold("h", 100, BudgetRef("session", "s", 1000), BudgetRef("key", "k", 50))
            )
        assert (e.value.ref.scope, e.value.available) == ("key", 50)
        return await queries.list_budgets(engine)

    assert run(url, work) == []


def test_settlement_is_idempotent(url):
    """Settling twice, or a hold never placed, moves money once."""
    ref = BudgetRef("global", "", 1000, "month")

    async def work(engine):
        await holds.reserve(engine, hold("h", 100, ref))
        await write(engine, Settle("h", 30), Settle("h", 30), Settle("nobody", 5))
        return (await queries.list_budgets(engine))[0]

    budget = run(url, work)
    assert (budget.spent, budget.reserved) == (30, 0)


def test_a_session_limit_can_be_lowered_but_not_raised_by_its_client(url):
    """The first value sets it, a lower one holds from then on, a higher one changes nothing."""

    async def work(engine):
        seen = []
        for i, limit in enumerate((500, 300, 900)):
            await holds.reserve(engine, hold(f"h{i}", 1, BudgetRef("session", "s", limit)))
            seen.append((await queries.list_budgets(engine))[0].limit)
        return seen

    assert run(url, work) == [500, 300, 300]


def test_a_dead_process_leaves_its_hold_at_the_worst_case(url):
    """After the lease the reservation is unsettled, and still counted against the budget."""
    past = datetime.now(UTC) - timedelta(seconds=1)

    async def work(engine):
        await holds.reserve(engine, hold("h", 100, BudgetRef("session", "s", 150), expires=past))
        assert await holds.recover(engine, datetime.now(UTC)) == 1
        with pytest.raises(holds.BudgetExceeded):
            await holds.reserve(engine, hold("h2", 100, BudgetRef("session", "s", 150)))
        return [row.amount for row in await queries.unsettled(engine)]

    assert run(url, work) == [100]


def test_a_repeated_batch_duplicates_nothing(url):
    """Records written twice are there once, and spend is the sum of the calls."""
    records = [request("req_1"), call("c1", "req_1"), request("req_2", cost=5), call("c2", "req_2", 5)]

    async def work(engine):
        await write(engine, *records)
        await write(engine, *records)
        rows = await queries.spend(engine, since=None, until=None, by="day", key_id=None)
        story = await queries.get_request(engine, "req_1")
        return rows, story

    rows, story = run(url, work)
    assert [(r.group, r.requests, r.cost, r.baseline) for r in rows] == [("2026-10-15", 2, 12, 18)]
    assert sum(c.cost for c in story.calls) == story.request.cost == 7
    assert story.request.started_at == NOW
    assert story.stages[0].agreed == 1


@pytest.mark.parametrize("by", ["day", "model", "key", "stage", "task", "session"])
def test_every_grouping_sums_to_the_same(url, by):
    """However spend is grouped, the total is the same."""

    async def work(engine):
        await write(
            engine, request("r1", session="a"), request("r2", task="open", stage=1, cost=0), request("r3")
        )
        return await queries.spend(engine, since=NOW, until=NOW + timedelta(days=1), by=by, key_id=None)

    assert sum(r.cost for r in run(url, work)) == 14


def test_a_key_sees_only_its_own_requests(url):
    """Another key's request is not found."""

    async def work(engine):
        await write(engine, request("r1", key_id="ann"), request("r2", key_id="bob"))
        listed = [r.id for r in await queries.list_requests(engine, limit=9, key_id="ann")]
        return listed, await queries.get_request(engine, "r2", key_id="ann")

    assert run(url, work) == (["r1"], None)


def test_keys_are_found_by_token_and_die_when_revoked(url):
    """Only the whole right token is a key; revoking marks it, and the door stays closed."""

    async def work(engine):
        assert not await keys.any_active_keys(engine)
        new = await keys.create_key(engine, "ann")
        assert (await keys.find_key(engine, new.token)).name == "ann"
        for wrong in (
            "",
            "sk-cope-x",
            new.token[:-1] + ("a" if new.token[-1] != "a" else "b"),
            new.token + "a",
        ):
            assert await keys.find_key(engine, wrong) is None
        assert await keys.revoke_key(engine, new.id)
        assert not await keys.revoke_key(engine, new.id)
        assert (await keys.find_key(engine, new.token)).revoked_at is not None
        return await keys.any_active_keys(engine)

    assert run(url, work) is True


def test_pruning_drops_the_old_and_keeps_the_new(url):
    """Requests past their retention go, with their calls."""

    async def work(engine):
        await write(
            engine, request("old", started_at=NOW - timedelta(days=99)), call("c", "old"), request("new")
        )
        assert await retention.prune(engine, NOW - timedelta(days=30)) == 1
        return [r.id for r in await queries.list_requests(engine, limit=9)]

    assert run(url, work) == ["new"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60), st.booleans()), max_size=12))
def test_no_interleaving_spends_past_the_limit(tmp_path, steps):
    """Whatever is reserved, settled at no more than its hold or left open, spent + reserved <= limit."""
    path = tmp_path / f"{abs(hash(tuple(steps)))}.db"
    url = f"sqlite+aiosqlite:///{path}"
    if not path.exists():
        migrate.upgrade(url)
    ref = BudgetRef("session", f"s{len(steps)}", 100)

    async def work(engine):
        spent = reserved = 0
        for i, (amount, cost, settled) in enumerate(steps):
            try:
                await holds.reserve(engine, hold(f"h{i}", amount, ref))
            except holds.BudgetExceeded:
                assert spent + reserved + amount > 100
                continue
            if settled:
                await write(engine, Settle(f"h{i}", min(cost, amount)))
                spent += min(cost, amount)
            else:
                reserved += amount
            (row,) = await queries.list_budgets(engine)
            assert (row.spent, row.reserved) == (spent, reserved)
            assert row.spent + row.reserved <= row.limit

    try:
        run(url, work)
    finally:
        path.unlink()
