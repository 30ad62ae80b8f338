"""The records that the readers of a request share."""

from dataclasses import dataclass
from typing import Any

MOST_CHECKS = 12
MOST_PROBES = 20
LONGEST = 2000
"""The most characters of one example."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call: values by position and by name."""

    given: tuple[Any, ...] = ()
    named: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """What a request says of one call.

    Attributes:
        arguments: the arguments, or `None` if they are not literals.
        check: an assertion that a correct program passes, or "" if the request states no readable outcome.
    """

    arguments: Arguments | None
    check: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a function. `annotation` is source text, or "" if there is none."""

    name: str
    annotation: str = ""
    optional: bool = False
    by_name: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The function that a request asks for.

    Attributes:
        name: its name, or "" if the request does not name it.
        parameters: its parameters in order, or `None` if the request does not show them.
        at: the offset of its `def` in the request, or -1 if there is none.
        adapted: True if a program has to be searched for it: a method, a coroutine, or a function without a name.
    """

    name: str
    parameters: tuple[Parameter, ...] | None = None
    at: int = -1
    adapted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """The specification of a Python function in a request.

    Attributes:
        entry: the name by which checks and probes call the function.
        before: the source before the function in the request (imports, helpers).
        opened: the unfinished source in the request, to which a body-only answer is appended.
        after: the source that finds the function in a program and gives it the name `entry`.
        checks: assertions that a correct program passes.
        probes: calls by which programs are compared. Those of the request's examples come first.
        streams: what a program reads and prints, for answers that are programs and no functions.
    """

    entry: str
    before: str
    opened: str
    after: str
    checks: tuple[str, ...]
    probes: tuple[str, ...]
    streams: tuple[tuple[str, str], ...] = ()
