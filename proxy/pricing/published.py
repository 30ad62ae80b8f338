"""The prices that the package `genai-prices` knows, at any time."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from proxy.pricing.prices import Price, per_mtok

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

_AUDIO_RATES = {
    "gpt-4o-audio-preview": (40 * 10**9, 80 * 10**9),
    "gpt-4o-mini-audio-preview": (10 * 10**9, 20 * 10**9),
}
"""Published by OpenAI and missing in `genai-prices`: input and output, by the first part of the model's name."""
CLASSES = {
    "input": ("input_mtok",),
    "cached_input": ("cache_read_mtok",),
    "cache_write": ("cache_write_mtok", "cache_write_5m_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok",),
    "audio_input": ("input_audio_mtok", "cache_audio_read_mtok"),
    "image_input": ("input_image_mtok", "input_video_mtok", "cache_image_read_mtok"),
    "output": ("output_mtok",),
    "reasoning": ("output_reasoning_mtok",),
    "audio_output": ("output_audio_mtok",),
    "image_output": ("output_image_mtok", "output_video_mtok"),
}
"""Our classes of tokens, and the rates of each in the package. Of several rates, the highest one holds.

No usage tells how much of what the cache has read is audio. So audio has its full rate, which is never too low.
"""
_NAMED = frozenset(name for names in CLASSES.values() for name in names)
_TIER_KEYS = frozenset({"service_tier", "processing", "speed"})
"""The words of the package for a service tier. A price for another condition, such as a region, is not a tier."""


def published_price(model: str, at: datetime | None = None) -> Price | None:
    """Return the price of a model at a time, or now, with those of its service tiers. `None` if it has none."""
    info = _info(model)
    if info is None:
        return None
    at = at or datetime.now(UTC)
    price = _price(info, info.get_prices(at), model)
    if price is None:
        return None
    # Of two variants with the same name, the first one holds.
    variants = [variant.when for variant in reversed(info.price_variants or ())]
    named = {
        name: key for when in variants if len(when) == 1 for key, name in when.items() if key in _TIER_KEYS
    }
    found = ((name, _price(info, info.get_prices(at, {key: name}), model)) for name, key in named.items())
    tiers = tuple((name, listed) for name, listed in found if listed is not None)
    return replace(price, tiers=tiers) if tiers else price


def price_changes(model: str, since: datetime, until: datetime) -> list[datetime]:
    """Return the times after `since` and up to `until` at which the price of a model may change, in order."""
    info = _info(model)
    if info is None:
        return []
    dated = [*(info.prices if isinstance(info.prices, list) else ()), *(info.price_variants or ())]
    times = {at for entry in dated for at in _changes(entry.constraint, since, until)}
    return sorted(at for at in times if since < at <= until)


@cache
def published_context(model: str) -> int | None:
    """Return the longest context of a model in tokens, or None if it is not published."""
    info = _info(model)
    return None if info is None else info.context_window


def published_on(model: str) -> date | None:
    """Return the last day on which a model's published price was compared with its vendor's page.

    The snapshot has no field for the day, so the dates in its comments are used. Return `None` if there are none.
    """
    info = _info(model)
    days = re.findall(r"\b20\d\d-\d\d-\d\d\b", (info and info.price_comments) or "")
    return max((date.fromisoformat(d) for d in days), default=None)


def _info(model: str) -> "ModelInfo | None":
    # Imported here: the snapshot takes 0.4 s to load, and a config with its own prices does not need it.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    # The snapshot cannot find the vendor of OpenAI's embeddings from their names.
    vendor = "openai" if model.startswith("text-embedding") else None
    try:
        return get_snapshot().find_provider_model(model, None, vendor, None)[1]
    except LookupError:
        return None


def _changes(constraint: Any, since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the times at which a condition begins or ends to hold, and some outside the range."""
    if (start := getattr(constraint, "start_date", None)) is not None:
        yield datetime.combine(start, time(), UTC)
        return
    for name in ("start_time", "end_time"):
        if (clock := getattr(constraint, name, None)) is not None:
            clock = clock if clock.tzinfo else clock.replace(tzinfo=UTC)
            for day in range((until - since).days + 3):
                yield datetime.combine(since.date() + timedelta(days=day - 1), clock)


def _price(info: "ModelInfo", rates: "ModelPrice", model: str) -> Price | None:
    from genai_prices.types import TieredPrices  # noqa: PLC0415

    tiered = [rate for rate in vars(rates).values() if isinstance(rate, TieredPrices)]
    steps = sorted({tier.start for rate in tiered for tier in rate.tiers})
    price = _from_steps(rates, 0, steps, embeds="embed" in model)
    audio = next((rate for name, rate in _AUDIO_RATES.items() if info.id.startswith(name)), None)
    if price is None or audio is None:
        return price
    return replace(
        price,
        audio_input=audio[0] if price.audio_input is None else price.audio_input,
        audio_output=audio[1] if price.audio_output is None else price.audio_output,
    )


def _from_steps(rates: "ModelPrice", above: int, steps: list[int], *, embeds: bool) -> Price | None:
    price = _from_published(rates, above, embeds=embeds)
    if price is None or not steps:
        return price
    return replace(price, long_above=steps[0], long=_from_steps(rates, steps[0], steps[1:], embeds=embeds))


def _from_published(rates: "ModelPrice", above: int, *, embeds: bool) -> Price | None:
    def most(names: Iterable[str]) -> int | None:
        return max(
            (n for name in names if (n := _rate(getattr(rates, name, None), above)) is not None), default=None
        )

    found: dict[str, Any] = {name: most(names) for name, names in CLASSES.items()}
    inputs, outputs = found.pop("input"), found.pop("output")
    if outputs is None and embeds:
        outputs = 0  # an embedding has no output
    if inputs is None or outputs is None or rates.output_citation_mtok is not None:
        return None  # the last has fees that no field of a usage shows
    # No usage tells the tokens of other rates apart.
    others = [name for name in vars(rates) if name.endswith("_mtok") and name not in _NAMED]
    inputs = max(inputs, most(n for n in others if not n.startswith("output_")) or 0)
    outputs = max(outputs, most(n for n in others if n.startswith("output_")) or 0)
    fee = -(-(_rate(rates.requests_kcount, above) or 0) // 1000)
    return Price(input=inputs, output=outputs, request=fee, source="genai-prices", **found)


def _rate(value: Any, above: int) -> int | None:
    if value is None or isinstance(value, Decimal):
        return None if value is None else per_mtok(value)
    tiers = [tier.price for tier in value.tiers if tier.start <= above]
    return per_mtok(tiers[-1] if tiers else value.base)
