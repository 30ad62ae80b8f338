"""The reader of requests: examples in any style are read exactly, and no text takes long."""

import ast
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.cascade.confidence.specification import asked_probes, specification
from proxy.cascade.confidence.specification.bridge import ADAPTED

NAMES = ["n", "xs", "text"]
SIMPLE = st.integers(-999, 999) | st.text("abc XYZ", max_size=6) | st.booleans()
VALUES = (
    SIMPLE | st.lists(SIMPLE, max_size=4) | st.lists(st.lists(st.integers(-9, 99), max_size=3), max_size=3)
)


def as_json(value):
    """Write a value as JSON does, with its own words for truth."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_json, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


BY_CALL = [
    "Write a Python function called foo. {call} == {out}",
    "Write a function named `foo`.\n{call} -> {out}",
    "Implement `foo({names})`:\n- `{call}` => `{out}`",
    'def foo({names}):\n    """Do it.\n    {call} → {out}\n    """\n',
    'def foo({names}):\n    """Do it.\n\n    {call} ➞ {out}\n    """\n',
    'def foo({names}):\n    """Do it.\n\n    >>> {call}\n    {out}\n    """\n',
    "{call} ⇒ {out}\n\ndef foo({names}):",
    "Write the function foo({names}) in Python. For example, {call} should return {out}.",
    "Write the function foo({names}). {call} returns {out}, because it has to.",
    "Python: foo({names}). {call} evaluates to {out}",
    "A function foo({names}).\n{call}  # returns {out}\n",
    "A function foo({names}).\nprint({call})  # {out}\n",
    "A function foo({names}).\n{call}\n# Output: {out}\n",
    "Schreibe eine Python-Funktion namens foo. {call} gibt {out} zurück.",
    "Écris une fonction nommée foo. {call} renvoie {out}.",
    "Escribe una función llamada foo. {call} devuelve {out}.",
    "写一个函数 foo({names})。{call} 返回 {out}。",
    "def test_foo():\n    assert {call} == {out}\n",
    "class TestFoo:\n    def test_it(self):\n        wanted = {out}\n        assert {call} == wanted\n",
    "Pass this: self.assertEqual({call}, {out})",
    '@pytest.mark.parametrize("{names}, expected", [({row}, {out})])\ndef test_foo({names}, expected):\n    assert foo({names})',
]
BY_INPUT = [
    "Write a function.\n\nExample 1:\nInput: {named}\nOutput: {out}\nExplanation: it is so.",
    "Write a function.\n\n**Example 1:**\n\n**Input:** {named}\n**Output:** {out}\n\n**Constraints:** none",
    "Write a function.\nInput:\n```\n{named}\n```\nOutput:\n```\n{out}\n```",
    "Write a function. Input: {named} Output: {out}",
    "class Solution:\n    def foo(self, {names}):\n\nInput: {named}\nOutput: {out}",
    "写一个函数。\n输入：{named}\n输出：{out}\n",
    "Schreibe eine Funktion.\nEingabe: {named}\nAusgabe: {out}",
    "Write a function. For {named} the output should be {out}.",
    "Write a function. Given {named}, return {out}.",
    "Write a function. If the input is {named}, the function should return {out}.",
    "Write a function. It returns {out} for {named}.",
    "Write a function.\n\n| {bars} | expected |\n|---|---|\n| {cells} | {out} |\n",
]


def read(text):
    """Return the arguments and the outcome of each check."""
    found = specification(text)
    out = []
    for check in found.checks if found else ():
        test = ast.parse(check).body[-1].test
        call = test.left
        by_name = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
        args = [ast.literal_eval(a) for a in call.args] + [by_name[n] for n in NAMES if n in by_name]
        wanted = test.comparators[0]
        if isinstance(wanted, ast.Name):
            wanted = next(n.value for n in ast.parse(check).body if isinstance(n, ast.Assign))
        out.append((args, ast.literal_eval(wanted)))
    return out


@pytest.mark.parametrize("style", BY_CALL + BY_INPUT)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=st.lists(VALUES, min_size=1, max_size=3),
    outcome=VALUES,
    write=st.sampled_from([repr, as_json]),
    by_name=st.booleans(),
)
def test_style_is_read_exactly(style, values, outcome, write, by_name):
    """An example in any style gives its own input and outcome, and no other."""
    names = NAMES[: len(values)]
    write = repr if ">>>" in style or "assert" in style or "parametrize" in style else write
    written = list(map(write, values))
    pairs = [f"{n} = {v}" for n, v in zip(names, written, strict=True)]
    text = style.format(
        call=f"foo({', '.join(p.replace(' = ', '=') for p in pairs) if by_name else ', '.join(written)})",
        out=write(outcome),
        names=", ".join(names),
        named=", ".join(pairs),
        row=", ".join(written),
        bars=" | ".join(names),
        cells=" | ".join(written),
    )
    assert read(text) == [(values, outcome)]
    assert specification(text).entry == (ADAPTED if style in BY_INPUT else "foo")


@pytest.mark.parametrize(
    "said",
    [
        "foo(2) returns 4 instead of 5",
        "foo(2) currently returns 4",
        "foo(2) != 4",
        "foo(2) >= 4",
        "foo(2) returns 4 or 5",
        "foo(2) returns 4 elements",
        "foo(2) -> 4 + x",
        "foo(2) should not return 4",
        "foo(2) is wrong",
        "foo(2) == foo(4)",
        "foo(x) == 4",
    ],
)
def test_doubtful_examples_check_nothing(said):
    """A wrong outcome is reported, ruled out, or only begun: no program has to return it."""
    assert read(f"Fix this Python function.\n{said}\n\ndef foo(x):\n    return x\n") == []


def test_helper_is_not_the_function():
    """A function that a sentence only mentions is not the one that is asked for."""
    text = "Write a function. Two numbers fit if `gcd(a, b) > 1`.\nInput: xs = [2, 4]\nOutput: true"
    assert read(text) == [([[2, 4]], True)]
    assert specification(text).entry == ADAPTED


def test_several_right_answers():
    """If any order will do, the example is an input without an outcome."""
    found = specification("Write a function. Return them in any order.\nInput: [1, 2]\nOutput: [2, 1]")
    assert found is not None
    assert not found.checks
    assert found.probes[0] == f"{ADAPTED}([1, 2])"


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("def f(words: List[str], k: Optional[int] = None) -> Dict[str, int]:", (list,)),
        ("def f(pair: tuple[int, str], *, flag: bool):", (tuple,)),
        ("def f(n, text):", (int, str)),
        ("def f(q):\n    '''Args:\n        q (list of strings): the words\n    '''", (list,)),
        ("Write a Python function that takes a list of integers and a string.", (list, str)),
        ("Write a Python function to add two numbers, given two integers.", (int, int)),
        ("Write a Python function to sum it.\n\n[3, 1, 2]", (list,)),
        ("Write a Python function for this.\na = 1, b = 'x'", (int, str)),
    ],
)
def test_inputs_from_types(text, arguments):
    """Types, names of parameters, the docstring and the text give inputs if no example does."""
    found = specification(text)
    assert found is not None
    assert len(found.probes) > 3
    for probe in found.probes:
        call = ast.parse(probe, mode="eval").body
        assert all(isinstance(ast.literal_eval(a), t) for a, t in zip(call.args, arguments, strict=True))


def test_probes_stay_in_domain():
    """Limits that a text states hold for every input that is made."""
    text = "def f(n: int, xs: List[int]):\n    '''n is a positive integer, xs is non-empty.'''"
    for probe in specification(text).probes:
        n, xs = (ast.literal_eval(a) for a in ast.parse(probe, mode="eval").body.args)
        assert n > 0
        assert xs


PIECES = [
    "def f(",
    "x: int",
    "):",
    "\n",
    ">>> ",
    "f(",
    ")",
    "assert ",
    "==",
    "'''",
    "1",
    "->",
    "Input: ",
    "Output: ",
]
PIECES += [
    "x = ",
    "[",
    "]",
    "{",
    "returns ",
    "for ",
    "given ",
    "class A:",
    "    ",
    "parametrize(",
    "`",
    "\0",
    "|",
]


@given(st.text(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@settings(deadline=None)
def test_any_text_is_read(text):
    """Whatever a client sends, it is a specification or none, and the same one each time."""
    found = specification(text)
    assert found == specification(text)
    if found is not None:
        asked_probes(found, text)


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "f(",
            "f(1)x=",
            " a,\n",
            "f(1) == 1, ",
            "a\n",
            "\n",
            "assert f(1) == 1\n",
            ">>> f(1)\n1\n",
            "[",
            "(",
            "-",
        ),
        *(
            "assert f(",
            "List[",
            "Input: ",
            "Input: 1\nOutput: 1\n",
            "| a ",
            "|1|2|\n",
            "for n = 1 ",
            "x = 1, ",
            "`",
        ),
        *(
            "'",
            '"',
            "\\",
            "def g(a):\n",
            "class A:\n def f(self):\n",
            "parametrize('a, b', [(1, 2)]) ",
            "1 <= a ",
        ),
        *(
            "self.assertEqual(f(1), 2) ",
            "function ",
            "function called ",
            "takes a list of ",
            "returns 1 for 2 ",
            "\0",
        ),
        *("given [1] return 1 ", "\ud800", "#", "= ", "1 -> 1\n", "输入 ", "f(1) should the the "),
    ],
)
@pytest.mark.parametrize("size", [8_000, 400_000])
def test_no_text_takes_long(piece, size):
    """What a hostile client sends is read in bounded time, and without an error."""
    repeated = piece * (size // len(piece))
    for text in (repeated, f"def f(x):\n{repeated}", f"assert f({repeated}) == 1"):
        began = time.process_time()
        specification(text)
        assert time.process_time() - began < 2
