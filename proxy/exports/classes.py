"""Divide the cost of a call over its token classes, so that the parts add up to the booked cost."""

from typing import Literal, NamedTuple

from proxy.ledger.billed_calls import BilledCall
from proxy.pricing import prices as pricing
from proxy.pricing.prices import TOKENS_PER_RATE, Price, Usage

TokenClass = pricing.TokenClass | Literal["request", "total"]


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


def _classes(call: BilledCall) -> list[tuple[pricing.TokenClass, int, int]]:
    """Return tokens and rate of each class, as they were booked."""
    price = Price(
        input=call.input_rate,
        output=call.output_rate,
        cached_input=call.cached_input_rate,
        cache_write=call.cache_write_rate or 0,
        cache_write_1h=call.cache_write_1h_rate or 0,
        audio_input=call.audio_input_rate or 0,
        audio_output=call.audio_output_rate or 0,
        image_input=call.image_input_rate,
        image_output=call.image_output_rate,
        reasoning=call.reasoning_rate,
    )
    usage = Usage(
        prompt_tokens=call.prompt_tokens,
        completion_tokens=call.completion_tokens,
        cached_tokens=call.cached_tokens,
        reasoning_tokens=call.reasoning_tokens,
        audio_prompt_tokens=call.audio_prompt_tokens or 0,
        audio_completion_tokens=call.audio_completion_tokens or 0,
        cache_write_tokens=call.cache_write_tokens or 0,
        cache_write_1h_tokens=call.cache_write_1h_tokens,
        image_prompt_tokens=call.image_prompt_tokens,
        image_completion_tokens=call.image_completion_tokens,
    )
    return pricing.token_classes(price, usage)


def shares(amounts: list[int], total: int) -> list[int]:
    """Round amounts in millionths of a nano-USD to nano-USD so that they add up to `total`, their sum rounded up."""
    rounded = [amount // TOKENS_PER_RATE for amount in amounts]
    largest_first = sorted(range(len(amounts)), key=lambda i: (-(amounts[i] % TOKENS_PER_RATE), i))
    for i in largest_first[: total - sum(rounded)]:
        rounded[i] += 1
    return rounded
