"""Compare the ledger with a vendor's report, by UTC day and model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec

from proxy.ledger.calls_by_utc_day import CallsOfDay
from proxy.ledger.unsettled import UnsettledView
from proxy.pricing.prices import Price, cost_at
from proxy.pricing.published import published_price
from proxy.reconcile.causes import Cause, Difference, likely_causes
from proxy.reconcile.names import groups
from proxy.reconcile.sides import Key, Ours, Theirs, our_side, their_side
from proxy.reconcile.usage import ALL_MODELS, STANDARD, VendorReport


class Tolerance(msgspec.Struct, frozen=True):
    """A difference is within it if it is at most `nano`, or at most `share` of the larger side."""

    nano: int = 10_000_000
    share: Decimal = Decimal("0.005")

    def covers(self, ours: int, theirs: int) -> bool:
        """Whether two amounts are equal enough."""
        gap = abs(ours - theirs)
        return gap <= self.nano or gap <= self.share * max(abs(ours), abs(theirs))

    def covers_tokens(self, ours: int, theirs: int) -> bool:
        """Whether two numbers of tokens are equal enough. For them only the share counts."""
        return abs(ours - theirs) <= self.share * max(ours, theirs)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One day and model. Amounts are nano-USD, and `difference` is the vendor's amount less the ledger's.

    `priced` says that the vendor's amount was computed here from its tokens, because it reported none. The amount is
    `None` if no price is known either.
    """

    day: str
    model: str
    ledger: int
    vendor: int | None
    difference: int | None
    priced: bool
    ledger_tokens: int
    vendor_tokens: int | None
    within: bool
    causes: tuple[Cause, ...] = ()


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All lines of a month, and its totals in nano-USD. `within` is false if a line or the total differs too much."""

    lines: tuple[Line, ...]
    ledger: int
    vendor: int
    within: bool


def compare(
    report: VendorReport,
    calls: Sequence[CallsOfDay],
    unsettled: Sequence[UnsettledView],
    tolerance: Tolerance,
) -> Comparison:
    """Compare the calls of a month with the report of the same month."""
    reported = {line.model for line in report.usage} | {line.model for line in report.costs}
    names = groups({c.model for c in calls} | {u.model for u in unsettled}, reported - {ALL_MODELS})
    ours = our_side(calls, unsettled, lambda model: names[model])
    theirs = their_side(report, names)
    whole_days = {key: side for key, side in theirs.items() if key[1] == ALL_MODELS}
    by_model = bool(report.usage) or not whole_days or len(whole_days) < len(theirs)
    differences: list[Difference] = []
    if by_model:
        has_costs = any(line.model != ALL_MODELS for line in report.costs)
        keys = sorted((ours.keys() | theirs.keys()) - whole_days.keys())
        differences = [_difference(key, ours, theirs, has_costs=has_costs) for key in keys]
    if whole_days:
        days = {day for day, _ in ours.keys() | theirs.keys()}
        differences += [_whole_day(day, ours, whole_days) for day in sorted(days)]
    lines = tuple(_line(d, differences, tolerance, shifted=report.shifted) for d in differences)
    counted = [line for line in lines if (line.model == _WHOLE) == bool(whole_days)]
    ledger, vendor = sum(line.ledger for line in counted), sum(line.vendor or 0 for line in counted)
    within = all(line.within for line in lines) and tolerance.covers(ledger, vendor)
    return Comparison(lines=lines, ledger=ledger, vendor=vendor, within=within)


_WHOLE = "all models"


def _difference(
    key: Key, ours: Mapping[Key, Ours], theirs: Mapping[Key, Theirs], *, has_costs: bool
) -> Difference:
    mine, vendor = ours.get(key, Ours()), theirs.get(key, Theirs())
    day, group = key
    noon = datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)
    published = next((p for name in sorted(mine.names | vendor.names) if (p := _published(name, noon))), None)
    price = mine.price or published or _price_of_month(group, ours)
    if price is not None and price.cache_write is None and published is not None:
        price = replace(price, cache_write=published.cache_write)
    amount, priced = vendor.cost, False
    if amount is None:
        if has_costs or not vendor.used:
            amount = 0
        elif price is not None:
            amount, priced = _priced(mine, vendor, price, published), True
    return Difference(
        day=day,
        model=", ".join(sorted(mine.names | vendor.names)) or group,
        group=group,
        ours=mine,
        theirs=vendor,
        vendor_cost=amount,
        priced=priced,
        price=price,
        published=published,
    )


def _published(model: str, at: datetime) -> Price | None:
    """Return the price of short prompts. The tokens of a day do not tell how long each prompt was."""
    price = published_price(model, at)
    if price is None:
        return None
    tiers = tuple((name, replace(listed, long=None, long_above=None)) for name, listed in price.tiers)
    return replace(price, long=None, long_above=None, tiers=tiers)


def _priced(mine: Ours, vendor: Theirs, price: Price, published: Price | None) -> int:
    """Return the cost of the vendor's tokens: those of each tier at the ledger's price of it, else at the published one."""
    total = 0
    for tier, usage in vendor.usages.items():
        rates = mine.price_of(tier) or (
            price if published is None or tier == STANDARD else published.of(tier)
        )
        if rates.cache_write is None and published is not None:
            rates = replace(rates, cache_write=published.of(tier).cache_write)
        total += cost_at(rates, usage)
    return total


def _price_of_month(group: str, ours: Mapping[Key, Ours]) -> Price | None:
    prices = {
        price
        for (_, name), side in ours.items()
        if name == group
        for found in side.prices.values()
        for price in found
    }
    return next(iter(prices)) if len(prices) == 1 else None


def _whole_day(day: str, ours: Mapping[Key, Ours], whole_days: Mapping[Key, Theirs]) -> Difference:
    sides = [side for key, side in ours.items() if key[0] == day]
    sums = {
        name: sum(getattr(side, name) for side in sides)
        for name in ("calls", "refused", "failed", "estimated", "cost", "estimated_cost", "unsettled", "unsettled_worst")
    }  # fmt: skip
    vendor = whole_days.get((day, ALL_MODELS), Theirs())
    return Difference(
        day=day,
        model=_WHOLE,
        group=ALL_MODELS,
        ours=Ours(**sums),
        theirs=vendor,
        vendor_cost=vendor.cost or 0,
        priced=False,
        price=None,
        published=None,
    )


def _line(d: Difference, others: Sequence[Difference], tolerance: Tolerance, *, shifted: bool) -> Line:
    mine, vendor = d.ours, d.theirs
    tokens_equal = all(
        tolerance.covers_tokens(a, b)
        for a, b in ((mine.prompt_tokens, vendor.prompt_tokens), (mine.output_tokens, vendor.output_tokens))
    )
    within = tokens_equal if d.vendor_cost is None else tolerance.covers(mine.cost, d.vendor_cost)
    causes: tuple[Cause, ...] = ()
    if not within:
        causes = likely_causes(
            d, moved=shifted or _moved(d, others, tolerance), same_tokens=vendor.used and tokens_equal
        )
    return Line(
        day=d.day,
        model=d.model,
        ledger=mine.cost,
        vendor=d.vendor_cost,
        difference=None if d.vendor_cost is None else d.vendor_cost - mine.cost,
        priced=d.priced,
        ledger_tokens=mine.prompt_tokens + mine.output_tokens,
        vendor_tokens=vendor.prompt_tokens + vendor.output_tokens if vendor.used else None,
        within=within,
        causes=causes,
    )


def _moved(d: Difference, others: Sequence[Difference], tolerance: Tolerance) -> bool:
    """Whether the day before or after has the opposite difference, so that both days together are equal."""
    today = date.fromisoformat(d.day)
    near = {f"{today + timedelta(days=shift)}" for shift in (-1, 1)}
    return any(
        o.group == d.group
        and o.day in near
        and (o.gap > 0) != (d.gap > 0)
        and not tolerance.covers(0, o.gap)
        and tolerance.covers(d.gap, -o.gap)
        for o in others
    )
