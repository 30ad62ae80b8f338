"""Final answers of solutions, and their equivalence."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.confidence.mathematics import equivalent, final_answer
from proxy.cascade.confidence.worker import Worker
from tests.unit.cascade.voting import vote


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So \\boxed{3}, no: \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{\\dfrac12}", "\\frac{1}{2}"),
        ("\\boxed{1,234}", "1234"),
        ("\\boxed{12,\\!500}", "12500"),
        ("\\boxed{(1,234)}", "(1,234)"),
        ("\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}", "(3,\\frac{\\pi}{2})"),
        ("\\boxed{50\\%}", "50"),
        ("\\boxed{5 \\text{ cm}^2}", "5"),
        ("\\boxed{90^\\circ}", "90"),
        ("\\boxed{\\text{Evelyn}}", "Evelyn"),
        ("\\boxed{x = 7}", "7"),
        ("\\boxed{unfinished and 9", "9"),
        ("It is so.\n#### 72", "72"),
        ("The final answer is 1,234.", "1234"),
        ("**Answer:** $18", "18"),
        ("The answer is $18 per day.", "18"),
        ("The answer is \\( \\frac{3}{4} \\).", "\\frac{3}{4}"),
        ("The answer is $5x - 7y + 4 = 0$.", "5x-7y+4=0"),
        ("the answer is 1, 2, and 3", "1,2,3"),
        ("Die Antwort lautet 7 Äpfel.", "7"),
        ("so x + 3 = 5y + 2", "5y+2"),
        ("She pays $1,250.50 in total.", "1250.50"),
        ("It costs 3.50.", "3.50"),
        ("The final answer is: 10 - 4 = 6", "6"),
        ("The answer is 3 + 4 = 7 dollars.", "7"),
        ("The answer is 2 * 3 + 1 = 6 + 1 = 7.", "7"),
        ("The answer is x = 5 apples in all.", "5"),
        ("It takes 2/2 = 1 bolt of white fiber, so the total is 3 bolts.", "3"),
        ("\\boxed{\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_final_answers(text, answer):
    """The final answer is found in each of the usual forms, and normalised."""
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1/2", "0.50", True),
        ("\\frac{1}{2}", "0.5", True),
        ("0.1", "0.10000001", False),
        ("x+1", "1+x", True),
        ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}", True),
        ("2x", "2y", False),
        ("(1,2)", "(2,1)", False),
        ("Evelyn", "evelyn", True),
        ("9^{9^{9^9}}", "10^{50}", False),
    ],
)
def test_equivalent_answers(one, other, same):
    """Answers are compared by value, in either order."""

    async def both():
        return await equivalent(one, other), await equivalent(other, one)

    assert asyncio.run(both()) == (same, same)


def test_equivalent_answer_joins_group():
    """The label of the group that came first is kept."""
    assert vote("math", "\\boxed{0.5}", groups=("3", "1/2")) == "1/2"
    assert vote("math", "\\boxed{1+x}", groups=("3", "x+1")) == "x+1"
    assert vote("math", "\\boxed{4}", groups=("3",)) == "4"
    assert vote("math", "no idea") is None


@given(st.text(max_size=60) | st.text("\\boxed{}$().,=0123456789 frac^", max_size=60))
def test_any_text_is_read(text):
    """Extraction never fails, and what it finds is not empty."""
    assert final_answer(text) != ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 340282366920938463463374607431768211456 (about 3.4e38).", "340282366920938463463374607431768211456(about3.4e38)"),
        ("The answer is 1, 2, 3 and 4.", "1,2,3,4"),
        ("The answer is " + "$" * 10**5, None),
        ("\\boxed{" * 10**5 + "7", "7"),
        ("x" * 10**5 + "\\boxed{8}", "8"),
    ],
)  # fmt: skip
def test_answers_take_no_time(text, answer):
    """Long numbers, many signs and long texts are read in well under a second."""
    started = time.monotonic()
    assert final_answer(text) == answer
    assert time.monotonic() - started < 2


def test_slow_comparison_is_different():
    """The worker is killed in time, the loop stays free, and the next question is answered by a new one."""
    worker = Worker("equal", answer_seconds=1.5)

    async def ask():
        ticks = 0
        assert await worker.ask("x+1", "1+x")
        running = asyncio.ensure_future(worker.ask("9^{9^{9^9}}", "10^{50}"))
        while not running.done():
            await asyncio.sleep(0.05)
            ticks += 1
        return running.result(), ticks, await worker.ask("x+2", "2+x")

    started = time.monotonic()
    try:
        same, ticks, later = asyncio.run(ask())
    finally:
        worker.shutdown()
    assert (same, later) == (None, True)
    assert ticks >= 10
    assert time.monotonic() - started < 30


def test_dead_worker_is_replaced():
    """A process that was killed from outside costs one question at most."""
    worker = Worker("equal")
    try:
        assert asyncio.run(worker.ask("a+b", "b+a"))
        worker._process.kill()
        asyncio.run(worker.ask("a+c", "c+a"))
        assert asyncio.run(worker.ask("a+d", "d+a"))
    finally:
        worker.shutdown()
