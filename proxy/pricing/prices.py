"""The cost of a model call: tokens of each class times unit prices, in exact integers."""

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

TOKENS_PER_RATE = 10**6
DEAREST_AUDIO = (40 * 10**9, 80 * 10**9)
"""The highest published rates of audio input and output, of gpt-4o-audio-preview. An unknown rate of audio is this."""
DEAREST_CACHE_WRITE = 2
"""The highest published price of a cache write: Anthropic charges twice the input for an hour."""
DEAREST_TIER = 2
"""OpenAI's highest factor of a faster tier. A fast tier with an unknown price costs this times the list price."""
LISTED_TIERS = frozenset({"default", "standard", "standard_only", "scale", "on_demand"})
"""Tiers at the list price. `scale` is paid for in advance."""
SLOW_TIERS = frozenset({"flex", "batch"})
"""Tiers that cost at most the list price."""
FAST_TIERS = frozenset({"priority", "fast"})

TokenClass = Literal[
    "input", "cached_input", "cache_write", "cache_write_1h", "audio_input", "image_input",
    "output", "reasoning", "audio_output", "image_output",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call, as OpenAI counts them, and what else its upstream says about the bill.

    `prompt_tokens` include `cached_tokens`, `cache_write_tokens`, and those of audio and images. `completion_tokens`
    include `reasoning_tokens`, and those of audio and images. A count that is `None` is not told apart.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    audio_prompt_tokens: int = 0
    audio_completion_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int | None = None
    """The part of `cache_write_tokens` that is kept for an hour."""
    image_prompt_tokens: int | None = None
    image_completion_tokens: int | None = None
    tier: str | None = None
    """The service tier that has served the call."""
    charged: int | None = None
    """The cost in nano-USD that the upstream reports itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Unit prices of one model, each in nano-USD per million tokens, and `request` in nano-USD per call.

    A rate that is `None` is unknown, and the property with `_rate` says what is used instead. It is never a lower rate.

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
    cache_write_1h: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    reasoning: int | None = None
    tiers: tuple[tuple[str, "Price"], ...] = ()
    """The price lists of service tiers that do not have the list price."""
    usual_tier: str | None = None
    """The tier of a call whose request and answer name none, if the config says it."""
    own_charge: bool = True
    """Whether the charge that the upstream reports is booked instead."""
    bounds: "Bounds | None" = None
    """What reservations are made at, if it is not this price list alone. See `proxy.pricing.tiers`."""

    def at(self, prompt_tokens: int) -> "Price":
        """Return the price list for a prompt of this size."""
        return self.lists(prompt_tokens)[-1]

    def lists(self, prompt_tokens: int) -> list["Price"]:
        """Return the price lists for prompts of up to this size, shortest prompts first."""
        if self.long is not None and self.long_above is not None and prompt_tokens > self.long_above:
            return [self, *self.long.lists(prompt_tokens)]
        return [self]

    def of(self, tier: str | None) -> "Price":
        """Return the price list of a service tier. `None` is the tier of a call that names none."""
        tier = tier or self.usual_tier
        if tier is None or tier in LISTED_TIERS:
            return self
        for name, price in self.tiers:
            if name == tier:
                return price
        return scaled(self, Fraction(DEAREST_TIER)) if tier in FAST_TIERS else self

    def knows(self, tier: str | None) -> bool:
        """Whether the price of a tier is known."""
        tier = tier or self.usual_tier
        listed = self.free or tier is None or tier in LISTED_TIERS
        return listed or any(name == tier for name, _ in self.tiers)

    def bound(self, tier: str | None) -> "Price":
        """Return the highest rates that can apply to a request for a tier: `None` or "auto" if it leaves that open."""
        if self.bounds is None:
            return self
        if tier is None or tier == "auto":
            return self.bounds.auto
        return self.bounds.listed if tier in LISTED_TIERS | SLOW_TIERS else self.bounds.any

    @property
    def dearest(self) -> tuple[int, int, int]:
        """The highest rates of input and of output in this list, and its fee. Unknown rates do not count."""
        inputs = (
            self.input, self.cached_input, self.cache_write, self.cache_write_1h, self.audio_input, self.image_input
        )  # fmt: skip
        outputs = (self.output, self.audio_output, self.image_output, self.reasoning)
        return max(filter(None, inputs), default=0), max(filter(None, outputs), default=0), self.request

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

    @property
    def writes_cache_for_an_hour(self) -> bool:
        """Whether the price of a cache write that is kept for an hour is known."""
        return self.free or self.cache_write_1h is not None

    def guesses(self, usage: Usage) -> bool:
        """Whether the cost of a usage rests on a rate that is not known, or on tokens that are not told apart."""
        pictures = usage.image_prompt_tokens is None and self.image_input_rate > self.input
        drawings = usage.image_completion_tokens is None and self.image_output_rate > self.output
        return (
            (usage.audio_prompt_tokens > 0 and not self.hears)
            or (usage.audio_completion_tokens > 0 and not self.speaks)
            or (usage.cache_write_tokens > 0 and not self.writes_cache)
            or ((usage.cache_write_1h_tokens or 0) > 0 and not self.writes_cache_for_an_hour)
            or (usage.prompt_tokens > 0 and pictures)
            or (usage.completion_tokens > 0 and drawings)
            or not self.knows(usage.tier)
        )

    @property
    def cached_input_rate(self) -> int:
        """The rate of input that the upstream had in its cache. If it is unknown, that of all input."""
        return _first(self.cached_input, self.input)

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

    @property
    def cache_write_1h_rate(self) -> int:
        """The rate of a cache write that is kept for an hour. If it is unknown, the highest published factor."""
        return _first(self.cache_write_1h, max(self.cache_write_rate, DEAREST_CACHE_WRITE * self.input))

    @property
    def image_input_rate(self) -> int:
        """The rate of images in the prompt. Most models have the rate of text for them."""
        return _first(self.image_input, self.input)

    @property
    def image_output_rate(self) -> int:
        """The rate of images in the answer."""
        return _first(self.image_output, self.output)

    @property
    def reasoning_rate(self) -> int:
        """The rate of reasoning. Nearly all models have the rate of text for it."""
        return _first(self.reasoning, self.output)


class Bounds(NamedTuple):
    """The highest rates of several price lists, in each class."""

    auto: Price
    """For a request that leaves the tier open."""
    listed: Price
    """For a request that asks for the list price or less."""
    any: Price
    """For all other requests."""


FREE = Price(input=0, output=0, source="free")

RATES = (
    "input", "output", "cached_input", "audio_input", "audio_output", "cache_write", "cache_write_1h",
    "image_input", "image_output", "reasoning",
)  # fmt: skip
"""The rates of tokens."""


def token_classes(rates: Price, usage: Usage) -> list[tuple[TokenClass, int, int]]:
    """Return the tokens and the rate of each class at one price list. No token is in two classes.

    Tokens of images that are not told apart from text have the higher rate of both, as all text beside them.
    """
    prompt, output = usage.prompt_tokens, usage.completion_tokens
    audio_in = min(usage.audio_prompt_tokens, prompt)
    image_in, text_rate = 0, rates.input
    if rates.image_input is not None:
        image_in = min(usage.image_prompt_tokens or 0, prompt - audio_in)
        text_rate = max(rates.input, rates.image_input) if usage.image_prompt_tokens is None else rates.input
    cached = min(usage.cached_tokens, prompt - audio_in - image_in)
    written = min(usage.cache_write_tokens, prompt - audio_in - image_in - cached)
    hour = min(usage.cache_write_1h_tokens or 0, written)
    audio_out = min(usage.audio_completion_tokens, output)
    image_out, output_rate = 0, rates.output
    if rates.image_output is not None:
        image_out = min(usage.image_completion_tokens or 0, output - audio_out)
        if usage.image_completion_tokens is None:
            output_rate = max(rates.output, rates.image_output)
    reasoning = min(usage.reasoning_tokens, output - audio_out - image_out)
    return [
        ("input", prompt - audio_in - image_in - cached - written, text_rate),
        ("cached_input", cached, rates.cached_input_rate),
        ("cache_write", written - hour, rates.cache_write_rate),
        ("cache_write_1h", hour, rates.cache_write_1h_rate),
        ("audio_input", audio_in, rates.audio_input_rate),
        ("image_input", image_in, rates.image_input_rate),
        ("output", output - audio_out - image_out - reasoning, output_rate),
        ("reasoning", reasoning, rates.reasoning_rate),
        ("audio_output", audio_out, rates.audio_output_rate),
        ("image_output", image_out, rates.image_output_rate),
    ]


def cost(price: Price, usage: Usage) -> int:
    """Return the cost of a call in nano-USD, rounded up, at the price of the tier that has served it."""
    return cost_at(price.of(usage.tier), usage)


def cost_at(price_list: Price, usage: Usage) -> int:
    """Return the cost of a call at one price list, whatever its tier."""
    rates = price_list.at(usage.prompt_tokens)
    total = sum(tokens * rate for _, tokens, rate in token_classes(rates, usage))
    return rates.request - (-total // TOKENS_PER_RATE)


def worst_case(price: Price, prompt_tokens: int, output_tokens: int) -> int:
    """Return the most that a call can cost, in nano-USD.

    Args:
        price: the unit prices. See `Price.bound` for a call whose tier is not known yet.
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


def scaled(price: Price, factor: Fraction) -> Price:
    """Return a price list with all rates of tokens times a factor, rounded up."""
    known = {name: rate for name in RATES if (rate := getattr(price, name)) is not None}
    long = None if price.long is None else scaled(price.long, factor)
    rates = {name: -(-rate * factor.numerator // factor.denominator) for name, rate in known.items()}
    return replace(price, long=long, tiers=(), bounds=None, usual_tier=None, **rates)


def per_mtok(usd: Decimal) -> int:
    """Convert USD per million tokens to nano-USD per million tokens."""
    nano = usd.scaleb(9)
    if nano != nano.to_integral_value():
        raise ValueError(f"{usd} USD has more than 9 decimals")
    return int(nano)


def _first(rate: int | None, fallback: int) -> int:
    return fallback if rate is None else rate
