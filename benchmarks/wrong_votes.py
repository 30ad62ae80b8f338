"""Confident votes on what is no answer, and votes on right answers: `python benchmarks/wrong_votes.py FOLDER`.

FOLDER has gsm8k.jsonl, math500.jsonl, humaneval.jsonl, mbpp.jsonl, mtbench.jsonl, bfcl.jsonl and detect-train.jsonl, in the
format of `cope-proxy eval`. No model is called. Sets of four different texts are given to the estimator of another kind, as
if detection had been wrong, with the default thresholds of both stages:

- as they are: four different texts of another kind
- ending alike: the same, each followed by the last sentence of a fifth text
- different results: one text of another kind around four different results, stated in the forms of the estimator's kind

Nothing of it should be accepted. The second table has the votes on right answers in usual phrasings: how many have a vote, and
how many of the votes are the right result.
"""

import asyncio
import json
import math
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from proxy.cascade.confidence import shutdown
from proxy.cascade.kinds import KINDS
from proxy.cascade.types import Ballot, Sample, Task, TaskKind
from proxy.evals.grading import same_value
from proxy.pricing.prices import Usage

SETS = 100
SURE = math.log(0.9)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
ASKED = {
    TaskKind.MATH: "What is 17 times 23? Calculate the number.",
    TaskKind.CHOICE: "Which of these is right?\nA) one\nB) two\nC) three\nD) four",
    TaskKind.CODE: "Write a function that adds two numbers.",
    TaskKind.STRUCTURED: "Give the sum as a JSON object.",
}
STATED = {
    TaskKind.MATH: ["The answer is {}.", "\\boxed{{{}}}", "#### {}", "**Answer:** {}", "答案是{}。", "Ответ: {}", "La réponse est {}.", "Jibu ni {}."],
    TaskKind.CHOICE: ["The answer is {}.", "Answer: ({})", "The correct option is {}.", "答案：{}"],
    TaskKind.CODE: ["```python\ndef add(a, b):\n    return a + b + {}\n```"],
    TaskKind.STRUCTURED: ['{{"sum": {}}}'],
}  # fmt: skip
NUMBERS = ["391", "401", "371", "381"]
OF_NUMBERS = [
    "{}", "{}.", "**{}**", "It is {}.", "The answer is {}.", "**Answer:** {}", "Answer: {}", "So, the total is \\({}\\).", "The final answer is \\boxed{{{}}}.",
    "Let me think step by step.\n\n1. First we read the numbers.\n2. Then we add them.\n\nTherefore, the answer is **{}**.", "#### {}",
    "We have 2 parts.\n\n\\[\n\\boxed{{{}}}\n\\]", "### Final Answer\n\n{}", "Final Answer: The final answer is ${}$. I hope it is correct.", "x = {}",
    "Janet has 2 baskets. In total, the result is {}.", "She has {} apples.", "The total cost is ${}.", "Die Antwort ist {}.", "La réponse est {}.", "La respuesta es {}.",
    "Ответ: {}.", "答案是{}。", "答：{}", "答えは{}です。", "คำตอบคือ {}", "Jibu ni {}.", "উত্তর হল {}।", "సమాధానం: {}", "정답은 {}입니다.", "उत्तर: {}", "الإجابة: {}",
]  # fmt: skip
OF_LETTERS = [
    "{}", "({})", "{})", "{}.", "**{}**", "The answer is {}.", "The answer is ({}).", "The correct answer is **{}**.", "Answer: {}", "**Answer:** {}",
    "Of the four, only one fits.\n\nThe answer is ({})", "Option {} is correct.", "The correct option is {}) two", "\\boxed{{{}}}", "I would choose {}.", "Die Antwort ist {}.",
    "La réponse est {}.", "La respuesta correcta es {}.", "Ответ: {}", "答案：{}", "故选{}。", "正解は{}です。", "정답은 {}입니다.", "La risposta è {}.", "A resposta é {}.", "Cevap: {}",
]  # fmt: skip


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def sample(index: int, text: str) -> Sample:
    message = {"role": "assistant", "content": text}
    return Sample(
        index=index, message=message, finish_reason="stop", logprob=SURE, lowest_logprob=SURE, usage=Usage()
    )


def task_of(kind: TaskKind, *, tools: bool = False) -> Task:
    body = {"messages": [{"role": "user", "content": ASKED[kind]}]}
    return Task(TaskKind.AGENT if tools else kind, body | {"tools": TOOLS} if tools else body, ASKED[kind])


async def accepted(task: Task, texts: Sequence[str]) -> tuple[bool, bool]:
    """Return whether stages 1 and 2 accept these answers with the default thresholds."""
    estimator, votes = KINDS[task.kind].estimator, []
    samples = tuple(sample(i, text) for i, text in enumerate(texts))
    for one in samples:
        votes.append(await estimator.vote(task, one, list(dict.fromkeys(v for v in votes if v))))
    standing = estimator.standing(Ballot(samples, tuple(votes)), len(samples))
    first, second = estimator.default_thresholds
    return standing.low >= first, standing.low >= second


def texts_by_kind(folder: Path) -> dict[str, list[str]]:
    """Return texts of each kind: solutions and programs, and prompts and references of open tasks."""
    prompts = [
        r["body"]["messages"][-1]["content"]
        for r in rows(folder / "detect-train.jsonl")
        if r["label"] == "open"
    ]
    said = [one for r in rows(folder / "mtbench.jsonl") for one in r["meta"].get("reference") or ()]
    programs = [
        r["meta"]["reference"] for name in ("humaneval", "mbpp") for r in rows(folder / f"{name}.jsonl")
    ]
    return {
        "open": [text for text in prompts if isinstance(text, str) and 40 < len(text) < 3000] + said,
        "math": [
            r["meta"]["reference"] for name in ("gsm8k", "math500") for r in rows(folder / f"{name}.jsonl")
        ],
        "code": [f"Here is the function:\n\n```python\n{program}\n```" for program in programs],
        "structured": [json.dumps(r["answer"][0]) for r in rows(folder / "bfcl.jsonl")],
    }


def last_sentence(text: str) -> str:
    line = text.strip().rsplit("\n", 1)[-1]
    return re.split(r"(?<=[.!?])\s", line)[-1]


def sets(
    kind: TaskKind, other: str, texts: Sequence[str], draw: random.Random
) -> Iterator[tuple[str, list[str]]]:
    """Yield sets of four answers to a task of a kind, made of texts of another, with the name of their case."""
    for _ in range(SETS):
        *four, fifth = draw.sample(texts, 5)
        yield "as they are", four
        yield "ending alike", [f"{text}\n\n{last_sentence(fifth)}" for text in four]
        form = draw.choice(STATED[kind])
        results = list("ABCD") if kind is TaskKind.CHOICE else NUMBERS
        begun, ended = (fifth, last_sentence(four[0])) if draw.random() < 0.5 else ("", last_sentence(fifth))
        yield (
            "different results",
            ["\n\n".join(filter(None, (begun, form.format(r), ended))) for r in results],
        )


async def wrong(texts: Mapping[str, list[str]]) -> None:
    print("| votes as | texts | case | sets | accepted by stage 1, % | by stage 2, % |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for kind in ASKED:
        for tools in (False, True):
            task, found = task_of(kind, tools=tools), {}
            for other in texts:
                if other == kind:
                    continue
                for case, answers in sets(kind, other, texts[other], random.Random(18)):
                    found.setdefault((other, case), []).append(await accepted(task, answers))
            for (other, case), verdicts in found.items():
                first, second = (100 * sum(v[i] for v in verdicts) / len(verdicts) for i in (0, 1))
                name = f"agent, {kind}" if tools else str(kind)
                print(
                    f"| {name} | {other} | {case} | {len(verdicts)} | {first:.1f} | {second:.1f} |",
                    flush=True,
                )


async def right(folder: Path) -> None:
    async def voted(kind: TaskKind, text: str) -> str | None:
        return await KINDS[kind].estimator.vote(task_of(kind), sample(0, text), ())

    found: dict[tuple[str, str], list[tuple[bool, bool]]] = {}

    def note(kind: str, name: str, vote: str | None, fits: bool) -> None:
        found.setdefault((kind, name), []).append((vote is not None, vote is not None and fits))

    draw = random.Random(18)
    for name in ("gsm8k", "math500"):
        for r in rows(folder / f"{name}.jsonl"):
            vote = await voted(TaskKind.MATH, r["meta"]["reference"])
            fits = vote is not None and await same_value(f"\\boxed{{{vote}}}", r["answer"])
            note("math", f"reference solutions of {name}", vote, fits)
    for r in rows(folder / "gsm8k.jsonl"):
        for form in OF_NUMBERS:
            vote = await voted(TaskKind.MATH, form.format(r["answer"]))
            note("math", f"{len(OF_NUMBERS)} phrasings", vote, (vote or "").split(" ")[0] == r["answer"])
    for _ in range(50):
        for form in OF_LETTERS:
            letter = draw.choice("ABCD")
            vote = await voted(TaskKind.CHOICE, form.format(letter))
            note("choice", f"{len(OF_LETTERS)} phrasings", vote, vote == letter)
    for r in rows(folder / "bfcl.jsonl"):
        vote = await voted(TaskKind.STRUCTURED, json.dumps(r["answer"][0]))
        note("structured", "calls as documents", vote, True)
    for name in ("humaneval", "mbpp"):
        for r in rows(folder / f"{name}.jsonl"):
            vote = await voted(
                TaskKind.CODE, f"Here is the function:\n\n```python\n{r['meta']['reference']}\n```\n"
            )
            note("code", f"reference programs of {name}", vote, True)
    print("\n| kind | right answers | count | with a vote, % | of them right, % |")
    print("| --- | --- | ---: | ---: | ---: |")
    for (kind, name), votes in found.items():
        made, good = (sum(v[i] for v in votes) for i in (0, 1))
        print(
            f"| {kind} | {name} | {len(votes)} | {100 * made / len(votes):.1f} | {100 * good / max(1, made):.1f} |"
        )


async def main() -> None:
    """Measure both, and print."""
    folder = Path(sys.argv[1])
    await wrong(texts_by_kind(folder))
    await right(folder)
    shutdown()


if __name__ == "__main__":
    asyncio.run(main())
