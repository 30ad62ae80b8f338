"""Mathematics: do the samples arrive at equivalent final answers?"""

import asyncio
import re
from collections.abc import Sequence

from proxy.cascade.confidence.canonical import short
from proxy.cascade.confidence.quantities import normalised, quantity
from proxy.cascade.confidence.stated import boxed, results
from proxy.cascade.confidence.values import QUICKLY_READ, last_number
from proxy.cascade.confidence.vote_share import VoteShare
from proxy.cascade.confidence.votes import cut_off
from proxy.cascade.confidence.worker import Worker
from proxy.cascade.types import Sample, Task

_LONGEST_COMPARED = 80  # `short` keeps labels of this length
_MOST_STATED = 12
# A tower of powers or a factorial can occupy the algebra for ever, so it is compared as text.
_ENDLESS = re.compile(r"\^\s*+\{?+[^{}^]*+\^|\^\s*+\{?+\s*+\d{5}|\d{3}\s*!|\\sum|\\prod|\\int")

_COMMAND = re.compile(r"\\[A-Za-z]+")

ALGEBRA = Worker("equal")


class MathEstimator(VoteShare):
    """Confidence = share of the largest group of equivalent final answers."""

    default_thresholds = (0.75, 0.75)

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return the group with an equivalent result, else a new one, or `None` if the sample states no single one."""
        result = None if cut_off(sample) else await stated_result(sample.text)
        if result is None:
            return None
        label = short(result)
        if label in groups:
            return label
        for group in groups:
            if await equivalent(label, group):
                return group
        return label


async def stated_result(text: str) -> str | None:
    """Return the normalised result that a text states, or `None` if it states none, or several that differ."""
    written = results(text) if len(text) <= QUICKLY_READ else await asyncio.to_thread(results, text)
    found = list(dict.fromkeys(filter(None, map(normalised, written))))
    if not found or len(found) > _MOST_STATED:
        return None
    for other in found[1:]:
        if not await equivalent(found[0], other):
            return None
    return found[0]


async def equivalent(one: str, other: str) -> bool:
    """Return True if two normalised answers are the same quantity or expression."""
    if one == other:
        return True
    a, b = quantity(one), quantity(other)
    if a is not None and b is not None:
        return a == b
    if max(len(one), len(other)) > _LONGEST_COMPARED or _ENDLESS.search(one) or _ENDLESS.search(other):
        return False
    if one.isalpha() and other.isalpha():
        return one.casefold() == other.casefold()
    if _is_claim(one) or _is_claim(other):
        return False
    return await ALGEBRA.ask(min(one, other), max(one, other)) is True


def _is_claim(answer: str) -> bool:
    """Return True for a calculation with its result. Wrong ones are equal to algebra, because all are false."""
    return "=" in answer and not re.search(r"[A-Za-z]", _COMMAND.sub("", answer))


def likely_answer(text: str) -> str | None:
    """Return the normalised result that a text most likely means: the last box, statement or number.

    It is for graders, who compare it with the right result. A vote needs `stated_result`.
    """
    guesses = (*reversed(boxed(text)), *reversed(results(text)), last_number(text) or "")
    return next(filter(None, map(normalised, guesses)), None)
