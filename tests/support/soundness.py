"""One random request under a random budget: what the proxy would send, against the bill for it."""

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Literal, cast

from proxy.backends.output_limit import OutputLimitName
from proxy.config.schema import LargeModel, Upstream
from proxy.errors import ApiError
from proxy.formats.base import Format
from proxy.formats.chat import Chat
from proxy.formats.completions import Completions
from proxy.formats.embeddings import Embeddings
from proxy.formats.responses import Responses
from proxy.pricing.bounds import LONGEST_CONTEXT
from proxy.pricing.prices import Price, Usage, cost, output_that_fits, scaled, worst_case
from proxy.pricing.tiers import with_bounds
from proxy.spending.budget import Budget
from proxy.spending.limits import call_limits
from proxy.spending.paid import Spending
from tests.support.billing import Bill, Json, Rates, bill
from tests.support.random_requests import PATHS, request

FORMATS: dict[str, Format] = {f.path: f for f in (Chat(), Responses(), Completions(), Embeddings())}
DEFAULT_OUTPUT = 16_384


def usd(amount: str) -> int:
    """Return USD per million tokens as nano-USD."""
    return int(Decimal(amount) * 10**9)


def at_tiers(price: Price) -> Price:
    """Return a price with tiers that cost twice as much."""
    twice = scaled(price, Fraction(2))
    return with_bounds(replace(price, tiers=(("priority", twice), ("fast", twice))))


VENDORS: dict[str, tuple[Price, Rates]] = {
    "gpt-4o": (Price(input=usd("2.5"), output=usd("10")), Rates(Decimal("2.5"), Decimal(10))),
    "gpt-4o-audio-preview": (
        Price(input=usd("2.5"), output=usd("10"), audio_input=usd("40"), audio_output=usd("80")),
        Rates(Decimal("2.5"), Decimal(10), Decimal(40), Decimal(80)),
    ),
    "gpt-5.6-sol": (
        Price(
            input=usd("4"), output=usd("20"), cache_write=usd("5"), long_above=272_000,
            long=Price(input=usd("8"), output=usd("30"), cache_write=usd("10")),
        ),
        Rates(
            Decimal(4), Decimal(20), cache_write=Decimal(5), long_above=272_000,
            long_factor=(Decimal(2), Decimal("1.5")),
        ),
    ),
    "gpt-5.4": (
        at_tiers(Price(input=usd("4"), output=usd("20"), cache_write=usd("5"), cache_write_1h=usd("8"))),
        Rates(Decimal(4), Decimal(20), cache_write=Decimal(5), project="priority"),
    ),
    "model-of-tomorrow": (
        Price(input=usd("3"), output=usd("15"), cache_write=usd("3.75")),
        Rates(Decimal(3), Decimal(15), cache_write=Decimal("3.75"), bytes_as_tokens=True),
    ),
}  # fmt: skip
"""Models with their prices in the config, and with the rates of their vendors."""


@dataclass(frozen=True)
class Outcome:
    """What became of one request. Amounts are nano-USD."""

    path: str
    body: Json
    end: Literal["invalid", "refused", "no budget", "paid"]
    why: str = ""
    budget: int = 0
    reserved: int = 0
    billed: int = 0
    booked: int = 0


async def trial(rnd: Random) -> Outcome:
    """Return the outcome of a random request."""
    path = rnd.choice(PATHS)
    return await outcome(path, request(rnd, path), rnd.choice(list(VENDORS)), int(10 ** rnd.uniform(5, 12)))


async def outcome(path: str, body: Json, model: str, budget: int) -> Outcome:
    """Return the outcome of a request for a model with a budget in nano-USD."""
    format_, (price, rates) = FORMATS[path], VENDORS[model]
    asked = {"model": model, **body}
    # As for a response that the proxy has not seen.
    context = LONGEST_CONTEXT if path == "/responses" and body.get("previous_response_id") else 0
    try:
        format_.check(asked)
        limits = await call_limits(
            _spending(model), LargeModel(model, "", model), format_, asked,
            default_output=DEFAULT_OUTPUT, context_tokens=context,
        )  # fmt: skip
    except ApiError as e:
        return Outcome(path, body, "refused" if e.code == "unbounded_cost" else "invalid", str(e.param))
    bound = price.bound(limits.tier)
    most, least = (worst_case(bound, limits.prompt, output) for output in (limits.asked, limits.least))
    if least > budget:
        return Outcome(path, body, "no budget")
    reserved = min(most, budget)
    fits = output_that_fits(bound, limits.prompt, reserved)
    output = limits.asked if fits is None else min(limits.asked, fits)
    sent = format_.upstream_body(limits.within(asked, output))
    billed = bill(path, dict(OutputLimitName(Upstream()).applied(path, sent)), rates)
    return Outcome(path, body, "paid", "", budget, reserved, billed.nano, cost(price, reported(billed)))


class _Limited:
    """A budget that applies. Its amount is compared by `outcome`."""

    limited = True


def _spending(model: str) -> Spending:
    return Spending(
        prices={model: VENDORS[model][0]}, upstreams={}, budget=cast("Budget", _Limited()), request_id="req_1",
        key_id=None, deadline=0,
    )  # fmt: skip


def reported(billed: Bill) -> Usage:
    """Return the usage that the vendor reports with a bill."""
    return Usage(
        prompt_tokens=billed.prompt,
        completion_tokens=billed.output,
        audio_prompt_tokens=billed.audio_in,
        audio_completion_tokens=billed.audio_out,
        cache_write_tokens=billed.written,
        cache_write_1h_tokens=billed.written if billed.for_an_hour else 0,
        tier=billed.tier,
    )
