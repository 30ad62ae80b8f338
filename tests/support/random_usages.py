"""A random call of a random model with published prices: its reservation, what is booked, and the vendor's bill for it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice
from genai_prices.types import Usage as TheirUsage

from proxy.config.prices import ROOM, resolve_prices
from proxy.config.schema import Large, Settings
from proxy.errors import ConfigError
from proxy.pricing.prices import SLOW_TIERS, Price, Usage, worst_case
from proxy.pricing.published import price_changes
from proxy.pricing.tiers import billed_list, booked, served
from tests.support.vendor_bills import nano_of_usage

LONGEST_S = 600
FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC)
ASKED = (None, None, None, "auto", "default", "flex", "priority", "fast")


@dataclass(frozen=True)
class Trial:
    """One random call. Amounts are nano-USD. `bills` are those at the price of its begin and at that of its end."""

    model: str
    asked: str | None
    usage: Usage
    reserved: int
    booked: int
    bills: tuple[int, int]
    exact: bool
    """Whether the model has no rate that the proxy has to guess, so that the larger bill is booked exactly."""

    @property
    def sound(self) -> bool:
        """Whether the reservation covers what is booked, and that covers the bill."""
        dearer = max(self.bills)
        return dearer <= self.booked <= self.reserved and (not self.exact or self.booked == dearer)


@cache
def models() -> list[str]:
    """Return the names of all models with a price. Those with several prices are there ten times."""
    found = []
    for provider in get_snapshot().providers:
        for info in provider.models:
            if "embed" not in info.id and _prices(info.id, FIRST) is not None:
                found += [info.id] * (10 if info.price_variants or isinstance(info.prices, list) else 1)
    return found


def trial(rnd: Random) -> Trial:
    """Return a random call, at a random time or near a change of its price."""
    model = rnd.choice(models())
    begin = _begin(rnd, model)
    end = begin + timedelta(seconds=rnd.uniform(0, LONGEST_S))
    first, last = _prices(model, begin), _prices(model, end)
    assert first is not None
    assert last is not None
    asked = rnd.choice(
        [tier for tier in ASKED if tier in (None, "auto", "default", "flex") or first.knows(tier)]
    )
    prompt_limit, output_limit = (round(10 ** rnd.uniform(0, 6)) for _ in range(2))
    usage = _usage(rnd, first, rnd.randint(0, prompt_limit), rnd.randint(0, output_limit))
    usage = replace(usage, tier=_tier(rnd, first, asked))
    told = served(usage, asked, first)
    assert told is not None
    context = _context(model, told.tier)
    provider_prices = [_rates(model, at, context) for at in (begin, end)]
    bills = [
        nano_of_usage(model, _theirs(usage, rates), context, at)
        for rates, at in zip(provider_prices, (begin, end), strict=True)
    ]
    return Trial(
        model=model,
        asked=asked,
        usage=usage,
        reserved=worst_case(first.bound(asked), prompt_limit, output_limit),
        booked=booked(billed_list(first, last, told), told),
        bills=(bills[0], bills[1]),
        exact=not any(
            name in vars(rates)
            for rates in provider_prices
            for name in ("input_image_mtok", "input_video_mtok", "output_image_mtok", "output_video_mtok")
        )
        and not (usage.audio_prompt_tokens or usage.audio_completion_tokens),
    )


def _begin(rnd: Random, model: str) -> datetime:
    changes = price_changes(model, FIRST, LAST)
    if changes and rnd.random() < 0.5:
        return rnd.choice(changes) - timedelta(seconds=rnd.uniform(-LONGEST_S, LONGEST_S))
    return FIRST + rnd.random() * (LAST - FIRST)


@cache
def _settings(model: str) -> Settings:
    return Settings(large=Large(model=model))


def _prices(model: str, at: datetime) -> Price | None:
    try:
        return resolve_prices(_settings(model), at, timedelta(seconds=LONGEST_S) + ROOM)[model]
    except ConfigError:
        return None


def _context(model: str, tier: str | None) -> dict[str, str]:
    """Return the condition of a tier's price in the words of the package."""
    info = get_snapshot().find_provider_model(model, None, None, None)[1]
    conditions = (variant.when for variant in info.price_variants or ())
    return next((dict(when) for when in conditions if tier in when.values()), {})


def _rates(model: str, at: datetime, context: dict[str, str]) -> ModelPrice:
    return get_snapshot().find_provider_model(model, None, None, None)[1].get_prices(at, context)


def _tier(rnd: Random, price: Price, asked: str | None) -> str | None:
    """Return a tier that a vendor may answer with."""
    known = [name for name, _ in price.tiers]
    if asked in (None, "auto"):
        return rnd.choice([None, "default", *known])
    if asked == "default":
        return "default"
    own = [asked] if asked in known else []
    return (
        rnd.choice([None, "default", *own]) if asked in SLOW_TIERS else rnd.choice([None, "default", asked])
    )


def _usage(rnd: Random, price: Price, prompt: int, output: int) -> Usage:
    """Return a usage of some classes that have a known rate."""
    read = rnd.randint(0, prompt) * rnd.randint(0, 1)
    written = rnd.randint(0, prompt - read) * rnd.randint(0, 1) if price.cache_write is not None else 0
    hour = rnd.randint(0, written) if price.cache_write_1h is not None else None
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=output,
        cached_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=rnd.choice([hour, 0 if hour is not None else None]),
        reasoning_tokens=rnd.randint(0, output),
    )
    if rnd.random() < 0.3 and (price.hears or price.speaks or price.image_input or price.image_output):
        # No vendor tells how much of what it has read from its cache is sound or pictures.
        usage = replace(
            usage, cached_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=None, reasoning_tokens=0
        )
        heard = rnd.randint(0, prompt) if price.hears else 0
        spoken = rnd.randint(0, output) if price.speaks else 0
        usage = replace(
            usage,
            audio_prompt_tokens=heard,
            audio_completion_tokens=spoken,
            image_prompt_tokens=rnd.randint(0, prompt - heard) if price.image_input is not None else None,
            image_completion_tokens=rnd.randint(0, output - spoken)
            if price.image_output is not None
            else None,
        )
    return usage


def _theirs(usage: Usage, rates: ModelPrice) -> TheirUsage:
    """Return the usage in the words of the package, with the classes that its price has."""
    hour = usage.cache_write_1h_tokens or 0
    counts: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }
    special = {
        "cache_write_1h_mtok": ("cache_write_1h_tokens", hour),
        "input_audio_mtok": ("input_audio_tokens", usage.audio_prompt_tokens),
        "output_audio_mtok": ("output_audio_tokens", usage.audio_completion_tokens),
        "input_image_mtok": ("input_image_tokens", usage.image_prompt_tokens or 0),
        "output_image_mtok": ("output_image_tokens", usage.image_completion_tokens or 0),
        "output_reasoning_mtok": ("output_reasoning_tokens", usage.reasoning_tokens),
    }
    counts |= {name: count for rate, (name, count) in special.items() if rate in vars(rates)}
    return TheirUsage(**{name: count for name, count in counts.items() if count})
