"""The cost of a model call: token counts times unit prices, in exact integers."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

TOKENS_PER_RATE = 10**6
DEAREST_AUDIO = (40 * 10**9, 80 * 10**9)
"""The highest published rates of audio input and output, of gpt-4o-audio-preview. An unknown rate of audio is this."""
DEAREST_CACHE_WRITE = 2
"""The highest published price of a cache write: Anthropic charges twice the input for an hour."""
_AUDIO_RATES = {
    "gpt-4o-audio-preview": DEAREST_AUDIO,
    "gpt-4o-mini-audio-preview": (10 * 10**9, 20 * 10**9),
}
"""Published by OpenAI and missing in `genai-prices`: input and output, by the first part of the model's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call, as OpenAI counts them.

    `prompt_tokens` include `cached_tokens`, `cache_write_tokens` and `audio_prompt_tokens`. `completion_tokens` include
    `reasoning_tokens` and `audio_completion_tokens`.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    audio_prompt_tokens: int = 0
    audio_completion_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Unit prices of one model, each in nano-USD per million tokens, and `request` in nano-USD per call.

    A rate that is None is unknown, and the property with `_rate` says what is used instead. It is never a lower rate.

    `long` is the price list of a request with more than `long_above` prompt tokens. Some vendors charge all tokens of
    such a request at another rate. `long` may have a `long` of its own.
    """

    input: int
    output: int
    cached_input: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    cache_write: int | None = None
    request: int = 0
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

    @property
    def dearest(self) -> tuple[int, int, int]:
        """The highest rates of input and of output in this list, and its fee. Unknown rates do not count."""
        inputs = max(self.input, self.cached_input or 0, self.cache_write or 0, self.audio_input or 0)
        return inputs, max(self.output, self.audio_output or 0), self.request

    @property
    def free(self) -> bool:
        """Whether text costs nothing. Then nothing else does."""
        return not (self.input or self.output or self.request)

    @property
    def hears(self) -> bool:
        """Whether the price of spoken input is known."""
        return self.free or self.audio_input is not None

    @property
    def speaks(self) -> bool:
        """Whether the price of spoken output is known."""
        return self.free or self.audio_output is not None

    @property
    def writes_cache(self) -> bool:
        """Whether the price of writing into the upstream's cache is known."""
        return self.free or self.cache_write is not None

    def guesses(self, usage: Usage) -> bool:
        """Whether the cost of a usage rests on a rate that is not known."""
        return (
            (usage.audio_prompt_tokens > 0 and not self.hears)
            or (usage.audio_completion_tokens > 0 and not self.speaks)
            or (usage.cache_write_tokens > 0 and not self.writes_cache)
        )

    @property
    def audio_input_rate(self) -> int:
        """The rate of spoken input. If it is unknown, the highest published one."""
        return _first(self.audio_input, 0 if self.free else max(self.input, DEAREST_AUDIO[0]))

    @property
    def audio_output_rate(self) -> int:
        """The rate of spoken output. If it is unknown, the highest published one."""
        return _first(self.audio_output, 0 if self.free else max(self.output, DEAREST_AUDIO[1]))

    @property
    def cache_write_rate(self) -> int:
        """The rate of input that the upstream writes into its cache. If it is unknown, the highest published factor."""
        return _first(self.cache_write, DEAREST_CACHE_WRITE * self.input)


FREE = Price(input=0, output=0, source="free")


def cost(price: Price, usage: Usage) -> int:
    """Return the cost of a call in nano-USD, rounded up.

    Cached and audio tokens are subtracted from their totals, so that no token is billed twice.
    """
    rates = price.at(usage.prompt_tokens)
    audio_in = min(usage.audio_prompt_tokens, usage.prompt_tokens)
    cached = min(usage.cached_tokens, usage.prompt_tokens - audio_in)
    written = min(usage.cache_write_tokens, usage.prompt_tokens - audio_in - cached)
    audio_out = min(usage.audio_completion_tokens, usage.completion_tokens)
    total = (
        (usage.prompt_tokens - cached - written - audio_in) * rates.input
        + written * rates.cache_write_rate
        + cached * _first(rates.cached_input, rates.input)
        + audio_in * rates.audio_input_rate
        + (usage.completion_tokens - audio_out) * rates.output
        + audio_out * rates.audio_output_rate
    )
    return rates.request - (-total // TOKENS_PER_RATE)


def worst_case(price: Price, prompt_tokens: int, output_tokens: int) -> int:
    """Return the most that a call can cost, in nano-USD.

    Args:
        price: the unit prices.
        prompt_tokens: an upper limit of the prompt, in tokens.
        output_tokens: an upper limit of all generated tokens.
    """
    inputs, outputs, fee = _dearest(price, prompt_tokens)
    return fee - (-(prompt_tokens * inputs + output_tokens * outputs) // TOKENS_PER_RATE)


def output_that_fits(price: Price, prompt_tokens: int, available: int) -> int | None:
    """Return the largest output limit, in tokens, with a worst case of at most `available` nano-USD.

    Return `None` if output is free and needs no limit. Return a negative number if not even the prompt fits.
    """
    inputs, outputs, fee = _dearest(price, prompt_tokens)
    left = (available - fee) * TOKENS_PER_RATE - prompt_tokens * inputs
    if left < 0:
        return -1
    return left // outputs if outputs else None


def _dearest(price: Price, prompt_tokens: int) -> tuple[int, int, int]:
    # A budget refuses audio and cache writes at an unknown rate (`formats/known_costs.py`), so they do not count here.
    # `prompt_tokens` is an upper limit. The real prompt may be shorter and have the prices of short prompts, or be read
    # from the cache or as audio. The worst case takes the highest of all prices that could apply.
    inputs, outputs, fee = price.dearest
    if price.long is not None and price.long_above is not None and prompt_tokens > price.long_above:
        rates = _dearest(price.long, prompt_tokens)
        return max(inputs, rates[0]), max(outputs, rates[1]), max(fee, rates[2])
    return inputs, outputs, fee


def _first(rate: int | None, fallback: int) -> int:
    return fallback if rate is None else rate


def per_mtok(usd: Decimal) -> int:
    """Convert USD per million tokens to nano-USD per million tokens."""
    nano = usd.scaleb(9)
    if nano != nano.to_integral_value():
        raise ValueError(f"{usd} USD has more than 9 decimals")
    return int(nano)


def published_price(model: str, at: datetime | None = None) -> Price | None:
    """Return the price of a model in the `genai-prices` snapshot at a time, or now. `None` if it has none."""
    # Imported here: the snapshot takes 0.4 s to load, and a config with its own prices does not need it.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415
    from genai_prices.types import TieredPrices  # noqa: PLC0415

    try:
        _, info = get_snapshot().find_provider_model(model, None, _vendor(model), None)
    except LookupError:
        return None
    rates = info.get_prices(at or datetime.now(UTC))
    tiered = [rate for rate in vars(rates).values() if isinstance(rate, TieredPrices)]
    steps = sorted({tier.start for rate in tiered for tier in rate.tiers})
    embeds = "embed" in model
    price = _from_steps(rates, 0, steps, embeds=embeds)
    audio = next((rate for name, rate in _AUDIO_RATES.items() if info.id.startswith(name)), None)
    if price is None or audio is None:
        return price
    return replace(
        price,
        audio_input=_first(price.audio_input, audio[0]),
        audio_output=_first(price.audio_output, audio[1]),
    )


@cache
def published_context(model: str) -> int | None:
    """Return the longest context of a model in tokens, or None if it is not published."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    try:
        _, info = get_snapshot().find_provider_model(model, None, _vendor(model), None)
    except LookupError:
        return None
    return info.context_window


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
    if inputs is None or outputs is None or rate("output_citation_mtok") is not None:
        return None  # the last has fees that no field of a usage shows
    per_1000_requests = rate("requests_kcount") or 0
    return Price(
        # No usage tells images from text, so both have the higher rate.
        input=max(inputs, rate("input_image_mtok") or 0, rate("input_video_mtok") or 0),
        output=max(outputs, rate("output_image_mtok") or 0, rate("output_video_mtok") or 0),
        cached_input=rate("cache_read_mtok"),
        audio_input=rate("input_audio_mtok"),
        audio_output=rate("output_audio_mtok"),
        cache_write=rate("cache_write_mtok"),
        request=-(-per_1000_requests // 1000),
        source="genai-prices",
    )
