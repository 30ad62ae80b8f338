"""Source that finds the function in a program if its name alone does not: a method, a coroutine, or one without a name."""

import re

ADAPTED = "solution_of_request"
"""The name by which checks and probes call a function that had to be searched for."""

FOR_TEMPLATES = (
    "import bisect, collections, functools, heapq, itertools, math, random, re, string\n"
    "from typing import *\nfrom collections import *\nfrom functools import *\nfrom heapq import *\n"
    "from bisect import *\nfrom itertools import *\nfrom math import *\n"
)
"""The imports that sites with a template `class Solution` put before every program."""

_RUN = """
import contextlib, io, sys


def {adapted}(given):
    printed, sys.stdin = io.StringIO(), io.StringIO(given)
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        exec(compile({source!r}, "program.py", "exec"), {{"__name__": "__main__"}})
    return " ".join(printed.getvalue().split())
"""

_TYPING = re.compile(r"\b(?:List|Dict|Tuple|Set|Optional|Union|Any|Callable|Iterable|Iterator|Sequence)\b")

_SEARCH = """
def {adapted}(*given, **named):
    function = _function_of_request({name!r}, len(given) + len(named))
    value = function(*given, **named)
    if hasattr(value, "send") and hasattr(value, "cr_frame"):
        try:
            while True:
                value.send(None)
        except StopIteration as stop:
            return stop.value
    return value


def _function_of_request(name, count):
    def fits(function, bound):
        code = getattr(function, "__code__", None)
        if code is None:
            return False
        most = code.co_argcount + code.co_kwonlyargcount - bound
        least = code.co_argcount - len(function.__defaults__ or ()) - bound
        return least <= count <= most or bool(code.co_flags & 4)

    made = [v for v in list(globals().values()) if getattr(v, "__module__", None) == __name__]
    functions = [v for v in made if hasattr(v, "__code__") and v not in ({adapted}, _function_of_request)]
    classes = [v for v in made if isinstance(v, type)]
    if name:
        found = [v for v in functions if v.__name__ == name]
        methods = [(c, name) for c in classes if hasattr(c, name)]
    else:
        known = ("main", "test", "run_tests", "solve_and_print")
        found = [v for v in functions if v.__name__ not in known and not v.__name__.startswith(("_", "test_"))]
        found = [v for v in found if fits(v, 0)]
        methods = [(c, m) for c in classes for m in vars(c) if not m.startswith("_") and fits(vars(c)[m], 1)]
    if found:
        return found[-1]
    if len(methods) == 1 or (name and methods):
        owner, method = methods[-1]
        return getattr(owner(), method)
    raise NameError("no function")


{check}
"""


def search(name: str) -> str:
    """Return the source that finds a function, or a method, in the program before it. `name` may be "".

    It fails at once if a named function is missing.
    """
    check = f"_function_of_request({name!r}, 0)" if name else ""
    return _SEARCH.format(adapted=ADAPTED, name=name, check=check)


def reads_input(source: str) -> bool:
    """Return True if a program reads its standard input."""
    return "input(" in source or "stdin" in source


def as_function(source: str) -> str:
    """Return the source of a function that runs a program on an input and returns what it prints, word by word."""
    return _RUN.format(adapted=ADAPTED, source=source)


def varied(given: str) -> list[str]:
    """Return inputs like a given one: its last line changed, so that counts in earlier lines still hold."""
    head, newline, last = given.rstrip("\n").rpartition("\n")
    words = last.split()
    changed = [words[::-1], words[:-1] + words[:1], words[-1:] * len(words)]
    if all(re.fullmatch(r"-?[0-9]{1,9}", word) for word in words):
        changed += [[str(int(w) + 1) for w in words], [str(abs(int(w)) * 2 + 1) for w in words]]
    lines = dict.fromkeys(" ".join(c) for c in changed)
    return [f"{head}{newline}{line}\n" for line in lines if line != " ".join(words)]


def missing_imports(shown: str, *, template: bool) -> str:
    """Return the imports that a request takes for granted: those of a site, or of the types in its signature."""
    if template:
        return FOR_TEMPLATES
    return "from typing import *\n" if _TYPING.search(shown) and "import" not in shown else ""
