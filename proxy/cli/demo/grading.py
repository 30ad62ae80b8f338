"""Say whether an answer of the demo is right."""

from collections.abc import Awaitable, Callable

from proxy.cascade.confidence.choice import letter
from proxy.cascade.confidence.program import program_label
from proxy.cascade.detection import options
from proxy.evals.grading import fields_accepted, names_one, same_value

Check = Callable[[str], Awaitable[bool]]
"""Returns True if the text of an answer is right."""


def fields(**accepted: str | float) -> Check:
    """Check a JSON object: each field has its value. Case and punctuation do not matter."""

    async def check(text: str) -> bool:
        return fields_accepted(text, {name: [value] for name, value in accepted.items()})

    return check


def value(number: str) -> Check:
    """Check the final result of a calculation."""

    async def check(text: str) -> bool:
        return await same_value(text, number)

    return check


def name(*accepted: str) -> Check:
    """Check that the answer contains one of the names."""

    async def check(text: str) -> bool:
        return names_one(text, accepted)

    return check


def option(right: str, question: str) -> Check:
    """Check the letter that the answer chooses."""

    async def check(text: str) -> bool:
        return letter(text, options(question) or "ABCD") == right

    return check


def program(*accepted: str) -> Check:
    """Check that a program is one of the accepted ones, up to the names of its variables. It is not run."""
    labels = {program_label(source) for source in accepted}

    async def check(text: str) -> bool:
        label = program_label(text)
        return label is not None and label in labels

    return check
