"""Both sides of a comparison, summed by day and model."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from proxy.ledger.calls_by_utc_day import CallsOfDay
from proxy.ledger.unsettled import UnsettledView
from proxy.pricing.prices import LISTED_TIERS, Price, Usage
from proxy.reconcile.usage import ALL_MODELS, STANDARD, VendorReport

Key = tuple[str, str]
"""A day and the name of a group of models."""


@dataclass(kw_only=True)
class Ours:
    """The ledger's calls of a day and a group of models. Amounts are nano-USD."""

    names: set[str] = field(default_factory=set)
    calls: int = 0
    refused: int = 0
    failed: int = 0
    estimated: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    estimated_cost: int = 0
    unsettled: int = 0
    unsettled_worst: int = 0
    prices: dict[str, set[Price]] = field(default_factory=lambda: defaultdict(set))
    """By the tier of the calls."""

    @property
    def price(self) -> Price | None:
        """The price of all calls, or `None` if there are several."""
        prices = [price for found in self.prices.values() for price in found]
        return prices[0] if len(prices) == 1 else None

    def price_of(self, tier: str) -> Price | None:
        """The price of the calls of one tier, or `None` if there are several or none."""
        found = self.prices.get(tier, set())
        return next(iter(found)) if len(found) == 1 else None


@dataclass(kw_only=True)
class Theirs:
    """The vendor's lines of a day and a group of models. Amounts are nano-USD."""

    names: set[str] = field(default_factory=set)
    used: bool = False
    """The vendor has reported tokens."""
    requests: int | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    output_tokens: int = 0
    tiers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Tokens by tier."""
    usages: dict[str, Usage] = field(default_factory=dict)
    """The tokens of each tier by their classes."""
    cost: int | None = None
    rounding: int = 0
    fee: bool = False


def our_side(
    calls: Iterable[CallsOfDay], unsettled: Iterable[UnsettledView], group: Callable[[str], str]
) -> dict[Key, Ours]:
    """Sum the ledger's calls."""
    sides: dict[Key, Ours] = defaultdict(Ours)
    for c in calls:
        side = sides[c.day, group(c.model)]
        side.names.add(c.model)
        side.calls += c.calls
        side.refused += c.refused
        side.failed += c.failed
        side.estimated += c.estimated
        side.prompt_tokens += c.prompt_tokens
        side.cached_tokens += c.cached_tokens
        side.written_tokens += c.cache_write_tokens
        side.output_tokens += c.completion_tokens
        side.cost += c.cost
        side.estimated_cost += c.estimated_cost
        if c.calls:
            tier = c.service_tier or STANDARD
            side.prices[STANDARD if tier in LISTED_TIERS else tier].add(
                Price(
                    input=c.input_rate,
                    output=c.output_rate,
                    cached_input=c.cached_input_rate,
                    source=c.price_source,
                )
            )
    for u in unsettled:
        side = sides[f"{u.created_at:%Y-%m-%d}", group(u.model)]
        side.names.add(u.model)
        side.unsettled += 1
        side.unsettled_worst += u.amount
    return sides


def their_side(report: VendorReport, group: Mapping[str, str]) -> dict[Key, Theirs]:
    """Sum the vendor's lines. Costs without a model are in the group `ALL_MODELS`."""
    sides: dict[Key, Theirs] = defaultdict(Theirs)
    for line in report.usage:
        side = sides[line.day, group[line.model]]
        side.names.add(line.model)
        side.used = True
        if line.requests is not None:
            side.requests = (side.requests or 0) + line.requests
        side.prompt_tokens += line.prompt_tokens
        side.cached_tokens += line.cached_tokens
        side.written_tokens += line.written_tokens
        side.output_tokens += line.output_tokens
        side.tiers[line.tier] += line.prompt_tokens + line.output_tokens
        before = side.usages.get(line.tier, Usage())
        side.usages[line.tier] = Usage(
            prompt_tokens=before.prompt_tokens + line.prompt_tokens,
            cached_tokens=before.cached_tokens + line.cached_tokens,
            cache_write_tokens=before.cache_write_tokens + line.written_tokens,
            completion_tokens=before.completion_tokens + line.output_tokens,
        )
    for cost in report.costs:
        side = sides[cost.day, group.get(cost.model, ALL_MODELS)]
        side.names.add(cost.model)
        side.cost = (side.cost or 0) + cost.cost
        side.rounding += cost.rounding
        side.fee |= cost.fee
        side.tiers[cost.tier] += 0
    return sides
