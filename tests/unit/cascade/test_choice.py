"""Letters of answers to multiple-choice questions."""

import time

import pytest

from tests.unit.cascade.voting import vote


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"), ("b", "B"), ("(B)", "B"), ("B) Paris", "B"), ("**B**", "B"), ("**B) Paris**", "B"),
        ("The answer is (B).", "B"), ("the correct answer is: B", "B"), ("Answer: **C**", "C"),
        ("Since A is wrong, \\boxed{C}", "C"), ("\\boxed{\\text{(C)}}", "C"),
        ("The answer is B because option A is too small.", "B"),
        ("Die Antwort ist C", "C"), ("First I thought the answer is A. The answer is C.", None),
        ("A) is wrong.\nB) is right?\n", None), ("The answer is (D).", None),
        ("The answer is a matter of taste", None), ("", None),
        ("答案：B", "B"), ("答案是Ｂ。", "B"), ("正解はBです。", "B"), ("정답은 B입니다.", "B"), ("La risposta è B", "B"),
        ("A resposta é B.", "B"), ("La respuesta correcta es B.", "B"), ("Ответ: B", "B"), ("Poprawna odpowiedź to B.", "B"),
        ("الإجابة الصحيحة هي B.", "B"), ("Answer: b", "B"), ("The answer is (b).", "B"), ("b) Paris", "B"),
        ("Answer: **b**\n", "B"), ("Answer: d", None), ("Ответ: Б", None), ("Answer: a man", None),
        ("Answer: A man did it.", None), ("A resposta: A capital é Paris.", None), ("答案不是B", None), ("Answer: A because it is.", "A"),
        ("Which planet(s)? (B)", "B"),
    ],
)  # fmt: skip
def test_letters_of_answers(text, letter):
    """The letter is read from each of the usual forms, and has to be on offer."""
    assert vote("choice", text, text="Which?\nA) x\nB) y\nC) z") == letter


def test_cyrillic_letters():
    """Options of another alphabet are answered in it: a letter that only looks the same is none of them."""
    question = "Столица?\nА) Киев\nБ) Москва\nВ) Минск"
    answers = {"Ответ: Б": "Б", "б": "Б", "Б) Москва": "Б", "Ответ: В Москве": None, "Ответ: B": None}
    assert {text: vote("choice", text, text=question) for text in answers} == answers


@pytest.mark.parametrize("text", ["answer " * 10**5, "answer" + " " * 10**6, "option:" * 10**5, "(" * 10**6])
def test_letters_are_fast(text):
    """An answer that invites backtracking is read in well under a second."""
    started = time.monotonic()
    vote("choice", text, text="Which?\nA) x\nB) y")
    assert time.monotonic() - started < 2
