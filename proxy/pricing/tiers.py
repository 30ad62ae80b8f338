"""The prices that may apply to one call: of several service tiers, and of days that end while the call runs."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from proxy.pricing.prices import FAST_TIERS, LISTED_TIERS, RATES, SLOW_TIERS, Bounds, Price, Usage, cost_at


def with_bounds(price: Price, later: Iterable[Price] = ()) -> Price:
    """Return a price that knows what its reservations are made at.

    Args:
        price: the price now.
        later: the prices that begin before a call of now has ended.
    """
    dates = [price, *later]
    listed = [*dates, *(p for d in dates for name, p in d.tiers if name in SLOW_TIERS)]
    every = [*dates, *(p for d in dates for _, p in d.tiers)]
    if not price.knows(None):  # the config says the tier, and nobody its price
        every += [d.of(None) for d in dates]
    if len(every) == 1:
        return price
    most_listed, most = highest(listed), highest(every)
    usual = price.usual_tier
    auto = most_listed if usual is not None and usual in LISTED_TIERS | SLOW_TIERS else most
    return replace(price, bounds=Bounds(auto=auto, listed=most_listed, any=most))


def highest(prices: Sequence[Price]) -> Price:
    """Return the highest rate of each class for each length of the prompt."""
    steps = sorted({step for price in prices for step in _steps(price)})
    found: Price | None = None
    for above in reversed([None, *steps]):
        merged = _merged([price.at(0 if above is None else above + 1) for price in prices])
        after = next((step for step in steps if above is None or step > above), None)
        found = merged if found is None else replace(merged, long_above=after, long=found)
    assert found is not None
    return found


def billed_list(first: Price, last: Price, usage: Usage | None, *, counted: bool = False) -> Price:
    """Return the price list that a call is booked at: that of its tier, without the lists that do not apply.

    Nobody knows which price the vendor takes if it has changed while the call ran. It is the dearer one then.

    Args:
        first: the price at the beginning of the call.
        last: the price at its end.
        usage: its usage, if it is known.
        counted: the usage is the proxy's own count. Then the tier may be the dearest one, unless the usage names it.
    """
    if usage is None:
        return _alone(first)
    prices = [first] if last is first else [first, last]
    open_tier = counted and usage.tier is None
    lists = [price.bound(None) if open_tier else price.of(usage.tier) for price in prices]
    return _alone(max(lists, key=lambda price: cost_at(price, usage)))


def served(usage: Usage | None, asked: str | None, price: Price) -> Usage | None:
    """Return a usage with the tier that has served the call.

    If the answer names none, a request for a faster tier is taken to have got it. A request for a slower one is not.
    """
    if usage is None or usage.tier is not None or asked in SLOW_TIERS:
        return usage
    if asked not in FAST_TIERS and tier_alone(price, asked) is None:
        return usage
    return replace(usage, tier=asked) if usage.prompt_tokens or usage.completion_tokens else usage


def tier_alone(price: Price, asked: object) -> str | None:
    """Return the tier that the large model alone would have served a request at, if it has a price of its own."""
    return next((name for name, _ in price.tiers if name == asked), None)


def booked(price_list: Price, usage: Usage) -> int:
    """Return what is booked for a call: the upstream's own charge if it reports one, else the cost of its tokens."""
    if usage.charged is not None and price_list.own_charge:
        return usage.charged
    return cost_at(price_list, usage)


def _alone(price: Price) -> Price:
    if price.tiers or price.bounds is not None or price.usual_tier is not None:
        return replace(price, tiers=(), bounds=None, usual_tier=None)
    return price


def _merged(prices: Sequence[Price]) -> Price:
    rates: dict[str, Any] = {
        name: max((rate for p in prices if (rate := getattr(p, name)) is not None), default=None)
        for name in RATES
    }
    return Price(request=max(p.request for p in prices), source=prices[0].source, **rates)


def _steps(price: Price) -> list[int]:
    if price.long is None or price.long_above is None:
        return []
    return [price.long_above, *_steps(price.long)]
