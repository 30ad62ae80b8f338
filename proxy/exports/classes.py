"""Divide the cost of a call over its token classes, so that the parts add up to the booked cost."""

from typing import Literal, NamedTuple

from proxy.ledger.billed_calls import BilledCall
from proxy.pricing.prices import TOKENS_PER_RATE

TokenClass = Literal[
    "input",
    "cached_input",
    "cache_write",
    "audio_input",
    "output",
    "reasoning",
    "audio_output",
    "request",
    "total",
]


class Part(NamedTuple):
    """The tokens of one class and their cost in nano-USD. `rate` is nano-USD per million tokens, `None` for "total".

    The class "request" is the fee of a call: one request, and its rate is nano-USD.
    """

    token_class: TokenClass
    tokens: int
    rate: int | None
    cost: int


def parts_of(call: BilledCall) -> list[Part]:
    """Return the parts of a call. Their costs add up to `call.cost`.

    A booked cost is rounded up once for the whole call. So each part gets its cost rounded down, and what is left goes
    to the parts with the largest fractions, one nano-USD each. Equal fractions get it in the order of the classes.

    A call with one part "total" cannot be divided: its cost does not follow from the recorded counts and rates. That is
    a cost that the upstream reports itself, or a call of an old version with cache writes, audio or a fee.
    """
    classes = _classes(call)
    fee = call.fee or 0
    exact = sum(tokens * rate for _, tokens, rate in classes)
    if fee - (-exact // TOKENS_PER_RATE) != call.cost:
        return [Part("total", call.prompt_tokens + call.completion_tokens, None, call.cost)]
    used = [part for part in classes if part[1]]
    costs = shares([tokens * rate for _, tokens, rate in used], call.cost - fee)
    parts = [Part(name, tokens, rate, cost) for (name, tokens, rate), cost in zip(used, costs, strict=True)]
    return [*parts, Part("request", 1, fee, fee)] if fee else parts


def _classes(call: BilledCall) -> list[tuple[TokenClass, int, int]]:
    """Return tokens and rate of each class, bounded by each other as in `proxy.pricing.prices.cost`."""
    audio_in = min(call.audio_prompt_tokens or 0, call.prompt_tokens)
    cached = min(call.cached_tokens, call.prompt_tokens - audio_in)
    written = min(call.cache_write_tokens or 0, call.prompt_tokens - audio_in - cached)
    audio_out = min(call.audio_completion_tokens or 0, call.completion_tokens)
    reasoning = min(call.reasoning_tokens, call.completion_tokens - audio_out)
    cached_rate = call.input_rate if call.cached_input_rate is None else call.cached_input_rate
    return [
        ("input", call.prompt_tokens - audio_in - cached - written, call.input_rate),
        ("cached_input", cached, cached_rate),
        ("cache_write", written, call.cache_write_rate or 0),
        ("audio_input", audio_in, call.audio_input_rate or 0),
        ("output", call.completion_tokens - audio_out - reasoning, call.output_rate),
        ("reasoning", reasoning, call.output_rate),
        ("audio_output", audio_out, call.audio_output_rate or 0),
    ]


def shares(amounts: list[int], total: int) -> list[int]:
    """Round amounts in millionths of a nano-USD to nano-USD so that they add up to `total`, their sum rounded up."""
    rounded = [amount // TOKENS_PER_RATE for amount in amounts]
    largest_first = sorted(range(len(amounts)), key=lambda i: (-(amounts[i] % TOKENS_PER_RATE), i))
    for i in largest_first[: total - sum(rounded)]:
        rounded[i] += 1
    return rounded
