"""Mathematics by programs: what a program's value is, which votes it joins, and how sure agreement makes."""

import ast
import asyncio
import math
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.cascade.confidence.calculation import calculated, computes, written
from proxy.cascade.confidence.computed import ComputedEstimator, confidence, is_program, label_of
from proxy.cascade.confidence.mathematics import equivalent
from proxy.cascade.confidence.quantities import normalised
from proxy.cascade.confidence.votes import reaches
from proxy.cascade.types import Ballot, Sample, Task, TaskKind
from proxy.pricing.prices import Usage
from proxy.sandbox import Sandbox

TASK = Task(TaskKind.MATH, {}, "")
ESTIMATOR = ComputedEstimator(Sandbox())
FORM = st.sampled_from(["a", "b", "c", None])


def said(index, text, finish="stop"):
    message = {"role": "assistant", "content": text}
    return Sample(index=index, message=message, finish_reason=finish, logprob=-0.1, usage=Usage())


def voted(*texts, finish="stop"):
    """Return the votes of programs, in turn, that begin with these texts."""

    async def votes():
        found = []
        for text in texts:
            known = tuple(dict.fromkeys(v for v in found if v))
            found.append(await ESTIMATOR.vote(TASK, said(1, text, finish), known))
        return found

    return asyncio.run(votes())


def body(lines):
    return "```python\n" + lines + "\n```"


def returns(expression):
    return body(f"def solve():\n    n = 1\n    return ({expression}) if n * 2 else None")


VALUES = [
    ("16 - 3 - 4", "9"),
    ("0.1 + 0.2", "0.3"),
    ("100 / 3", "100/3"),
    ("2.0 * 9", "18"),
    ("__import__('fractions').Fraction(14, 3)", "14/3"),
    ("__import__('decimal').Decimal('4.50')", "4.5"),
    ("2 ** 0.5", "1.41421356237"),
    ("-0.0", "0"),
    ("10 ** 20", "1" + 20 * "0"),
    ("1e22", "1" + 22 * "0"),
    ("(3, 1 / 2)", "(3,0.5)"),
    ("[1, 234]", r"\{1,234\}"),
    ("{2, 1}", r"\{1,2\}"),
    ("[7]", "7"),
    ("3 + 4j", "3+4i"),
    ("'18.00'", "18.00"),
    ("f'{7}/{2}'", "7/2"),
    ("'2*x**2'", "2*x^2"),
    ("n == 1", "True"),
]


@pytest.mark.parametrize(("expression", "label"), VALUES)
def test_values_become_labels(expression, label):
    """Each type of result is written as an answer in words states it."""
    assert voted(returns(expression)) == [label]


NO_RESULT = [
    "None", "float('nan')", "math.inf", "1 / 0", "10 ** 5000", "{'a': 1}", "object()", "lambda: 3", "[]", "''", "(1, None)",
    "[[1] * 30] * 30", "'the answer is about forty two'", "(x for x in 'ab')", "b'7'", "1e-9 * math.pi", "input()", "exit()",
    "[1] * 10**9", "sum(range(10**10))", "__import__('sympy').pi", "open('/etc/passwd').read()",
]  # fmt: skip


def test_no_result_is_no_vote():
    """Errors, endless programs, and values that are no result of mathematics join no group."""
    assert voted(*(returns(expression) for expression in NO_RESULT)) == [None] * len(NO_RESULT)


CONSTANTS = [
    "def solve():\n    return 42",
    "def solve():\n    result = 42.0\n    return result",
    "def solve():\n    return -42",
    "def solve():\n    return 3 / 4",
    "def solve():\n    return 1 + 2j",
    "from fractions import Fraction\ndef solve():\n    return Fraction(3, 4)",
    "import math\ndef solve():\n    return (1, '2')\nprint(solve())",
    "def helper():\n    return 42\ndef solve():\n    return helper()",
    "def solve():\n    return round(float('42'))",
    "def solve():\n    # 6 * 7\n    return 42",
]


@pytest.mark.parametrize("source", CONSTANTS)
def test_constants_are_no_votes(source):
    """A program that only writes a value has computed nothing."""
    assert not computes(ast.parse(source))
    assert calculated(source) is None


COMPUTING = [
    "def solve():\n    eggs = 16\n    return eggs - 3",
    "def solve():\n    return 16 * 3",
    "def solve():\n    return sum([1, 2])",
    "import math\ndef solve():\n    return math.sqrt(16)",
    "def solve():\n    total = 0\n    for i in range(3):\n        total += i\n    return total",
    "def solve():\n    return [n for n in (1, 2, 3)]",
]


@pytest.mark.parametrize("source", COMPUTING)
def test_calculations_are_votes(source):
    """Arithmetic, calls and loops compute."""
    assert calculated(source) is not None


OTHER_SHAPES = [
    "def solve():\n    return 6 * 7",
    body("def solve():\n    return 6 * 7"),
    "Here it is:\n" + body("def solve():\n    return 6 * 7\n\nprint(solve())") + "\nIt prints 42.",
    body("def total_eggs():\n    return 6 * 7"),
    body("def half(x):\n    return x / 2\n\ndef answer(day=2):\n    return half(day * 42)"),
    body("import sys\nif __name__ == '__main__':\n    sys.exit(1)\ndef solve():\n    return 6 * 7"),
    body("def solve():\n    print(6 * 7)"),
    body(
        "def solve():\n    return 6 * 7\n\ndef check():\n    assert solve() == 43\n\ncheck()\nraise ValueError"
    ),
    "~~~\n" + body("def solve() -> int:\n    '''Count.'''\n    return 6 * 7"),
]


def test_programs_in_any_shape():
    """With or without fences, prose, prints, and under another name."""
    assert voted(*OTHER_SHAPES) == ["42"] * len(OTHER_SHAPES)


NO_PROGRAM = [
    "The answer is \\boxed{42}.", "", "42", "```js\nfunction solve() { return 6 * 7 }\n```", body("x = 6 * 7"),
    body("def solve(n):\n    return n * 2"), body("def solve():\n    return 6 *"), body("def solve():\n    print(6 * 7, '\\n')\n    print(7)"),
    body("async def solve():\n    return 6 * 7"), body("solve = 6 * 7"), "(" * 5000, body("def f():\n  " + "-" * 9000 + "1"),
]  # fmt: skip


def test_no_program_no_vote():
    """A sample that is asked for a program votes with its program alone."""
    assert voted(*NO_PROGRAM) == [None] * len(NO_PROGRAM)


CUT = body("def solve():\n    total = 6 * 7\n    return total")


def test_cut_programs_never_vote():
    """Wherever a sample was cut off, it has the vote of the complete program or none."""
    assert voted(*(CUT[:end] for end in range(len(CUT) - 2)), finish="length") == [None] * (len(CUT) - 2)
    assert (
        voted(CUT, CUT + "\nIt retur", CUT + "\n```python\ndef solve():\n    re", finish="length")
        == ["42"] * 3
    )


def test_texts_and_programs_agree():
    """One result in words and in a program is one vote, whatever it is written like."""

    async def groups():
        for text, expression in (
            ("\\boxed{\\frac{14}{3}}", "14 / 3"),
            ("\\boxed{\\$1,234.50}", "1234.5"),
            ("\\boxed{(3, \\frac{\\pi}{2})}", "(3, __import__('math').pi / 2)"),
            ("\\boxed{3\\sqrt{2}}", "18 ** 0.5"),
            ("\\boxed{1, 2}", "{2, 1}"),
            ("\\boxed{2x^2 + 1}", "'1 + 2*x**2'"),
        ):
            first = await ESTIMATOR.vote(TASK, said(0, text), ())
            assert await ESTIMATOR.vote(TASK, said(1, returns(expression)), (first,)) == first

    asyncio.run(groups())


NUMBERS = (
    st.integers(-(10**18), 10**18)
    | st.fractions(max_denominator=500)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3)
)


def differ(one, other):
    """Return True if two numbers differ by more than floats are rounded by."""
    a, b = Fraction(one), Fraction(other)
    return abs(a - b) > abs(max(a, b, key=abs)) * Fraction(1, 10**11)


@settings(max_examples=50, deadline=None)  # algebra in another process
@given(NUMBERS, NUMBERS)
def test_different_numbers_never_join(one, other):
    """Whatever their types: two values are one vote only if they are equal but for the rounding of floats."""
    labels = [normalised(text) for value in (one, other) if (text := written(value)) is not None]
    if len(labels) == 2 and max(map(len, labels)) <= 80 and differ(one, other):
        assert not asyncio.run(equivalent(*labels))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(-2000, 2000), min_size=1, max_size=3), min_size=2, max_size=2))
def test_different_sets_never_join(pair):
    """Lists of results are one vote only if they hold the same numbers, such as 1 and 234, and not 1234."""
    one, other = map(written, pair)
    if set(pair[0]) != set(pair[1]):
        assert not asyncio.run(equivalent(normalised(one), normalised(other)))


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.fractions())
def test_values_keep_their_size(value):
    """The text of a number is its value but for the rounding of floats."""
    text = written(value)
    if text is not None:
        assert not differ(Fraction(text), value)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9))
def test_decimals_are_exact(value):
    """A decimal number keeps all of its digits."""
    assert Decimal(written(value)) == value


@given(st.text() | st.sampled_from(["'7'", "7", "None", "['7']", "'" + "(" * 500 + "'"]))
def test_forged_reports_are_votes_at_most(outcome):
    """Whatever a program reports in place of its value is one label or none."""
    label = label_of(outcome)
    assert label is None or (isinstance(label, str) and label)


def test_agreement_across_forms():
    """Agreement of texts alone, or of programs alone, counts half."""
    assert [confidence(members, 4) for members in ([0, 1], [0, 2], [1, 3], [0, 1, 2], [0, 1, 2, 3], [0], [])] == [
        0.5, 0.25, 0.25, 0.75, 1.0, 0.125, 0.0,
    ]  # fmt: skip


@st.composite
def ballots(draw):
    votes = draw(st.lists(FORM, min_size=1, max_size=7))
    order = draw(st.permutations(range(len(votes))))
    return Ballot(tuple(said(i, "") for i in order), tuple(votes[i] for i in order))


@given(ballots(), st.integers(0, 4), st.floats(0, 1), st.booleans())
def test_wanted_is_exact(ballot, more, threshold, inclusive):
    """As many samples are wanted as end the ballot if all of them join the leading group, and none if none can."""
    total = len(ballot.samples) + more
    counts = Counter(ballot.votes)
    wanted = ESTIMATOR.wanted(ballot, total, threshold, inclusive=inclusive)
    assert 0 <= wanted <= more
    winner = ESTIMATOR.standing(ballot, total).winner
    votes = dict(zip((s.index for s in ballot.samples), ballot.votes, strict=True))
    label = (votes[winner.index] if winner else None) or "fresh"
    assert label == "fresh" or counts[label]

    def ended(count):
        missing = [i for i in range(total) if i not in votes][:count]
        agreed = Ballot(
            ballot.samples + tuple(said(i, "") for i in missing), (*ballot.votes, *[label] * len(missing))
        )
        end = ESTIMATOR.standing(agreed, total)
        voted = end.winner is not None and any(agreed.votes)
        return voted and end.fixed and reaches(end.low, threshold, inclusive=inclusive)

    enough = [count for count in range(more + 1) if ended(count)]
    assert wanted == (enough[0] if enough else 0)


@given(ballots())
def test_texts_are_returned(ballot):
    """If the leading group has a text, the client gets it, even if a program is likelier."""
    winner = ESTIMATOR.standing(ballot, len(ballot.samples)).winner
    groups = ballot.groups()
    if winner is None:
        assert not any(not is_program(s.index) for s in ballot.samples)
    elif is_program(winner.index):
        group = next(g for g in groups.values() if winner in g)
        assert all(is_program(s.index) for s in group)


def test_math_names_are_not_forged():
    """Python's `e` and `pi` are numbers, and no letters of a formula."""
    assert written(math.e) == "2.71828182846"
