"""The screen of the demo: a table that fills in, and a summary."""

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from proxy.cli.demo.asking import Answer
from proxy.cli.demo.durations import left
from proxy.cli.demo.questions import Question

PIPE_WIDTH = 110


class Board:
    """The table of questions and answers. On a terminal it fills in as answers arrive, in a pipe it is printed once."""

    def __init__(self, console: Console, questions: Sequence[Question], expected_s: float) -> None:
        self._console = console
        self._questions = questions
        self._answers: dict[int, Answer] = {}
        self._expected_s = expected_s
        self._began = time.monotonic()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=False)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()
        else:
            self._console.print(self._table())

    def add(self, index: int, answer: Answer) -> None:
        """Show an answer."""
        self._answers[index] = answer
        if not self._console.is_terminal:
            verdict = "right" if answer.right else "wrong"
            line = f"  {self._state()}: stage {answer.stage}, {verdict}: {answer.question.text}"
            self._console.print(line, markup=False, highlight=False, overflow="ellipsis", no_wrap=True)

    @property
    def answers(self) -> list[Answer]:
        """The answers so far, in the order of the questions."""
        return [self._answers[index] for index in sorted(self._answers)]

    def _state(self) -> str:
        count, total = len(self._answers), len(self._questions)
        elapsed = time.monotonic() - self._began
        rest = f", {left(elapsed, self._expected_s)}" if count < total else ""
        return f"{count} of {total} answered ({elapsed:.0f} s{rest})"

    def _render(self) -> Group | Table:
        if len(self._answers) == len(self._questions):
            return self._table()
        return Group(self._table(), Text(f"  {self._state()}", style="bold"))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, expand=True, header_style="bold")
        table.add_column("question", ratio=3, no_wrap=True, overflow="ellipsis")
        table.add_column("answer", ratio=2, no_wrap=True, overflow="ellipsis")
        for name in ("grade", "stage", "votes", "cost USD", "large alone"):
            table.add_column(name, no_wrap=True, min_width=len(name))
        for index, question in enumerate(self._questions):
            answer = self._answers.get(index)
            table.add_row(
                *([Text(question.text), Text("...", style="dim")] if answer is None else _cells(answer))
            )
        return table


def _cells(answer: Answer) -> list[Text]:
    return [
        Text(answer.question.text),
        Text(" ".join(answer.text.split())),
        Text("right", style="green") if answer.right else Text("wrong", style="red"),
        Text(f"{answer.stage}", style="green" if answer.local else "yellow"),
        Text(", ".join(f"{agreed}/{drawn}" for agreed, drawn in answer.votes)),
        Text(usd(answer.cost)),
        Text(usd(answer.baseline)),
    ]


def usd(amount: Decimal) -> str:
    """Return an amount with the digits that the small costs of the demo need."""
    return f"{amount:.6f}" if amount else "0"


def summary(answers: Sequence[Answer]) -> list[str]:
    """Return the lines of the result: what was answered where, what of it is right, and the saving."""
    local = [answer for answer in answers if answer.local]
    paid = [answer for answer in answers if not answer.local]
    cost = sum((answer.cost for answer in answers), Decimal())
    baseline = sum((answer.baseline for answer in answers), Decimal())
    stages = ", ".join(f"{sum(a.stage == stage for a in answers)} at stage {stage}" for stage in (1, 2, 3))
    saved = f"{100 * (baseline - cost) / baseline:.0f} %" if baseline else "nothing"
    return [
        f"{len(answers)} questions: {stages}",
        f"answered locally: {share(len(local), len(answers))}, right: {share(_right(local), len(local))}",
        f"answered by the large model: {share(len(paid), len(answers))}, right: {share(_right(paid), len(paid))}",
        f"cost {usd(cost)} USD, the large model alone {usd(baseline)} USD: saved {saved}",
    ]


def _right(answers: Sequence[Answer]) -> int:
    return sum(answer.right for answer in answers)


def share(part: int, whole: int) -> str:
    """Return a share as a count and in percent."""
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else "none"
