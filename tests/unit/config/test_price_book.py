"""Prices that begin or end while the proxy runs are used without a restart, and no reservation is below them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from proxy.config.prices import PriceBook, resolve_prices
from proxy.config.schema import Large, Settings, Upstream
from proxy.pricing.prices import Usage, cost, worst_case
from proxy.pricing.published import price_changes, published_price
from tests.unit.spending.parts import LIMITS, MODEL, FixedBudget, paying, spending

RISING, HOURLY = "gemini-3.8-flash", "deepseek-chat"
RISE = datetime(2027, 1, 1, tzinfo=UTC)
USED = Usage(prompt_tokens=80, completion_tokens=20)


class Clock:
    """A clock that a test sets."""

    def __init__(self, at):
        self.at = at

    def __call__(self):
        return self.at


def book(model, at, **large):
    clock = Clock(at)
    return PriceBook(Settings(large=Large(model=model, **large)), clock), clock


def test_a_price_begins_tomorrow():
    """The same book has the old price until the day begins, and then the new one."""
    prices, clock = book(RISING, RISE - timedelta(days=1))
    before = cost(prices[RISING], USED)
    clock.at = RISE - timedelta(seconds=1)
    assert cost(prices[RISING], USED) == before
    clock.at = RISE
    after = cost(prices[RISING], USED)
    assert after == cost(published_price(RISING, RISE), USED) > before
    clock.at = RISE + timedelta(days=500)
    assert cost(prices[RISING], USED) == after


def test_reservations_look_ahead():
    """As long as a call may still run when the price rises, its reservation has the new price."""
    prices, clock = book(RISING, RISE - timedelta(days=1))
    price = prices[RISING]
    old = worst_case(price.bound("default"), 1000, 1000)
    assert old == worst_case(published_price(RISING, clock.at), 1000, 1000)
    clock.at = RISE - timedelta(minutes=9)
    assert worst_case(prices[RISING].bound("default"), 1000, 1000) == worst_case(
        published_price(RISING, RISE), 1000, 1000
    )
    assert cost(prices[RISING], USED) == cost(price, USED)


def test_prices_of_the_hour():
    """Some vendors have cheap hours: every hour of a week has the price that is published for it."""
    start = datetime(2026, 11, 27, 0, 10, tzinfo=UTC)
    prices, clock = book(HOURLY, start)
    for hour in range(7 * 24):
        clock.at = start + timedelta(hours=hour)
        assert cost(prices[HOURLY], USED) == cost(published_price(HOURLY, clock.at), USED)
    assert len(price_changes(HOURLY, start, start + timedelta(days=7))) >= 14


@pytest.mark.parametrize("rises", [True, False])
def test_a_call_over_a_change_has_the_dearer_price(rises):
    """The vendor may take either price of a call that runs while it changes, so the dearer one is booked."""
    prices, _ = book(RISING, RISE - timedelta(minutes=5))
    low, high = prices[RISING], published_price(RISING, RISE)
    assert cost(high, USED) > cost(low, USED)
    parts = spending(FixedBudget(10**12), price=low if rises else high)

    async def main():
        async with paying(parts, LIMITS) as call:
            parts.prices[MODEL.name] = high if rises else low
            call.usage, call.finish_reason = USED, "stop"

    asyncio.run(main())
    (record,) = parts.calls
    assert record.cost == cost(high, USED)
    assert not record.overrun


def test_tier_of_the_project():
    """The config says which tier the vendor's project has. Then nothing dearer is reserved for other requests."""
    at = datetime(2026, 11, 27, tzinfo=UTC)

    def bound(tier, **large):
        price = resolve_prices(Settings(large=Large(model="gpt-5.6-sol", **large)), at)["gpt-5.6-sol"]
        return worst_case(price.bound(tier), 1000, 1000)

    listed = bound("default")
    assert bound(None) == bound("auto") == bound("priority") == 2 * listed
    assert (
        bound("flex") == bound(None, service_tier="default") == bound("auto", service_tier="flex") == listed
    )
    assert bound("priority", service_tier="default") == bound(None, service_tier="priority") == 2 * listed


def test_tier_of_the_project_at_an_unknown_price():
    """A model without a price of the project's tier costs twice the list price, and so much is reserved."""
    at = datetime(2026, 11, 27, tzinfo=UTC)
    found = resolve_prices(Settings(large=Large(model="gpt-4", service_tier="priority")), at)["gpt-4"]
    assert cost(found, USED) == 2 * cost(published_price("gpt-4", at), USED)
    assert found.guesses(USED)
    assert worst_case(found.bound(None), 80, 20) == cost(found, USED)


def test_tiers_of_a_further_upstream():
    """Each upstream has its own project."""
    upstreams = {"eu": Upstream(models=("gpt-5.6-sol",), service_tier="default")}
    found = resolve_prices(Settings(large=Large(model="gpt-5.6-sol"), upstreams=upstreams))
    here, there = (
        worst_case(found[name].bound(None), 1000, 1000) for name in ("gpt-5.6-sol", "eu/gpt-5.6-sol")
    )
    assert here == 2 * there
