"""The budget of a run: its limit holds for all of its parts, also for those that were killed."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import NoBudgetError
from proxy.evals.record import Answer, Record
from proxy.evals.run_budget import RunBudget
from proxy.pricing.prices import Usage
from tests.unit.spending.parts import call_record


@pytest.fixture
def reopened(tmp_path):
    """Open the record of the same run once more."""
    opened = []

    def reopen():
        opened.append(Record(tmp_path / "run" / "calls.jsonl"))
        return opened[-1]

    yield reopen
    for record in opened:
        record.close()


def answer(key, cost):
    return Answer(key=key, item="i", tier="large", message={}, finish_reason="stop", usage=Usage(), cost=cost)


def test_limit_is_kept(reopened):
    """A call that does not fit is refused if nothing may come back."""
    budget = RunBudget(reopened(), 100)

    async def main():
        await budget.reserve("c1", "m", 80, 80)
        budget.settle(call_record("c1", 60))
        with pytest.raises(NoBudgetError, match="the run may spend"):
            await budget.reserve("c2", "m", 41, 41)
        return await budget.reserve("c3", "m", 40, 40)

    assert asyncio.run(main()) == 40
    assert budget.spent == 60


def test_no_limit(reopened):
    """Without a limit every call fits, and is counted."""
    budget = RunBudget(reopened(), None)

    async def main():
        await budget.reserve("c1", "m", 10**15, 1)
        budget.settle(call_record("c1", 10**14))

    asyncio.run(main())
    assert budget.spent == 10**14


@given(st.lists(st.integers(1, 50), min_size=2, max_size=20), st.integers(50, 120))
def test_reserved_money_is_waited_for(tmp_path_factory, costs, limit):
    """Many calls at once never reserve more than the limit, and each is made that fits in the end."""
    record = Record(tmp_path_factory.mktemp("run") / "calls.jsonl")
    budget = RunBudget(record, limit)
    held, most = 0, 0

    async def one(number, cost):
        nonlocal held, most
        await budget.reserve(str(number), "m", 50, 50)
        held += 50
        most = max(most, budget.spent + held)
        await asyncio.sleep(0)
        held -= 50
        budget.settle(call_record(str(number), cost))

    async def main():
        calls = (one(number, cost) for number, cost in enumerate(costs))
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(main())
    record.close()
    assert most <= limit
    assert all(r is None or isinstance(r, NoBudgetError) for r in results)
    assert budget.spent == sum(cost for cost, r in zip(costs, results, strict=True) if r is None)
    assert None in results
    assert all(r is None for r in results) or budget.spent > limit - 50


def test_later_parts_count(reopened):
    """Answers count at their cost, calls without an answer at theirs, and killed ones at their worst case."""
    record = reopened()
    budget = RunBudget(record, None)

    async def main():
        for name in ("answered", "broken", "killed"):
            await budget.reserve(name, "m", 100, 100)
        budget.settle(call_record("answered", 30))
        record.add(answer("k", 30))
        record.set_unsettled("answered", 0)
        budget.settle(call_record("broken", 70))

    asyncio.run(main())
    assert budget.spent == 100
    assert RunBudget(reopened(), None).spent == 30 + 70 + 100
