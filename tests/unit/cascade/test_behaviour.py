"""Code that can be run: what a request shows of it, and how samples are compared by what they do."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.confidence.behaviour import BehaviourEstimator
from proxy.cascade.confidence.specification import specification
from proxy.cascade.confidence.program import program_label
from proxy.cascade.kinds import estimator_for
from proxy.cascade.types import Ballot, Sample, Task, TaskKind
from proxy.pricing.prices import Usage
from proxy.sandbox import Sandbox

MBPP = "Write a function to add one.\nYour code should pass this test:\nassert inc([1, 2])==[2, 3]"
HUMANEVAL = '''from typing import List


def inc(values: List[int]) -> List[int]:
    """ Add one to each.
    >>> inc([1, 2])
    [2, 3]
    >>> inc([])
    []
    """
'''
SHOWN = "def double(x: int):\n    '''double(2) -> 4, double(5) => 10\n    double(0) == 0\n    '''\n"


def task(text):
    return Task(TaskKind.CODE, {}, text)


def sample(content, index=0, finish="stop"):
    return Sample(
        index=index,
        message={"role": "assistant", "content": content},
        finish_reason=finish,
        logprob=-0.1 * (index + 1),
        usage=Usage(),
    )


def vote(text, content, finish="stop"):
    estimator = BehaviourEstimator(Sandbox(), shown=True)
    return asyncio.run(estimator.vote(task(text), sample(content, finish=finish), ()))


@pytest.mark.parametrize(
    ("text", "entry", "checks"),
    [
        (MBPP, "inc", 1),
        (HUMANEVAL, "inc", 2),
        (SHOWN, "double", 3),
        ("def f(x: int) -> int:\n    '''Square.'''\n", "f", 0),
    ],
)
def test_specification_of_request(text, entry, checks):
    """Asserts, doctests and arrows are examples; annotations alone still give inputs."""
    found = specification(text)
    assert found is not None
    assert found.entry == entry
    assert len(found.checks) == checks
    assert len(found.probes) > 2


@pytest.mark.parametrize(
    "text",
    ["Write a poem.", "Write a function that adds.", "def f(x):\n    '''No idea.'''", "assert len(x) == 3"],
)
def test_nothing_to_call(text):
    """Such code is compared as text."""
    assert specification(text) is None
    assert not isinstance(estimator_for(task(text), Sandbox()), BehaviourEstimator)


@given(
    st.text(max_size=300)
    | st.lists(
        st.sampled_from(["def f(", "x", "):", "\n", ">>> ", "f(", ")", "assert ", "==", "'''", "1", "->"]),
        max_size=30,
    ).map("".join)
)
def test_any_text_is_read(text):
    """Whatever a client sends, it is a specification or none, and the same one each time."""
    assert specification(text) == specification(text)


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n" + "f(" * 4000,
        "def f(x):\n" + "f(1)x=" * 1300,
        "def f(x):\n (\n" + " a,\n" * 1900,
        "def f(x):\n" + "f(1) == 1, " * 700,
        "def f(x):\n" + "a\n" * 4000,
        "def f(x):\n    '''" + "\n" * 7000,
        "assert f(1) == 1\n" * 450,
        ">>> f(1)\n1\n" * 700 + "def f(x):\n",
        "assert f(" + "[" * 3000 + "]" * 3000 + ") == 1",
        "assert f(" + "-" * 3900 + "1) == 1",
        "def f(x: " + "List[" * 900 + "int" + "]" * 900 + "): pass",
    ],
    ids=lambda text: text[:24],
)
def test_no_text_takes_long(text):
    """What a hostile client sends is read in bounded time, and without an error."""
    began = time.process_time()
    specification(text)
    assert time.process_time() - began < 5


def test_equal_behaviour_votes_alike():
    """Different code with the same behaviour is one group; different behaviour is another."""
    one = vote(MBPP, "```python\ndef inc(v):\n    return [x + 1 for x in v]\n```")
    same = vote(
        MBPP, "```python\ndef inc(v):\n    out = []\n    for x in v: out.append(1 + x)\n    return out\n```"
    )
    other = vote(MBPP, "```python\ndef inc(v):\n    return [x + 1 for x in v] if v != v[::-1] else []\n```")
    assert one is not None
    assert one == same
    assert other is not None
    assert other != one


@pytest.mark.parametrize(
    ("asked", "right", "alike", "wrong"),
    [
        (
            "def fizz(n: int) -> None:\n    '''Print fizz or n.'''\n",
            "def fizz(n):\n    print('fizz' if n % 3 == 0 else n)",
            "def fizz(n):\n    if n % 3: print(n)\n    else: print('fizz')",
            "def fizz(n): pass",
        ),
        (
            "def rotate(nums: List[int], k: int) -> None:\n    '''Rotate in place.'''\n",
            "def rotate(nums, k):\n    k %= len(nums) or 1\n    nums[:] = nums[-k:] + nums[:-k]",
            "def rotate(nums, k):\n    for _ in range(k % (len(nums) or 1)): nums.insert(0, nums.pop())",
            "def rotate(nums, k):\n    nums = nums[-k:] + nums[:-k]",
        ),
        (
            "def odd(n: int):\n    '''Yield odd numbers from n on.'''\n",
            "def odd(n):\n    while True:\n        if n % 2: yield n\n        n += 1",
            "import itertools\ndef odd(n): return itertools.count(n if n % 2 else n + 1, 2)",
            "def odd(n):\n    while True:\n        yield n\n        n += 1",
        ),
    ],
    ids=["prints", "changes its argument", "yields without end"],
)
def test_output_and_changes_count(asked, right, alike, wrong):
    """One that prints, changes its arguments or yields is not the same as one that does nothing."""
    votes = [vote(asked, f"```python\n{source}\n```") for source in (right, alike, wrong)]
    assert votes[0] == votes[1] is not None
    assert votes[2] != votes[0]


def test_value_outranks_output():
    """A trace, or a list sorted on the way, makes no other answer."""
    asked = "def largest(values: List[int]) -> int:\n    '''Return the largest.'''\n"
    plain = "```python\ndef largest(values):\n    return max(values) if values else 0\n```"
    chatty = "```python\ndef largest(values):\n    values.sort()\n    print(values)\n    return values[-1] if values else 0\n```"
    assert vote(asked, plain) == vote(asked, chatty) is not None


def test_silent_programs_compared_as_text():
    """Values that cannot be told apart, and errors beside them, are no agreement."""
    asked = "def make(n: int):\n    '''Return a thing.'''\n"
    thing = "```python\nclass Thing:\n    def __init__(self, n): self.n = {}\ndef make(n):\n    if n < 0: raise ValueError\n    return Thing(n)\n```"
    one, other = thing.format("n"), thing.format("n + 1")
    assert vote(asked, one) == program_label(one)
    assert vote(asked, other) == program_label(other)
    assert program_label(one) != program_label(other)


@pytest.mark.parametrize(
    "content",
    [
        "```python\ndef inc(v):\n    return v\n```",
        "```python\ndef other(v):\n    return [x + 1 for x in v]\n```",
        "```python\ndef inc(v) return\n```",
        "I cannot do that.",
        "```javascript\nfunction inc(v) { return v.map(x => x + 1) }\n```",
        "",
    ],
)
def test_failed_example_has_no_vote(content):
    """So does one that names the function wrongly, does not parse, or is no Python."""
    assert vote(MBPP, content) is None


def test_body_continues_request():
    """A completion in the old style is as good as a whole function."""
    body = vote(HUMANEVAL, "    return [v + 1 for v in values]")
    assert body is not None
    assert body == vote(HUMANEVAL, "```python\ndef inc(values):\n    return [v + 1 for v in values]\n```")


def test_cut_off_program():
    """Half a program is none."""
    assert vote(MBPP, "```python\ndef inc(v):\n    return [x + 1 for x in v]\n```", finish="length") is None


def test_all_samples_fail():
    """The likeliest of them is the best local answer, should nothing else be allowed."""
    standing = BehaviourEstimator(Sandbox(), shown=True).standing(
        Ballot((sample("a"), sample("b", 1)), (None, None)), 2
    )
    assert (standing.low, standing.high) == (0.0, 0.0)
    assert standing.winner is not None
    assert standing.winner.text == "a"


@pytest.mark.parametrize(
    ("shown", "confidences"), [(True, [0.625, 0.75, 0.875, 1.0]), (False, [0.25, 0.5, 0.75, 1.0])]
)
def test_passed_examples_are_half(shown, confidences):
    """The other half is agreement; without examples there is only that."""
    estimator = BehaviourEstimator(Sandbox(), shown=shown)
    for count, expected in enumerate(confidences, start=1):
        votes = ("a",) * count + (None,) * (4 - count)
        ballot = Ballot(tuple(sample("x", i) for i in range(4)), votes)
        assert estimator.standing(ballot, 4).low == expected
        assert estimator.needed(4, expected, inclusive=True) == count
