"""The ledger, on both databases."""

import asyncio
import itertools
import tempfile
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from alembic import command

from proxy.ledger import budgets, keys, migrate, reports, retention
from proxy.ledger.budgets import list_budgets, set_session_budget
from proxy.ledger.database import open_database
from proxy.ledger.journal import open_journal
from proxy.ledger.requests import get_request, list_requests
from proxy.ledger.unsettled import mark_expired, resolve, unsettled
from proxy.ledger.windows import EPOCH
from proxy.ledger.writer import Writer
from proxy.pricing.prices import Price, Usage
from proxy.records import BudgetRef, CallRecord, RequestRecord, Reservation, Settlement, StageRecord

UTC_ZONE = ZoneInfo("UTC")
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


@asynccontextmanager
async def writing(engine, zone=UTC_ZONE):
    with tempfile.TemporaryDirectory() as spool:
        writer = Writer(engine, open_journal(Path(spool), f"proc_{next(_numbers)}", max_bytes=10**7), zone)
        try:
            yield writer
        finally:
            await writer.close(timeout_s=20)


_numbers = itertools.count()


def hold(name, amount, expires=None):
    later = expires or datetime.now(UTC) + timedelta(hours=1)
    return Reservation(name, f"req_{name}", "m", amount, datetime.now(UTC), later)


def budget(scope="session", name="s", limit=1000, window="total", start=EPOCH, owner=""):
    return BudgetRef(scope, name, limit, window, start, owner)


async def reserve(writer, name, amount, *budgets, least=None, wait_s=0.0, **hold_changes):
    return await writer.reserve(
        hold(name, amount, **hold_changes), budgets, least=amount if least is None else least, wait_s=wait_s
    )


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
        None,
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
    async with writing(engine) as writer:
        writer.submit(*records)


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

    async def work(engine):
        async with opened(url) as other, writing(engine) as one, writing(other) as two:

            async def attempt(i):
                try:
                    await reserve((one, two)[i % 2], f"h{i}", 100, budget())
                except budgets.BudgetExceededError:
                    return 0
                return 1

            granted = sum(await asyncio.gather(*(attempt(i) for i in range(60))))
        return granted, (await list_budgets(engine))[0]

    granted, row = run(url, work)
    assert granted == 10
    assert (row.reserved, row.spent, row.limit) == (1000, 0, 1000)


def test_a_refused_hold_reserves_nothing(url):
    """A hold that fits one budget and not the other reserves in neither."""

    async def work(engine):
        async with writing(engine) as writer:
            with pytest.raises(budgets.BudgetExceededError) as e:
                await reserve(writer, "h", 100, budget(), budget("key", "k", 50))
        assert (e.value.ref.scope, e.value.available) == ("key", 50)
        return await list_budgets(engine)

    assert [(b.spent, b.reserved) for b in run(url, work)] == [(0, 0), (0, 0)]


def test_a_hold_is_cut_to_what_the_budget_still_has(url):
    """Near its end a budget gives what is left, as long as that is useful."""

    async def work(engine):
        async with writing(engine) as writer:
            first = await reserve(writer, "a", 700, budget())
            second = await reserve(writer, "b", 700, budget(), least=200)
            with pytest.raises(budgets.BudgetExceededError):
                await reserve(writer, "c", 700, budget(), least=1)
        return first, second

    first, second = run(url, work)
    assert (first.amount, first.left) == (700, 300)
    assert (second.amount, second.left) == (300, 0)


def test_a_hold_waits_for_money_that_another_process_gives_back(url):
    """What others hold only for the moment blocks nobody who has money left."""

    async def work(engine):
        async with opened(url) as other, writing(engine) as one, writing(other) as two:
            await reserve(one, "a", 900, budget())
            waiting = asyncio.create_task(reserve(two, "b", 900, budget(), wait_s=20))
            await reserve(two, "c", 100, budget())  # decided in a round after the waiting one came
            assert not waiting.done()
            one.submit(Settlement("a", 10))
            two.submit(Settlement("c", 0))
            return await waiting

    assert run(url, work).amount == 900


def test_nobody_waits_for_money_that_is_spent(url):
    """A budget that is used up refuses at once, however long one would wait."""

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "a", 900, budget())
            writer.submit(Settlement("a", 900))
            await writer.flush()
            async with asyncio.timeout(60):
                with pytest.raises(budgets.BudgetExceededError):
                    await reserve(writer, "b", 200, budget(), wait_s=3600)

    run(url, work)


def test_a_cancelled_wait_leaves_no_hold(url):
    """A client that leaves while its hold waits, or has just been granted, blocks nobody."""

    async def work(engine):
        async with writing(engine) as writer:
            for i in range(20):
                task = asyncio.create_task(reserve(writer, f"h{i}", 100, budget()))
                for _ in range(i):
                    await asyncio.sleep(0)  # leave at each of the points where it could
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await writer.flush()
        return [(b.spent, b.reserved) for b in await list_budgets(engine)]

    assert run(url, work) in ([], [(0, 0)])


def test_settlement_is_idempotent(url):
    """Settling twice, or a hold never placed, moves money once."""

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "h", 100, budget("global", "", 1000, "month", NOW))
            writer.submit(Settlement("h", 30), Settlement("h", 50), Settlement("nobody", 5))
            await writer.flush()
            writer.submit(Settlement("h", 40))
        return (await list_budgets(engine))[0]

    row = run(url, work)
    assert (row.spent, row.reserved) == (30, 0)


def test_a_session_limit_can_be_lowered_but_not_raised_by_its_client(url):
    """The first value sets it, a lower one holds from then on, a higher one changes nothing."""

    async def work(engine):
        seen = []
        async with writing(engine) as writer:
            for limit in (500, 300, 900):
                await writer.open_budgets((budget(limit=limit),))
                seen.append((await list_budgets(engine))[0].limit)
        return seen

    assert run(url, work) == [500, 300, 300]


def test_a_header_that_repeats_itself_does_not_undo_what_an_admin_raised(url):
    """Only a header that is lower than any before it lowers the limit again."""

    async def work(engine):
        seen = []
        async with writing(engine) as writer:
            await writer.open_budgets((budget(limit=500),))
            assert await set_session_budget(engine, "s", 2000)
            for limit in (500, 900, 400):
                await writer.open_budgets((budget(limit=limit),))
                seen.append((await list_budgets(engine))[0].limit)
        return seen

    assert run(url, work) == [2000, 2000, 400]


def test_a_session_without_the_header_still_has_its_budget(url):
    """Once set, the limit holds also for requests that do not repeat it."""

    async def work(engine):
        async with writing(engine) as writer:
            free = await reserve(writer, "a", 5000, budget(limit=None))
            await writer.open_budgets((budget(limit=1000),))
            with pytest.raises(budgets.BudgetExceededError):
                await reserve(writer, "b", 5000, budget(limit=None))
        return free

    assert run(url, work) == budgets.Reserved(5000, None)


def test_a_session_belongs_to_the_key_that_opened_it(url):
    """Another key can neither spend from it nor change it."""

    async def work(engine):
        async with writing(engine) as writer:
            await writer.open_budgets((budget(owner="ann"),))
            with pytest.raises(budgets.SessionOwnedError):
                await reserve(writer, "a", 1, budget(limit=1, owner="bob"))
        return (await list_budgets(engine))[0].limit

    assert run(url, work) == 1000


def test_a_new_window_begins_with_the_whole_limit(url):
    """What was spent yesterday does not count today; a hold of yesterday is settled there."""
    yesterday, today = NOW - timedelta(days=1), NOW

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "a", 1000, budget("global", "", 1000, "day", yesterday))
            await reserve(writer, "b", 1000, budget("global", "", 1000, "day", today))
            writer.submit(Settlement("a", 700))
        return [(b.spent, b.reserved) for b in await list_budgets(engine)]

    assert run(url, work) == [(700, 0), (0, 1000)]


def test_an_upstream_that_ignores_its_bound_closes_the_budget(url):
    """More than was reserved is booked as it is; nothing fits afterwards, and nothing waits."""

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "a", 600, budget())
            writer.submit(Settlement("a", 1500))
            await writer.flush()
            with pytest.raises(budgets.BudgetExceededError) as e:
                await reserve(writer, "b", 1, budget(), wait_s=3600)
        return e.value.available, (await list_budgets(engine))[0].spent

    assert run(url, work) == (0, 1500)


def test_a_dead_process_leaves_its_hold_at_the_worst_case(url):
    """After the lease the reservation is unsettled and still counted; an operator can settle it."""
    past = datetime.now(UTC) - timedelta(seconds=1)

    async def work(engine):
        async with writing(engine) as writer:
            await reserve(writer, "h", 100, budget(limit=150), expires=past)
            assert await mark_expired(engine, datetime.now(UTC)) == 1
            assert await mark_expired(engine, datetime.now(UTC)) == 0
            with pytest.raises(budgets.BudgetExceededError):
                await reserve(writer, "h2", 100, budget(limit=150), wait_s=3600)
            (row,) = await list_budgets(engine)
            assert (row.spent, row.reserved, row.unsettled) == (0, 0, 100)
            assert [r.amount for r in await unsettled(engine)] == [100]
            assert await resolve(engine, "h", 30)
            assert not await resolve(engine, "h", 30)
            await reserve(writer, "h3", 100, budget(limit=150))
        return (await list_budgets(engine))[0]

    row = run(url, work)
    assert (row.spent, row.reserved, row.unsettled) == (30, 100, 0)


def test_a_repeated_batch_duplicates_nothing(url):
    """Records written twice are there once, and spend is the sum of the calls."""
    records = [request("req_1"), call("c1", "req_1"), request("req_2", cost=5), call("c2", "req_2", 5)]

    async def work(engine):
        await write(engine, *records)
        await write(engine, *records)
        rows = await reports.spend(engine, by="day", zone=UTC_ZONE)
        story = await get_request(engine, "req_1")
        return rows, story

    rows, story = run(url, work)
    assert [(r.group, r.requests, r.cost, r.baseline) for r in rows] == [("2026-10-15", 2, 12, 18)]
    assert sum(c.cost for c in story.calls) == story.request.cost == 7
    assert story.request.started_at == NOW
    assert story.stages[0].agreed == 1


@pytest.mark.parametrize("by", ["day", "key", "stage", "task", "session", "user", "tag"])
@pytest.mark.parametrize("hours", [0, 1], ids=["from rollups", "from rows"])
def test_every_grouping_sums_to_the_same(url, by, hours):
    """However spend is grouped, the total is the same."""

    async def work(engine):
        await write(
            engine, request("r1", session="a"), request("r2", task="open", stage=1, cost=0), request("r3")
        )
        midnight = NOW.replace(hour=hours)
        return await reports.spend(
            engine, by=by, zone=UTC_ZONE, since=midnight, until=midnight + timedelta(days=1)
        )

    assert sum(r.cost for r in run(url, work)) == 14


def test_a_key_sees_only_its_own_requests(url):
    """Another key's request is not found."""

    async def work(engine):
        await write(engine, request("r1", key_id="ann"), request("r2", key_id="bob"))
        listed = [r.id for r in await list_requests(engine, limit=9, key_id="ann")]
        return listed, await get_request(engine, "r2", key_id="ann")

    assert run(url, work) == (["r1"], None)


def test_keys_are_found_by_token_and_die_when_revoked(url):
    """Only the whole right token is a key; revoking marks it, and the door stays closed."""

    async def work(engine):
        assert not await keys.any_keys(engine)
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
        return await keys.any_keys(engine)

    assert run(url, work) is True


def test_pruning_drops_the_old_and_keeps_the_new(url):
    """Requests past their retention go, with their calls."""

    async def work(engine):
        await write(
            engine, request("old", started_at=NOW - timedelta(days=99)), call("c", "old"), request("new")
        )
        assert await retention.prune(engine, NOW - timedelta(days=30)) == 1
        return [r.id for r in await list_requests(engine, limit=9)]

    assert run(url, work) == ["new"]
