"""Estimate whether a guideline earns its price for one request, from recent requests like it.

A guideline is paid, and saves an answer only if stage 2 then accepts (COPE, arXiv 2506.11578). So it earns its price if the
chance that stage 2 accepts, times the price of an answer, exceeds the price of the guideline and of the longer prompt of
stage 3. All three are means over recent requests of the same task kind and large model. A request counts more the more
alike it is: in the share of the samples that agreed in stage 1, and in its length. Few like requests prove little, so each
mean is shrunk to that of all recent requests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SHARE_REACH = 0.25
"""Requests whose shares of agreeing samples differ by this much say nothing about each other."""
LENGTH_REACH = math.log(8)
"""Nor do requests of which one is eight times as long as the other."""
PRIOR = 10.0
"""The mean of all recent requests counts as much as this many requests like the one in question."""
MIN_GUIDED = 40
"""With fewer recent requests with a guideline, guidelines are not judged."""
MIN_ANSWERS = 10
"""With fewer recent answers of the large model, the price of an answer is not known."""
STANDARD_ERRORS = 0.5
"""A guideline is bought if it earns its price within this part of a standard error. Else chance would skip good ones."""


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of a request before its guideline is bought.

    Attributes:
        length: the natural logarithm of the bytes of its body.
        share: the share of the samples of stage 1 that form the largest group, or `None` if it is not known yet.
    """

    length: float
    share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guided:
    """A finished request with a guideline. Amounts are nano-USD.

    Attributes:
        features: what was known before.
        accepted: True if stage 2 accepted its answer.
        price: the price of the guideline, or `None` if an earlier turn of the conversation has paid for it.
        extra: what else its stage 2 has cost, and the longer prompt of its stage 3.
    """

    features: Features
    accepted: bool
    price: int | None
    extra: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that the large model has answered: its length, and the cost of this answer without a guideline."""

    length: float
    cost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a guideline is expected to do for a request. Amounts are nano-USD.

    Attributes:
        chance: the chance that stage 2 accepts.
        error: the standard error of this chance.
        answer: the price of an answer of the large model.
        price: the price of the guideline, with stage 2 and the longer prompt of stage 3.
    """

    chance: float
    error: float
    answer: float
    price: float

    @property
    def earns(self) -> bool:
        """Whether the guideline earns its price, or may well do so as far as the evidence goes."""
        return min(1.0, self.chance + STANDARD_ERRORS * self.error) * self.answer > self.price


def length_of(size: int) -> float:
    """Return the length of a request of so many bytes, as `Features` have it."""
    return math.log(max(1, size))


def estimate(request: Features, guided: Sequence[Guided], answers: Sequence[Answered]) -> Estimate | None:
    """Estimate the value of a guideline for a request. Return `None` if there is too little evidence."""
    bought = [one for one in guided if one.price is not None]
    if len(guided) < MIN_GUIDED or len(answers) < MIN_ANSWERS or not bought:
        return None
    alike = [_likeness(request, one.features) for one in guided]
    chance = _mean(alike, [one.accepted for one in guided])
    extra = _mean(alike, [one.extra for one in guided])
    near = [_nearness(request.length, one.features.length) for one in bought]
    price = _mean(near, [one.price or 0 for one in bought])
    answer = _mean([_nearness(request.length, one.length) for one in answers], [one.cost for one in answers])
    return Estimate(
        chance=chance,
        error=_error(chance, _worth(alike)),
        answer=answer,
        # A guideline serves the later turns of its conversation too. Each of them bears a part of the price.
        price=price * len(bought) / len(guided) + extra,
    )


def _mean(weights: Sequence[float], values: Sequence[int]) -> float:
    """Return the weighted mean, shrunk to the mean of all values."""
    overall = sum(values) / len(values)
    found = sum(weight * value for weight, value in zip(weights, values, strict=True))
    return (found + PRIOR * overall) / (sum(weights) + PRIOR)


def _worth(weights: Sequence[float]) -> float:
    """Return how many observations a shrunk mean is worth."""
    total, squares = sum(weights), sum(weight * weight for weight in weights)
    return min(len(weights), PRIOR + (total * total / squares if squares else 0.0))


def _error(chance: float, seen: float) -> float:
    """Return the standard error of a chance that was seen so many times. Chances of 0 and 1 have one, too."""
    smoothed = (chance * seen + 1) / (seen + 2)
    return math.sqrt(smoothed * (1 - smoothed) / (seen + 3))


def _likeness(one: Features, other: Features) -> float:
    """Return how much one request says about the other, 0..1."""
    near = _nearness(one.length, other.length)
    if one.share is None or other.share is None:
        return near
    return near * max(0.0, 1 - abs(one.share - other.share) / SHARE_REACH)


def _nearness(length: float, other: float) -> float:
    return max(0.0, 1 - abs(length - other) / LENGTH_REACH)
