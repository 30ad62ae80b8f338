"""Read which inputs a request allows, so that right programs are not compared on inputs that nobody cares for."""

import itertools
import re
from dataclasses import dataclass
from typing import Any

_LEAST = re.compile(r"(?<![\w.])(-?\d{1,9}+)\s{0,2}+(<=?|≤)\s{0,2}+([A-Za-z_|][\w.\[\]|(), ]{0,40}+)")
_LENGTH = re.compile(r"len|size|count\b|\|", re.IGNORECASE)
_NOT_EMPTY = re.compile(
    r"\bnon-?\s?empty|at least one (?:element|item|character|number|word|integer)|非空", re.IGNORECASE
)
_POSITIVE = re.compile(r"\bpositive (?:integer|number|int\b|value|whole)|正整数", re.IGNORECASE)
_NOT_NEGATIVE = re.compile(r"\bnon-?\s?negative|\bnatural number|非负", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,6}+(?![\w.]*\w)")


@dataclass(frozen=True, slots=True)
class Domain:
    """The inputs that a request allows, as far as it says so.

    Attributes:
        least: the least number, or `None` if there is no limit.
        empty: False if texts and lists may not be empty.
        numbers: the first numbers of the text, at which functions often behave differently.
    """

    least: int | None
    empty: bool
    numbers: tuple[int, ...]

    def allows(self, value: Any) -> bool:
        """Return True if a value, with everything in it, is among the allowed inputs."""
        match value:
            case bool():
                return True
            case int() | float():
                return self.least is None or value >= self.least
            case str() | bytes():
                return self.empty or bool(value)
            case list() | tuple() | set() | frozenset():
                return (self.empty or bool(value)) and all(map(self.allows, value))
            case dict():
                return all(map(self.allows, value)) and all(map(self.allows, value.values()))
            case _:
                return True


def domain_of(text: str) -> Domain:
    """Return the inputs that a request allows."""
    numbers: list[int] = []
    lengths: list[int] = []
    for match in itertools.islice(_LEAST.finditer(text), 12):
        least = int(match[1]) + (match[2] == "<")
        (lengths if _LENGTH.search(match[3]) else numbers).append(least)
    if _POSITIVE.search(text):
        numbers.append(1)
    elif _NOT_NEGATIVE.search(text):
        numbers.append(0)
    seen = dict.fromkeys(int(m[0]) for m in itertools.islice(_NUMBER.finditer(text), 8))
    return Domain(
        least=min(numbers, default=None),
        empty=not (_NOT_EMPTY.search(text) or (lengths and min(lengths) > 0)),
        numbers=tuple(seen),
    )
