"""A paid call is settled once, however it ends."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ApiError, NoBudgetError
from proxy.formats.base import CallLimits
from proxy.pricing.prices import Price, Usage, worst_case
from tests.unit.spending.parts import LIMITS, PRICE, FixedBudget, paying, spending

WORST = 100 * 1 + 50 * 10


def settled(outcome, budget=None, **changes):
    """Open a paid call, end it by `outcome(call)`, and return its record."""
    parts = spending(budget or FixedBudget(), **changes)

    async def main():
        async with paying(parts) as call:
            outcome(call)

    with contextlib.suppress(ApiError, asyncio.CancelledError, RuntimeError):
        asyncio.run(main())
    (record,) = parts.calls
    assert parts.budget.settled == [record]
    return record


def raises(error):
    """Return an outcome that fails."""

    def outcome(_):
        raise error

    return outcome


def uses(usage):
    """Return an outcome with a reported usage."""

    def outcome(call):
        call.usage, call.finish_reason = usage, "stop"

    return outcome


def test_reported_usage_is_billed():
    """The record says who paid for what."""
    record = settled(uses(Usage(prompt_tokens=80, completion_tokens=20)))
    assert (record.cost, record.estimated, record.overrun) == (280, False, False)
    assert (record.request_id, record.key_id, record.finish_reason) == ("req_1", "k1", "stop")


def test_counted_usage_is_estimated():
    """A call without a reported usage costs what the proxy has counted."""

    def counts(call):
        call.counted = Usage(prompt_tokens=90, completion_tokens=3)

    record = settled(counts)
    assert (record.cost, record.estimated) == (120, True)


def test_unknown_usage_costs_everything():
    """A call that may be billed and of which nothing is known costs its worst case."""
    record = settled(lambda _: None)
    assert (record.cost, record.estimated) == (WORST, True)
    assert record.usage == Usage(prompt_tokens=100, completion_tokens=50)


def test_refused_call_has_no_fee():
    """A fee per call is for calls that are answered."""
    fee = replace(PRICE, request=5_000)
    assert settled(raises(ApiError(429, "slow down", type="rate_limit")), price=fee).cost == 0
    assert settled(uses(Usage(prompt_tokens=80, completion_tokens=20)), price=fee).cost == 5_280
    assert settled(lambda _: None, price=fee).cost == WORST + 5_000


def test_refused_call_is_free():
    """An upstream's error is not billed."""
    record = settled(raises(ApiError(500, "broken", type="server_error")))
    assert (record.cost, record.estimated, record.finish_reason) == (0, False, "error")
    assert record.error == "500 server_error"


@pytest.mark.parametrize("billed", [True, False])
def test_billed_errors(billed):
    """An error after which the upstream may have generated something costs the worst case."""
    error = ApiError(502, "no", billed=billed)
    assert settled(raises(error)).cost == (WORST if billed else 0)


def test_cancelled_call():
    """A client that disconnects pays for what is not known to be free."""
    record = settled(raises(asyncio.CancelledError()))
    assert (record.cost, record.finish_reason, record.error) == (WORST, "disconnected", None)


def test_finish_reason_survives_cancellation():
    """The upstream's own reason is kept if it came before the client disconnected."""

    def outcome(call):
        call.usage, call.finish_reason = Usage(prompt_tokens=10, completion_tokens=1), "length"
        raise asyncio.CancelledError

    record = settled(outcome)
    assert (record.cost, record.finish_reason) == (20, "length")


def test_bug_is_settled():
    """An unexpected exception leaves no reservation open."""
    assert settled(raises(RuntimeError("bug"))).cost == WORST


def test_overrun_is_marked(caplog):
    """An upstream that ignores its limits is billed as reported."""
    record = settled(uses(Usage(prompt_tokens=100, completion_tokens=500)))
    assert (record.cost, record.overrun) == (5100, True)
    assert "ignored its limits" in caplog.text


@given(st.integers(0, 2 * WORST))
def test_output_fits_the_budget(amount):
    """The output limit shrinks to what the budget holds, or the call is refused."""
    parts = spending(FixedBudget(amount))

    async def main():
        async with paying(parts) as call:
            call.usage = Usage()
            return call.output

    least = worst_case(PRICE, LIMITS.prompt, LIMITS.least)
    if amount < least:
        with pytest.raises(NoBudgetError):
            asyncio.run(main())
        assert parts.calls == []
    else:
        output = asyncio.run(main())
        assert LIMITS.least <= output <= LIMITS.asked
        assert worst_case(PRICE, LIMITS.prompt, output) <= amount


def test_free_output_is_not_cut():
    """A model whose output is free keeps the client's limit."""
    parts = spending(FixedBudget(100), price=Price(input=1_000_000, output=0))

    async def main():
        async with paying(parts, CallLimits(asked=50, least=5, prompt=100)) as call:
            return call.output

    assert asyncio.run(main()) == 50


BY_BYTES = replace(LIMITS, prompt=400)
"""The same limits, with the bytes of the prompt."""


def counting(tokens=100, *, fails=None):
    """Return limits in bytes with a count of tokens, which may fail."""

    async def count():
        if fails is not None:
            raise fails
        return tokens

    return replace(BY_BYTES, count=count)


@pytest.mark.parametrize(
    "amount", [400 + 50 * 10, 399 + 50 * 10, WORST, 400 + 5 * 10, 399 + 5 * 10, 100 + 5 * 10]
)
def test_bytes_refuse_nothing(amount):
    """Wherever the bytes do not fit completely, a call gets what it gets with its tokens."""
    found = []
    for limits in (LIMITS, counting()):
        parts = spending(FixedBudget(amount))

        async def main(parts=parts, limits=limits):
            async with paying(parts, limits) as call:
                found.append(call.output)
                call.usage = Usage(prompt_tokens=80, completion_tokens=1)

        asyncio.run(main())
    assert found[0] == found[1]
    with pytest.raises(NoBudgetError):
        settled_with(counting(), FixedBudget(100 + 5 * 10 - 1))


def settled_with(limits, budget):
    """Pay for a call of which nothing is known, and return its record."""
    parts = spending(budget)

    async def main():
        async with paying(parts, limits):
            pass

    asyncio.run(main())
    return parts.calls[0]


def test_unknown_usage_costs_tokens():
    """A call of which nothing is known costs its worst case in tokens, also if its bytes were reserved."""
    assert settled_with(counting(), FixedBudget()).cost == WORST
    assert settled_with(counting(), FixedBudget()).usage.prompt_tokens == 100
    for error in (RuntimeError("no more threads"), asyncio.CancelledError()):
        assert settled_with(counting(fails=error), FixedBudget()).cost == 400 + 50 * 10


def test_interrupted_count_is_free():
    """A call that ends while its tokens are counted was not sent, and costs nothing."""
    parts = spending(FixedBudget(500))

    async def main():
        async with paying(parts, counting(fails=asyncio.CancelledError())):
            pass

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert [record.cost for record in parts.budget.settled] == [0]
