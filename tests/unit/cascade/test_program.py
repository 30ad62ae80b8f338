"""Programs in answers, compared as text."""

import pytest

from proxy.cascade.confidence.code import CodeEstimator
from proxy.cascade.confidence.program import program_label
from proxy.cascade.types import Ballot, Sample
from proxy.pricing.prices import Usage
from tests.unit.cascade.voting import vote


def fenced(code, language="python"):
    return f"Here:\n```{language}\n{code}\n```\nDone."


SUM = "def add(a, b):\n    total = a + b\n    return total"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("def add(x, y):\n    '''Sum.'''\n    s = x + y  # here\n    return s", True),
        (
            "from typing import Any\n\ndef add(a: int, b: int) -> int:\n    total = (a + b)\n    return total",
            True,
        ),
        ("def plus(a, b):\n    total = a + b\n    return total", False),
        ("def add(a, b):\n    total = b + a\n    return total", False),
        ("def add(a, b):\n    total = a + c\n    return total", False),
    ],
)
def test_names_and_layout(other, same):
    """Local names, docstrings, annotations and comments do not count; the function's name does."""
    assert (program_label(fenced(other)) == program_label(fenced(SUM))) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a):\n    g = lambda x: x\n    return [g(i) for i in a]", "def f(q):\n    h = lambda y: y\n    return [h(k) for k in q]"),
        ("def f(a):\n    try:\n        pass\n    except E as e:\n        print(e)", "def f(b):\n    try:\n        pass\n    except E as x:\n        print(x)"),
        ("def f(a):\n    def g():\n        nonlocal a\n        a = 1\n    g()", "def f(b):\n    def h():\n        nonlocal b\n        b = 1\n    h()"),
        ("def f(a):\n    match a:\n        case {'k': x, **r}: return x, r\n        case [y, *z]: return y, z",
         "def f(b):\n    match b:\n        case {'k': u, **v}: return u, v\n        case [w, *t]: return w, t"),
    ],
)  # fmt: skip
def test_nested_scopes(one, other):
    """Lambdas, comprehensions, handlers, patterns and inner functions are part of the renaming."""
    assert program_label(fenced(one)) == program_label(fenced(other)) is not None


def test_globals_keep_names():
    """A global variable is not local, and its name counts."""
    one, other = (f"def f():\n    global {n}\n    {n} = 1" for n in "ab")
    assert program_label(fenced(one)) != program_label(fenced(other))


def test_program_in_answer():
    """The longest Python block counts, else the whole text; broken Python and prose are no program."""
    bare = program_label(SUM)
    assert bare is not None
    assert bare.startswith("add ")
    assert program_label(fenced("x = 1") + "\n" + fenced(SUM)) == bare
    assert program_label(fenced(SUM, "")) == bare
    assert program_label(fenced("def add(:")) is None
    assert program_label(fenced("def add(:", "")) is None
    assert program_label("I cannot write that, sorry.") is None
    assert program_label("") is None
    assert program_label("    return a + b") is not None
    assert vote("code", fenced(SUM)) == bare


def test_other_languages_as_text():
    """Comments and layout do not count, strings do."""
    one = fenced('int f() { return 1; } // one\nchar *s = "a//b";', "c")
    same = fenced('/* two */ int f() {\n  return 1; }\nchar *s = "a//b";', "c")
    different = fenced('int f() { return 1; }\nchar *s = "a//c";', "c")
    assert program_label(one) == program_label(same)
    assert program_label(one) != program_label(different)


def test_code_confidence_is_blend():
    """Half the share of the group, half the mean token probability of its best sample."""
    samples = tuple(
        Sample(index=i, message={}, finish_reason="stop", logprob=0.0, usage=Usage()) for i in range(4)
    )
    standing = CodeEstimator().standing(Ballot(samples, ("a", "a", "b", None)), 4)
    assert standing.low == standing.high == 0.75
