"""The budgets of one request, over a real ledger."""

import asyncio

import pytest

from proxy.errors import ApiError, NoBudgetError
from proxy.ledger.budgets import list_budgets
from proxy.ledger.keys import ApiKey, KeyRules
from proxy.ledger.migrate import upgrade
from proxy.spending.budget import MOST_OPENED
from proxy.spending.payer import Payer
from tests.unit.spending.parts import call_record, request_budget

NANO = 10**9


@pytest.fixture
def url(tmp_path):
    """A database with the newest schema."""
    url = f"sqlite+aiosqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    return url


@pytest.fixture
def missing_url(tmp_path):
    """A database that cannot be opened."""
    return f"sqlite+aiosqlite:///{tmp_path}/missing/ledger.db"


@pytest.fixture
def with_budget(tmp_path):
    """Run a piece of work with the budgets of one request."""

    def run(url, payer, work, **changes):
        async def main():
            async with request_budget(tmp_path, url, payer, **changes) as budget:
                return await work(budget)

        return asyncio.run(main())

    return run


def reserves(amount=100, least=100):
    """Return work that reserves one call."""

    async def work(budget):
        return await budget.reserve("call_1", "m", amount, least)

    return work


def session(owner=None, limit=500):
    """Return a payer with a session budget."""
    key = (
        None
        if owner is None
        else ApiKey(id=owner, name=owner, created_at=None, revoked_at=None, rules=KeyRules())
    )
    return Payer(key=key, session="s", session_budget=limit)


@pytest.mark.parametrize(
    ("payer", "changes", "limited"),
    [
        (Payer(), {}, False),
        (Payer(budget=0), {}, True),
        (Payer(), {"global_usd": 1}, True),
        (Payer(session="s"), {}, True),
    ],
)
def test_limited_requests(with_budget, url, payer, changes, limited):
    """A budget of the request or a shared one limits it."""

    async def work(budget):
        return budget.limited

    assert with_budget(url, payer, work, **changes) is limited


def test_request_without_budget(with_budget, url):
    """It reserves the complete amount, and nothing remains to be told."""

    async def work(budget):
        reserved = await budget.reserve("call_1", "m", 100, 100)
        budget.settle(call_record("call_1", 30))
        return reserved, budget.spent, budget.reserved, await budget.remaining()

    assert with_budget(url, Payer(), work) == (100, 30, 0, None)


def test_own_budget_is_kept(with_budget, url):
    """The second call gets the rest, and a third one does not fit."""

    async def work(budget):
        amounts = [
            await budget.reserve("call_1", "m", 100, 100),
            await budget.reserve("call_2", "m", 100, 10),
        ]
        with pytest.raises(NoBudgetError, match="X-COPE-Budget-USD leaves 0 USD"):
            await budget.reserve("call_3", "m", 100, 1)
        budget.settle(call_record("call_1", 20))
        return amounts, await budget.remaining()

    assert with_budget(url, Payer(budget=150), work) == ([100, 50], 80)


def test_overrun_leaves_nothing(with_budget, url):
    """A call that cost more than the budget leaves 0, not less."""

    async def work(budget):
        await budget.reserve("call_1", "m", 100, 100)
        budget.settle(call_record("call_1", 900))
        return await budget.remaining()

    assert with_budget(url, Payer(budget=150), work) == 0


def test_shared_budget_is_kept(with_budget, url):
    """The reservation is cut to the fair share of the rest, and settling gives the difference back."""

    async def work(budget):
        before = await budget.remaining()
        await budget.reserve("call_1", "m", NANO - 40, NANO - 40)
        reserved = await budget.reserve("call_2", "m", 100, 10)
        with pytest.raises(NoBudgetError, match=r"the global budget leaves 0\.00000002 of 1 USD"):
            await budget.reserve("call_3", "m", 100, 21)
        budget.settle(call_record("call_2", 15))
        return before, reserved, await budget.remaining()

    assert with_budget(url, Payer(), work, global_usd=1) == (NANO, 20, 25)


def test_smaller_budget_counts(with_budget, url):
    """Of the request's own budget and the shared one, the smaller rest remains."""

    async def work(budget):
        await budget.reserve("call_1", "m", 10, 10)
        budget.settle(call_record("call_1", 10))
        return await budget.remaining()

    assert with_budget(url, Payer(budget=50), work, global_usd=1) == 40
    assert with_budget(url, Payer(budget=5 * NANO), work, global_usd=1) == NANO - 20


def test_session_is_opened_once(with_budget, url):
    """Its limit is in the database before anything is spent. A second request writes nothing."""

    async def work(budget):
        await budget.open()
        (row,) = await list_budgets(budget.database)
        commits = budget.writer.written
        await budget.open()
        return row.limit, budget.opened, commits == budget.writer.written

    assert with_budget(url, session(), work) == (500, {("s", None, 500)}, True)


def test_few_sessions_are_remembered(with_budget, url):
    """The sessions that are known to be open take no more and more memory."""

    async def work(budget):
        budget.opened.update((str(i), None, None) for i in range(MOST_OPENED + 1))
        await budget.open()
        return budget.opened

    assert with_budget(url, session(), work) == {("s", None, 500)}


def test_nothing_to_open(with_budget, missing_url):
    """A request without a session budget does not touch the database."""

    async def work(budget):
        await budget.open()
        return budget.opened

    assert with_budget(missing_url, Payer(session="s"), work) == set()


def test_foreign_session(with_budget, url):
    """A session's name is its key's own: it is free for another key, even if the first one has nothing left."""

    async def opens(budget):
        await budget.open()

    with_budget(url, session("k1", limit=0), opens)
    with_budget(url, session("k2"), opens)
    with_budget(url, session("k2"), reserves())
    with pytest.raises(NoBudgetError):
        with_budget(url, session("k1", limit=0), reserves())


def test_unavailable_ledger(with_budget, missing_url):
    """No session is opened and no shared budget is used while the database is unavailable."""

    async def opens(budget):
        await budget.open()

    for work in (opens, reserves()):
        with pytest.raises(ApiError) as e:
            with_budget(missing_url, session(), work)
        assert (e.value.status, e.value.code) == (503, "ledger_unavailable")


def test_remaining_is_unknown(with_budget, missing_url, caplog):
    """A database that cannot be read does not cost the answer. The request's own budget is still known."""

    async def work(budget):
        return await budget.remaining()

    assert with_budget(missing_url, Payer(budget=70), work, global_usd=1) == 70
    assert with_budget(missing_url, Payer(), work, global_usd=1) is None
    assert "cannot be read" in caplog.text


def test_full_journal_refuses(with_budget, url):
    """Without a shared budget, the journal has to take the reservation."""
    with pytest.raises(ApiError) as e:
        with_budget(url, Payer(), reserves(), max_bytes=0)
    assert (e.value.status, e.value.code) == (503, "ledger_unavailable")


def test_full_journal_continues(with_budget, url, caplog):
    """With `ledger.on_outage = "continue"` the call is made without its reservation on record."""
    assert with_budget(url, Payer(), reserves(), max_bytes=0, on_outage="continue") == 100
    assert "without a record of its reservation" in caplog.text


def test_absurd_amount_is_capped(with_budget, url):
    """A client may request more tokens than a record can hold nano-USD."""
    assert with_budget(url, Payer(), reserves(amount=10**30, least=1)) == 10**15


def test_room_is_known_after_a_reservation(with_budget, url):
    """Whether a shared budget has much room is known once this process has reserved in it, and never after a refusal."""

    async def work(budget):
        before = budget.has_much_room(1)
        await budget.reserve("call_1", "m", 36, 36)
        known = budget.has_much_room(NANO // 64 - 1), budget.has_much_room(NANO // 64)
        with pytest.raises(NoBudgetError):
            await budget.reserve("call_2", "m", 2 * NANO, 2 * NANO)
        return before, known, budget.has_much_room(1)

    assert with_budget(url, Payer(), work, global_usd=1) == (False, (True, False), False)


def test_own_budget_is_exact(with_budget, url):
    """A budget of the request alone has room for what fits into it."""

    async def work(budget):
        return budget.has_much_room(100), budget.has_much_room(101)

    assert with_budget(url, Payer(budget=100), work) == (True, False)
