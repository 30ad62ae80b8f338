"""Code that can be run: what a request shows of it, and how samples are compared by what they do."""

import asyncio
from dataclasses import replace

import pytest

from proxy.cascade.confidence.behaviour import BehaviourEstimator
from proxy.cascade.confidence.program import program_label
from proxy.cascade.confidence.specification import specification
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
    [
        "Write a poem.",
        "Write a JavaScript function f. f(1) === 2",
        "Write a Java method.\nInput: 2\nOutput: 4",
        "assert len(x) == 3",
        "def f():\n    '''No arguments.'''",
        "class Stack:\n    def push(self, x): ...\n    def pop(self): ...",
        "class Solution:\n    def reverse(self, head: Optional[ListNode]) -> Optional[ListNode]:",
    ],
)
def test_nothing_to_call(text):
    """Such code is compared as text."""
    assert specification(text) is None
    assert not isinstance(estimator_for(task(text), Sandbox()), BehaviourEstimator)


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


@pytest.mark.parametrize(
    ("asked", "right", "wrong"),
    [
        (
            "class Solution:\n    def add(self, a: int, b: int) -> int:\n\nInput: a = 1, b = 2\nOutput: 3",
            "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b",
            "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a * b",
        ),
        (
            "async def add(a: int, b: int) -> int:\n    '''add(1, 2) -> 3'''\n",
            "async def add(a, b):\n    return a + b",
            "async def add(a, b):\n    return a - b",
        ),
        (
            "Write a function.\nExample 1:\nInput: a = 1, b = 2\nOutput: 3",
            "def helper(a):\n    return a\n\ndef anything(x, y):\n    return helper(x) + y",
            "def anything(x, y):\n    return x",
        ),
        (
            "Sort a list in-place with a Python function.\nInput: nums = [2, 1]\nOutput: [1, 2]",
            "def sort(nums):\n    nums.sort()",
            "def sort(nums):\n    sorted(nums)",
        ),
        (
            "Write a function called add(a, *, b). add(a=1, b=2) gives 3",
            "def add(a, *, b):\n    return a + b",
            "def add(a, *, b):\n    return a",
        ),
    ],
    ids=["method", "coroutine", "no name", "in place", "by name"],
)
def test_function_is_found(asked, right, wrong):
    """Methods, coroutines, functions without a name in the request and those that change a list are run alike."""
    fenced = "```python\n{}\n```"
    assert vote(asked, fenced.format(right)) == vote(asked, fenced.format(f"# again\n{right}")) is not None
    assert vote(asked, fenced.format(wrong)) is None


def test_programs_read_and_print():
    """An answer that is no function is run on the input of each example, and its output is compared word by word."""
    asked = "Write a program.\n\nSample Input 1\n2\n3 4\n\nSample Output 1\n5\n7\n\nSample Input 2\n1\n\nSample Output 2\n1"
    right = (
        "n = int(input())\nprint(n + 3 if n == 2 else n)\nif n == 2: print(sum(map(int, input().split())))"
    )
    other = f"import sys\n\ndef main():\n    {right.replace(chr(10), chr(10) + '    ')}\n\nif __name__ == '__main__':\n    main()"
    assert vote(asked, f"```python\n{right}\n```") == vote(asked, f"```python\n{other}\n```") is not None
    assert vote(asked, "```python\nprint(int(input()) + 3)\n```") is None


def test_constant_is_no_evidence():
    """Without an example, programs that return one value for every input are compared as text."""
    lazy = "```python\ndef parity(n):\n    return False\n```"
    assert vote("def parity(n: int) -> bool:\n    '''Is it odd?'''\n", lazy) == program_label(lazy)


def test_asked_inputs_are_probes():
    """Where a request shows no arguments, programs run on the calls that the small model wrote."""

    async def written():
        return "1. `f([3, 1])`\nf([2]) -> 5\nHere: f(x)\nf([7, 7, 1])"

    asked = replace(task("def f(thing):\n    '''Sum.'''\n"), inputs=written)
    estimator = BehaviourEstimator(Sandbox(), shown=False, asks_inputs=True)
    contents = (
        "def f(t):\n    return sum(t)",
        "def f(t):\n    return sum(t, 0)",
        "def f(t):\n    return len(t)",
    )
    votes = [asyncio.run(estimator.vote(asked, sample(c), ())) for c in contents]
    assert votes[0] == votes[1] is not None
    assert votes[2] not in (None, votes[0])
    assert asyncio.run(estimator.vote(replace(asked, inputs=None), sample(contents[0]), ())) is None


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
    ("shown", "confidences"), [(True, [0.125, 0.75, 0.875, 1.0]), (False, [0.0625, 0.25, 0.5625, 1.0])]
)
def test_confidence_needs_agreement(shown, confidences):
    """Passed examples are half of it for two that agree; without examples, two of four are not enough."""
    estimator = BehaviourEstimator(Sandbox(), shown=shown)
    for count, expected in enumerate(confidences, start=1):
        votes = ("a",) * count + (None,) * (4 - count)
        ballot = Ballot(tuple(sample("x", i) for i in range(4)), votes)
        assert estimator.standing(ballot, 4).low == expected
        assert estimator.needed(4, expected, inclusive=True) == count
