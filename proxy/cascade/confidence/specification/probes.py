"""Make calls that tell programs apart: the given arguments, values near them, and limits of their types."""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from proxy.cascade.confidence.specification.domain import Domain
from proxy.cascade.confidence.specification.literals import can_be_written
from proxy.cascade.confidence.specification.records import LONGEST, MOST_PROBES, Arguments

_GREATEST = 10**6
_LONGEST_VALUE = 60
"""The limits of what is made. Right programs of different speed have to finish alike."""


def written(entry: str, arguments: Arguments) -> str | None:
    """Return a call as source, or `None` if an argument has no literal or is too long."""
    values = (*arguments.given, *(v for _, v in arguments.named))
    return _written(entry, arguments) if all(map(can_be_written, values)) else None


def _written(entry: str, arguments: Arguments) -> str | None:
    parts = [repr(v) for v in arguments.given]
    parts += [f"{name}={value!r}" for name, value in arguments.named]
    call = f"{entry}({', '.join(parts)})"
    return call if len(call) <= LONGEST else None


def probes(entry: str, arguments: Sequence[Arguments], rng: random.Random, domain: Domain) -> Iterator[str]:
    """Yield calls with the given arguments, then with changed ones that the request allows."""
    seen: set[str] = set()
    # Half of the places are for changed ones, even if the request has many examples.
    given = [a for a in arguments if written(entry, a) is not None][: MOST_PROBES // 2]
    allowed = Domain(
        domain.least if all(Domain(domain.least, True, ()).allows(a.given) for a in given) else None,
        domain.empty or not all(Domain(None, False, ()).allows(v) for a in given for v in a.given),
        domain.numbers,
    )
    least = _least(given)
    changed = (_changed(rng.choice(given), rng, allowed, least) for _ in range(3 * MOST_PROBES) if given)
    for candidate in itertools.chain(given, changed):
        call = _written(entry, candidate)
        if call is not None and call not in seen:
            seen.add(call)
            yield call
        if len(seen) == MOST_PROBES:
            return


def _least(given: Sequence[Arguments]) -> list[int | None]:
    """Return the least number for each argument, if it is a natural number in each of several examples.

    Many right programs never end on others. Numbers in lists are left alone, because their signs often matter.
    """
    out: list[int | None] = []
    for values in zip(*([*a.given, *(v for _, v in a.named)] for a in given), strict=False):
        naturals = len(values) > 1 and all(type(v) is int and v >= 0 for v in values)
        out.append(min(1, *values) if naturals else None)
    return out


def _changed(
    arguments: Arguments, rng: random.Random, domain: Domain, least: Sequence[int | None]
) -> Arguments:
    values = [*arguments.given, *(v for _, v in arguments.named)]
    if not values:
        return arguments
    always = int(rng.random() * len(values))
    for index, value in enumerate(values):
        if index == always or rng.random() < 0.4:
            changed = _mutated(value, rng, domain)
            limit = least[index] if index < len(least) else None
            if domain.allows(changed) and (limit is None or changed >= limit):
                values[index] = changed
    count = len(arguments.given)
    names = [name for name, _ in arguments.named]
    return Arguments(tuple(values[:count]), tuple(zip(names, values[count:], strict=True)))


def _mutated(value: Any, rng: random.Random, domain: Domain) -> Any:
    """Return a value of the same type, near the given one or at a limit of its type."""
    match value:
        case bool():
            return not value
        case int():
            near = [
                value + 1,
                value - 1,
                -value,
                0,
                1,
                2,
                value * 2,
                value * 3 + 1,
                value + 10,
                abs(value) // 2,
            ]
            chosen = rng.choice([*near, *domain.numbers[:6]])
            return chosen if abs(chosen) <= max(_GREATEST, abs(value) + 10) else value
        case float():
            close = [value + 0.5, -value, 0.0, value * 2, float(round(value)), value / 3]
            return rng.choice(close) if abs(value) < _GREATEST else -value
        case str():
            return rng.choice(_strings(rng))(value)[: max(_LONGEST_VALUE, len(value))]
        case bytes():
            return rng.choice([value[::-1], value + value, b"", value[: len(value) // 2]])[:_LONGEST_VALUE]
        case list() | tuple():
            return type(value)(_resized(list(value), rng, domain))
        case set() | frozenset():
            return type(value)(_resized(sorted(value, key=repr), rng, domain))
        case dict():
            return {
                k: (_mutated(v, rng, domain) if rng.random() < 0.5 else v)
                for k, v in value.items()
                if rng.random() < 0.8
            }
        case _:
            return value


def _strings(rng: random.Random) -> list[Callable[[str], str]]:
    return [
        lambda s: s[::-1],
        lambda s: s + s,
        lambda _: "",
        str.swapcase,
        str.upper,
        lambda s: s[: len(s) // 2],
        lambda s: s[1:],
        lambda s: "".join(rng.sample(s, len(s))),
        # Brackets and digits alone stay what they are.
        lambda s: s + rng.choice(s + "abc XYZ019," if not s or any(map(str.isalpha, s)) else s),
        lambda s: s + s[:1],
        lambda s: s + s[::-1],
        lambda s: _replaced(s, rng),
    ]


def _replaced(text: str, rng: random.Random) -> str:
    if not text:
        return text
    at, source = rng.randrange(len(text)), rng.randrange(len(text))
    return text[:at] + text[source] + text[at + 1 :]


def _resized(values: list[Any], rng: random.Random, domain: Domain) -> list[Any]:
    if not values:
        return values
    match rng.randrange(9):
        case 0:
            return values[::-1]
        case 1:
            return values[: len(values) // 2]
        case 2 if len(values) <= _LONGEST_VALUE // 2:
            return values + values
        case 3:
            return rng.sample(values, len(values))
        case 4:
            return []
        case 5:
            return [*values, rng.choice(values)]
        case 6:
            return values[1:]
        case _:
            return [_mutated(v, rng, domain) if rng.random() < 0.5 else v for v in values]
