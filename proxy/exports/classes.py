"""Divide the cost of a call over its token classes, so that the parts add up to the booked cost."""

from typing import Literal, NamedTuple

from proxy.ledger.billed_calls import BilledCall
from proxy.pricing.prices import TOKENS_PER_RATE

TokenClass = Literal["input", "cached_input", "output", "reasoning", "total"]


class Part(NamedTuple):
    """The tokens of one class and their cost in nano-USD. `rate` is nano-USD per million tokens, `None` for "total"."""

    token_class: TokenClass
    tokens: int
    rate: int | None
    cost: int


def parts_of(call: BilledCall) -> list[Part]:
    """Return the parts of a call. Their costs add up to `call.cost`.

    A booked cost is rounded up once for the whole call. So each part gets its cost rounded down, and what is left goes
    to the parts with the largest fractions, one nano-USD each. Equal fractions get it in the order of the classes.

    A call with one part "total" cannot be divided: its cost does not follow from the recorded counts and rates. Cache
    writes, audio, a fee per call and a cost that the upstream reports are such cases.
    """
    cached = min(call.cached_tokens, call.prompt_tokens)
    reasoning = min(call.reasoning_tokens, call.completion_tokens)
    cached_rate = call.input_rate if call.cached_input_rate is None else call.cached_input_rate
    classes: list[tuple[TokenClass, int, int]] = [
        ("input", call.prompt_tokens - cached, call.input_rate),
        ("cached_input", cached, cached_rate),
        ("output", call.completion_tokens - reasoning, call.output_rate),
        ("reasoning", reasoning, call.output_rate),
    ]
    exact = sum(tokens * rate for _, tokens, rate in classes)
    if -(-exact // TOKENS_PER_RATE) != call.cost:
        return [Part("total", call.prompt_tokens + call.completion_tokens, None, call.cost)]
    used = [part for part in classes if part[1]]
    costs = shares([tokens * rate for _, tokens, rate in used], call.cost)
    return [Part(name, tokens, rate, cost) for (name, tokens, rate), cost in zip(used, costs, strict=True)]


def shares(amounts: list[int], total: int) -> list[int]:
    """Round amounts in millionths of a nano-USD to nano-USD so that they add up to `total`, their sum rounded up."""
    rounded = [amount // TOKENS_PER_RATE for amount in amounts]
    largest_first = sorted(range(len(amounts)), key=lambda i: (-(amounts[i] % TOKENS_PER_RATE), i))
    for i in largest_first[: total - sum(rounded)]:
        rounded[i] += 1
    return rounded
