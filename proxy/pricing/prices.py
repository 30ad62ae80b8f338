"""The cost of a model call: token counts times unit prices, in exact integers."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

TOKENS_PER_RATE = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call, as OpenAI counts them.

    `prompt_tokens` include `cached_tokens` and `audio_prompt_tokens`. `completion_tokens` include `reasoning_tokens`
    and `audio_completion_tokens`.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    audio_prompt_tokens: int = 0
    audio_completion_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Unit prices of one model, each in nano-USD per million tokens.

    `long` is the price list of a request with more than `long_above` prompt tokens. Some vendors charge all tokens of
    such a request at another rate. `long` may have a `long` of its own.
    """

    input: int
    output: int
    cached_input: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    source: str = "config"
    long_above: int | None = None
    long: "Price | None" = None

    def at(self, prompt_tokens: int) -> "Price":
        """Return the price list for a prompt of this size."""
        return self.lists(prompt_tokens)[-1]

    def lists(self, prompt_tokens: int) -> list["Price"]:
        """Return the price lists for prompts of up to this size, shortest prompts first."""
        if self.long is not None and self.long_above is not None and prompt_tokens > self.long_above:
            return [self, *self.long.lists(prompt_tokens)]
        return [self]


FREE = Price(input=0, output=0, source="free")


def cost(price: Price, usage: Usage) -> int:
    """Return the cost of a call in nano-USD, rounded up.

    Cached and audio tokens are subtracted from their totals, so that no token is billed twice.
    """
    rates = price.at(usage.prompt_tokens)
    audio_in = min(usage.audio_prompt_tokens, usage.prompt_tokens)
    cached = min(usage.cached_tokens, usage.prompt_tokens - audio_in)
    audio_out = min(usage.audio_completion_tokens, usage.completion_tokens)
    total = (
        (usage.prompt_tokens - cached - audio_in) * rates.input
        + cached * _first(rates.cached_input, rates.input)
        + audio_in * _first(rates.audio_input, rates.input)
        + (usage.completion_tokens - audio_out) * rates.output
        + audio_out * _first(rates.audio_output, rates.output)
    )
    return -(-total // TOKENS_PER_RATE)


def worst_case(price: Price, prompt_tokens: int, output_tokens: int) -> int:
    """Return the most that a call can cost, in nano-USD.

    Args:
        price: the unit prices.
        prompt_tokens: an upper limit of the prompt, in tokens.
        output_tokens: an upper limit of all generated tokens.
    """
    inputs, outputs = _dearest(price, prompt_tokens)
    return -(-(prompt_tokens * inputs + output_tokens * outputs) // TOKENS_PER_RATE)


def output_that_fits(price: Price, prompt_tokens: int, available: int) -> int | None:
    """Return the largest output limit, in tokens, with a worst case of at most `available` nano-USD.

    Return `None` if output is free and needs no limit. Return a negative number if not even the prompt fits.
    """
    inputs, outputs = _dearest(price, prompt_tokens)
    left = available * TOKENS_PER_RATE - prompt_tokens * inputs
    if left < 0:
        return -1
    return left // outputs if outputs else None


def _dearest(price: Price, prompt_tokens: int) -> tuple[int, int]:
    # `prompt_tokens` is an upper limit. The real prompt may be shorter and have the prices of short prompts, or be read
    # from the cache or as audio. The worst case takes the highest of all prices that could apply.
    lists = price.lists(prompt_tokens)
    inputs = max(max(p.input, p.cached_input or 0, p.audio_input or 0) for p in lists)
    outputs = max(max(p.output, p.audio_output or 0) for p in lists)
    return inputs, outputs


def _first(rate: int | None, fallback: int) -> int:
    return fallback if rate is None else rate


def per_mtok(usd: Decimal) -> int:
    """Convert USD per million tokens to nano-USD per million tokens."""
    nano = usd.scaleb(9)
    if nano != nano.to_integral_value():
        raise ValueError(f"{usd} USD has more than 9 decimals")
    return int(nano)


def published_price(model: str) -> Price | None:
    """Return the price of a model in the `genai-prices` snapshot, or `None` if it has none."""
    # Imported here: the snapshot takes 0.4 s to load, and a config with its own prices does not need it.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415
    from genai_prices.types import TieredPrices  # noqa: PLC0415

    try:
        _, info = get_snapshot().find_provider_model(model, None, _vendor(model), None)
    except LookupError:
        return None
    rates = info.get_prices(datetime.now(UTC))
    tiered = [rate for rate in vars(rates).values() if isinstance(rate, TieredPrices)]
    steps = sorted({tier.start for rate in tiered for tier in rate.tiers})
    embeds = "embed" in model
    return _from_steps(rates, 0, steps, embeds=embeds)


def _from_steps(rates: "ModelPrice", above: int, steps: list[int], *, embeds: bool) -> Price | None:
    price = _from_published(rates, above, embeds=embeds)
    if price is None or not steps:
        return price
    return replace(price, long_above=steps[0], long=_from_steps(rates, steps[0], steps[1:], embeds=embeds))


def published_on(model: str) -> date | None:
    """Return the last day on which a model's published price was compared with its vendor's page.

    The snapshot has no field for the day, so the dates in its comments are used. Return `None` if there are none.
    """
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    try:
        _, info = get_snapshot().find_provider_model(model, None, _vendor(model), None)
    except LookupError:
        return None
    days = re.findall(r"\b20\d\d-\d\d-\d\d\b", info.price_comments or "")
    return max((date.fromisoformat(d) for d in days), default=None)


def _vendor(model: str) -> str | None:
    # The snapshot cannot find the vendor of OpenAI's embeddings from their names.
    return "openai" if model.startswith("text-embedding") else None


def _from_published(rates: "ModelPrice", above: int, *, embeds: bool) -> Price | None:
    def rate(key: str) -> int | None:
        value = getattr(rates, key, None)
        if value is None:
            return None
        if isinstance(value, Decimal):
            return per_mtok(value)
        tiers = [tier.price for tier in value.tiers if tier.start <= above]
        return per_mtok(tiers[-1] if tiers else value.base)

    inputs, outputs = rate("input_mtok"), rate("output_mtok")
    if outputs is None and embeds:
        outputs = 0  # an embedding has no output
    if inputs is None or outputs is None:
        return None
    return Price(
        input=inputs,
        output=outputs,
        cached_input=rate("cache_read_mtok"),
        audio_input=rate("input_audio_mtok"),
        audio_output=rate("output_audio_mtok"),
        source="genai-prices",
    )
