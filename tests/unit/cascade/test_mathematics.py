"""Final answers of solutions, and their equivalence."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cascade.confidence.mathematics import equivalent, likely_answer, stated_result
from proxy.cascade.confidence.worker import Worker
from tests.unit.cascade.voting import vote


def stated(text):
    return asyncio.run(stated_result(text))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{\\dfrac12}", "1/2"), ("\\boxed{1,234}", "1234"), ("\\boxed{12,\\!500}", "12500"), ("\\boxed{(1,234)}", "(1,234)"),
        ("\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}", "(3,\\frac{\\pi}{2})"), ("\\boxed{50\\%}", "50"), ("\\boxed{5 \\text{ cm}^2}", "5 cm^2"),
        ("\\boxed{90^\\circ}", "90"), ("\\boxed{\\text{Evelyn}}", "Evelyn"), ("\\boxed{x = 7}", "7"), ("It is so.\n#### 72", "72"),
        ("The final answer is 1,234.", "1234"), ("**Answer:** $18", "18 dollars"), ("The answer is $18 per day.", "18 dollars"),
        ("The answer is \\( \\frac{3}{4} \\).", "3/4"), ("The answer is $5x - 7y + 4 = 0$.", "5x-7y+4=0"), ("the answer is 1, 2, and 3", "1,2,3"),
        ("so x + 3 = 5y + 2", "5y+2"), ("She pays $1,250.50 in total.", "1250.50 dollars"), ("It costs 3.50.", "3.50"),
        ("The final answer is: 10 - 4 = 6", "6"), ("The answer is 3 + 4 = 7 dollars.", "7 dollars"), ("The answer is 2 * 3 + 1 = 6 + 1 = 7.", "7"),
        ("The answer is x = 5 apples in all.", "5"), ("It takes 2/2 = 1 bolt of white fiber, so the total is 3 bolts.", "3"),
        ("\\boxed{\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
        ("So, the total is \\(42\\).", "42"), ("42", "42"), ("42 km", "42 km"), ("It is 42.", "42"), ("x = 42", "42"), ("### Final Answer\n\n42", "42"),
        ("Final Answer: The final answer is $42$. I hope it is correct.", "42"), ("We compute.\n\n\\[\n6 \\cdot 7 = 42\n\\]", "42"),
        ("We compute 6*7 = 42.\nSo she has 42 apples left.", "42"), ("She makes 9 * 2 = $<<9*2=18>>18 every day at the market.", "18"),
        ("\\[\\boxed{42}\\]\nSo the answer is 42.", "42"), ("42 is the answer.", "42"), ("The answer is 3 3/4.", "15/4"), ("The answer is 33/4.", "33/4"),
        ("The answer is $3\\frac{3}{4}$", "15/4"), ("Answer: 1 234 567", "1234567"), ("Answer: 3,50 €", "3.50 euros"), ("Answer: 1.234,56", "1234.56"),
        ("Answer: 5 hours 30 minutes", "5hours30minutes"), ("The answer is $x=2$ or $x=-3$.", "x=2,x=-3"), ("½", "1/2"), ("Thus the result is −5.", "-5"),
        ("Die Antwort lautet 7 Äpfel.", "7"), ("答案是42。", "42"), ("答え：４２", "42"), ("Ответ: 42 яблока.", "42"), ("La réponse est 42.", "42"),
        ("La respuesta es 42.", "42"), ("คำตอบ: ๔๒", "42"), ("Jibu ni 42.", "42"), ("উত্তর: ৪২", "42"), ("సమాధానం: 42", "42"), ("الإجابة هي ٤٢", "42"),
    ],
)  # fmt: skip
def test_stated_results(text, answer):
    """A stated result is found in each of the usual forms, and normalised."""
    assert stated(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "So \\boxed{3}, no: \\boxed{\\frac{1}{2}}.", "\\boxed{unfinished and 9", "I do not know.", "", "The answer is love.",
        "The answer is 41. The answer is 42.", "The answer is between 41 and 42.", "Maybe the answer is 42.", "The answer is not 42.",
        "The answer is 41.\n\\boxed{42}", "Answer: Janet's ducks lay 16 eggs per day. She eats 3 and bakes 4. She sells the rest.",
        "And so it goes on. " * 20 + "The answer is 42." + " And so it goes on." * 60, "x" * 40_000 + "\\boxed{8}", "The answer is " + "$" * 10**5,
        "\\boxed{" * 10**5 + "7",
    ],
)  # fmt: skip
def test_unstated_results(text):
    """A text that states no result, several, a doubtful one or one that it contradicts has none."""
    started = time.monotonic()
    assert stated(text) is None
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("text", "answer"),
    [("So \\boxed{3}, no: \\boxed{4}.", "4"), ("The answer is 3. It has 5 parts.", "3"), ("They sold 3 of 5", "5"), ("None.", None)],
)  # fmt: skip
def test_likely_answers(text, answer):
    """A grader guesses more: the last box, else the last statement, else the last number."""
    assert likely_answer(text) == answer


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
        ("5 km", "5000 m", True),
        ("5 km", "5 miles", False),
        ("5 hours", "5 minutes", False),
        ("5 km", "5", True),
        ("12 dollars", "12 cents", False),
        ("1 hour", "60 min", True),
        ("5 cm^2", "5 cm", False),
        ("3.4e5", "340000", True),
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
    assert stated(text) != ""
    assert likely_answer(text) != ""


def test_huge_numbers_stay_written():
    """Numbers and exponents without end are compared as they are written."""
    huge = "340282366920938463463374607431768211456"
    assert stated(f"The answer is {huge} (about 3.4e38).") == huge
    assert stated("The answer is 1e999999999.") == "1e999999999"
    started = time.monotonic()
    assert not asyncio.run(equivalent("1e999999999", "10^{999999998}"))
    assert not asyncio.run(equivalent("1e999999999", "2e999999999"))
    assert time.monotonic() - started < 10


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
