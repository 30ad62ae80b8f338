"""Name the likely causes of a difference between the ledger and a vendor."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from proxy.pricing.money import format_usd
from proxy.pricing.prices import TOKENS_PER_RATE, Price, Usage, cost
from proxy.reconcile.sides import Ours, Theirs
from proxy.reconcile.usage import STANDARD

CauseName = Literal[
    "time-zone", "rounding", "not-through-proxy", "other-fees", "lost-answers", "unsettled", "not-reported", "estimated",
    "cache-writes", "cache-reads", "tier", "dated-price", "price", "unknown",
]  # fmt: skip


class Cause(msgspec.Struct, frozen=True):
    """One likely cause, in words. `amount` is the part of the difference that it explains, in nano-USD, if known."""

    name: CauseName
    text: str
    amount: int | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A day and a group of models on both sides. `vendor_cost` is `None` if neither a cost nor a price is known."""

    day: str
    model: str
    group: str
    ours: Ours
    theirs: Theirs
    vendor_cost: int | None
    priced: bool
    price: Price | None
    published: Price | None
    """The published price on that day."""

    @property
    def gap(self) -> int:
        """The vendor's amount less the ledger's, in nano-USD."""
        return (self.vendor_cost or 0) - self.ours.cost


def likely_causes(d: Difference, *, moved: bool, same_tokens: bool) -> tuple[Cause, ...]:
    """Return the causes that fit, the likeliest first.

    Args:
        d: the difference.
        moved: a day beside it has the opposite difference, or the vendor's days do not begin at midnight UTC.
        same_tokens: both sides have the same tokens, so that only the price can differ.
    """
    if moved:
        text = "the calls are on the day beside it: compare days in UTC, and calls that ran over midnight"
        return (Cause("time-zone", text),)
    if d.vendor_cost is not None and 0 < abs(d.gap) <= d.theirs.rounding + d.ours.calls:
        return (Cause("rounding", "both sides round their amounts; raise the tolerance", d.gap),)
    if not d.theirs.names:
        return _only_ours(d)
    if not d.ours.names or not d.ours.calls:
        return _only_theirs(d)
    found = [*_cache(d), *_tier(d)]
    if same_tokens and not found:
        found += _price(d)
    if not same_tokens:
        found += _tokens(d)
    return tuple(found) or (
        Cause("unknown", "no known cause fits; compare single calls with `requests list`"),
    )


def _only_ours(d: Difference) -> tuple[Cause, ...]:
    if d.ours.estimated and d.ours.estimated_cost == d.ours.cost:
        return (_estimated(d),)
    text = "the vendor reports no such calls: check its organization, project and dates, and --upstream"
    return (Cause("not-reported", text, d.gap),)


def _only_theirs(d: Difference) -> tuple[Cause, ...]:
    if d.theirs.fee:
        return (
            Cause(
                "other-fees",
                "a fee for a tool, storage or another product, which the ledger does not book",
                d.gap,
            ),
        )
    found = _unbooked(d, d.theirs.requests)
    text = "the ledger has no such calls: another program uses the same account"
    return tuple(found) or (Cause("not-through-proxy", text, d.gap),)


def _cache(d: Difference) -> list[Cause]:
    found = []
    price, vendor = d.price, d.theirs
    more = vendor.written_tokens - d.ours.written_tokens
    if vendor.used and more:
        text = f"{vendor.written_tokens} tokens were written to the cache, the ledger has {d.ours.written_tokens}"
        dearer = None if price is None or price.cache_write is None else price.cache_write - price.input
        extra = None if dearer is None else _times(more, dearer)
        if ((extra or more) > 0) == (d.gap > 0):
            found.append(Cause("cache-writes", text, extra))
    if vendor.used and vendor.cached_tokens != d.ours.cached_tokens and price is not None:
        saved = price.input - (price.input if price.cached_input is None else price.cached_input)
        extra = _times(d.ours.cached_tokens - vendor.cached_tokens, saved)
        if extra and (extra > 0) == (d.gap > 0) and 2 * abs(extra) > abs(d.gap):
            text = f"{vendor.cached_tokens} tokens were read from the cache, the ledger has {d.ours.cached_tokens}"
            found.append(Cause("cache-reads", text, extra))
    return found


def _tier(d: Difference) -> list[Cause]:
    tiers = sorted(tier for tier in d.theirs.tiers if tier != STANDARD)
    if not tiers:
        return []
    tokens = sum(d.theirs.tiers[tier] for tier in tiers)
    amount = f"{tokens} tokens" if tokens else "calls"
    return [Cause("tier", f"the vendor billed {amount} at the tier {', '.join(tiers)}")]


def _price(d: Difference) -> list[Cause]:
    if d.vendor_cost is None or d.price is None:
        return []
    booked, published = d.price, d.published
    if published is not None and (booked.input, booked.output) != (published.input, published.output):
        there = Usage(
            prompt_tokens=d.ours.prompt_tokens,
            cached_tokens=d.ours.cached_tokens,
            completion_tokens=d.ours.output_tokens,
        )
        text = (
            f"the ledger booked {_rates(booked)} USD per million tokens ({booked.source}), published for that day are "
            f"{_rates(published)}"
        )
        return [Cause("dated-price", text, cost(published, there) - cost(booked, there))]
    share = 100 * d.vendor_cost // d.ours.cost if d.ours.cost else 0
    if 45 <= share <= 55:
        return [Cause("tier", "the vendor billed half: batch or flex calls", d.gap)]
    if 140 <= share <= 260:
        return [
            Cause("tier", f"the vendor billed {share} %: priority calls, or prices of long prompts", d.gap)
        ]
    return [Cause("price", f"the tokens are equal, the vendor billed {share} % of the booked price", d.gap)]


def _tokens(d: Difference) -> list[Cause]:
    if d.gap > 0:
        requests = d.theirs.requests
        found = _unbooked(d, None if requests is None else requests - d.ours.calls)
        text = "the vendor has more tokens than the ledger: some calls did not go through the proxy"
        return found or [Cause("not-through-proxy", text)]
    if d.ours.estimated:
        return [_estimated(d)]
    text = "the vendor has fewer tokens than the ledger: its report lacks a project, or is not complete yet"
    return [Cause("not-reported", text)]


def _unbooked(d: Difference, more: int | None) -> list[Cause]:
    found = []
    if d.ours.unsettled:
        worst = format_usd(d.ours.unsettled_worst)
        text = (
            f"{d.ours.unsettled} calls are unsettled, at most {worst} USD: see `cope-proxy ledger unsettled`, "
            "and settle them at the vendor's cost"
        )
        found.append(Cause("unsettled", text))
    broken = d.ours.refused + d.ours.failed
    if broken and (more is None or 0 < more <= broken):
        text = f"{broken} calls broke off: the vendor billed answers that were lost, or that a retry asked for again"
        found.append(Cause("lost-answers", text))
    return found


def _estimated(d: Difference) -> Cause:
    text = (
        f"{d.ours.estimated} calls reported no usage and are booked at an estimate or their worst case, "
        f"{format_usd(d.ours.estimated_cost)} USD"
    )
    return Cause("estimated", text)


def _rates(price: Price) -> str:
    return f"{format_usd(price.input)}/{format_usd(price.output)}"


def _times(tokens: int, rate: int) -> int:
    return tokens * rate // TOKENS_PER_RATE
