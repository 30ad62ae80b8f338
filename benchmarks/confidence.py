"""Confidences of single answers compared: `python benchmarks/confidence.py RUN DATA... [--embeddings BASE_URL MODEL]`.

RUN is a folder of `cope-proxy eval`, or of `samples.py`, DATA are the data sets that it was made from. Every answer of the small
model without a plan is graded; each confidence is rated by how well it tells right from wrong answers (AUROC), over all answers, and by how often
the answer that it likes best of an item's is right. They are those that text and log-probabilities allow:

- probability: exp of the mean token log-probability, 1 / perplexity (what COPE's paper takes for open tasks)
- least token, lowest 2, 3 ...: the least likely token, and the least likely run of so many; of 3 it is what `open` tasks use
- peaked: how peaked the distributions are (DeepConf, arXiv 2508.15260; the top-k form of self-certainty, arXiv 2502.18581)
- peaked, lowest tenth: the same over the least sure tenth of the tokens
- short: fewer tokens
- words: how many words it shares with the item's other answers (mean F1 of the words, each as often as it occurs)
- meaning: mean cosine of the answer's embedding with those of the item's other answers, where there is a server of embeddings
  at BASE_URL (a second vLLM, `--runner pooling`)
- words, meaning x lowest 3: the products
"""

import argparse
import asyncio
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np

from proxy.cascade.confidence import shutdown
from proxy.cascade.confidence.choice import letter
from proxy.cascade.confidence.open import RUN, lowest_run
from proxy.cascade.detection import options
from proxy.cascade.types import TaskKind
from proxy.evals.grading import calls_accepted, fields_accepted, names_one, passes, same_json, same_value
from proxy.evals.items import Item, load
from proxy.evals.record import Answer
from proxy.evals.record import answers as recorded
from proxy.sandbox import open_sandbox
from proxy.stats import bootstrap


def probability(call: Answer) -> float:
    return math.exp(sum(lp for lp, _ in call.tokens) / len(call.tokens))


def least_token(call: Answer) -> float:
    return min(lp for lp, _ in call.tokens)


def lowest(length: int) -> Callable[[Answer], float]:
    return lambda call: lowest_run([lp for lp, _ in call.tokens], length)


lowest_window = lowest(RUN)


def peaked(call: Answer) -> float:
    return sum(c for _, c in call.tokens) / len(call.tokens)


def peaked_lowest(call: Answer) -> float:
    least = sorted(c for _, c in call.tokens)[: max(1, len(call.tokens) // 10)]
    return sum(least) / len(least)


def short(call: Answer) -> float:
    return -float(len(call.tokens))


MEASURES = {
    "probability": probability,
    "least token": least_token,
    **{f"lowest {length}": lowest(length) for length in (2, RUN, 4, 8, 16)},
    "peaked": peaked,
    "peaked, lowest tenth": peaked_lowest,
    "short": short,
}


def plain(answers: list[Answer]) -> list[Answer]:
    """Return the answers that were drawn without a plan: those with the shortest prompt."""
    least = min(a.usage.prompt_tokens for a in answers)
    return [a for a in answers if a.usage.prompt_tokens == least]


def text_of(answer: Answer) -> str:
    return answer.message.get("content") or ""


def words(answers: list[Answer]) -> list[float]:
    """Return how many words each answer shares with each other one, on average."""
    said = [Counter(re.findall(r"\w+", text_of(a).casefold())) for a in answers]

    def shared(one: Counter[str], other: Counter[str]) -> float:
        return 2 * (one & other).total() / max(1, one.total() + other.total())

    return [
        sum(shared(one, other) for j, other in enumerate(said) if j != i) / (len(said) - 1)
        for i, one in enumerate(said)
    ]


def meanings(answers: list[Answer], url: str, model: str) -> list[float]:
    """Return each answer's mean cosine with the others."""
    body = {"model": model, "input": [text_of(a) or "-" for a in answers], "truncate_prompt_tokens": 256}
    reply = httpx2.post(f"{url}/embeddings", json=body, timeout=120).raise_for_status().json()
    vectors = [row["embedding"] for row in reply["data"]]
    unit = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [float((row.sum() - 1) / (len(answers) - 1)) for row in unit @ unit.T]


def pooled(items) -> float:
    """Return the AUROC over the answers of all items."""
    return bootstrap.auroc([row for answers in items for row in answers])


def difference(pairs) -> float:
    """Return how far the AUROC of each pair's first is ahead of that of its second, over the same answers."""
    return pooled([one for one, _ in pairs]) - pooled([other for _, other in pairs])


async def grade(item: Item, call: Answer, sandbox) -> float:
    text = text_of(call)
    match item.task:
        case TaskKind.CODE:
            return float(await passes(item, text, sandbox))
        case TaskKind.AGENT:
            return float(calls_accepted(call.message, item.answer))
        case TaskKind.CHOICE:
            return float(letter(text, options(item.prompt) or "ABCDEFGHIJ") == item.answer)
        case TaskKind.STRUCTURED if item.meta.get("accepted"):
            return float(fields_accepted(text, item.answer))
        case TaskKind.STRUCTURED:
            return float(same_json(text, item.answer))
        case TaskKind.OPEN:
            return float(names_one(text, item.answer))
        case TaskKind.MATH:
            return float(await same_value(text, str(item.answer)))


def rate(answers: list[Answer], embeddings: list[str]) -> dict[str, list[float]]:
    """Return each confidence in each answer to an item."""
    rated = {name: [measure(a) for a in answers] for name, measure in MEASURES.items()}
    windows = [math.exp(lp) for lp in rated[f"lowest {RUN}"]]
    agreed = {"words": words(answers)}
    if embeddings:
        agreed["meaning"] = meanings(answers, *embeddings)
    for name, values in agreed.items():
        rated[name] = values
        rated[f"{name} x lowest {RUN}"] = [v * w for v, w in zip(values, windows, strict=True)]
    return rated


async def main() -> None:
    said = argparse.ArgumentParser()
    said.add_argument("run", type=Path)
    said.add_argument("data", type=Path, nargs="+")
    said.add_argument("--embeddings", nargs=2, default=[])
    given = said.parse_args()
    # Without names to look for, an open answer takes a judge.
    graded = [item for item in load(given.data) if item.answer or item.task is not TaskKind.OPEN]
    items = {item.id: item for item in graded}
    sandbox = await open_sandbox()
    found = defaultdict(list)
    for call in recorded(given.run / "calls.jsonl"):
        if call.tier == "small" and call.tokens and call.item in items:
            found[call.item].append(call)
    for task in sorted({items[i].task for i in found}):
        own = {i: plain(answers) for i, answers in found.items() if items[i].task == task}
        own = {i: answers for i, answers in own.items() if len(answers) > 1}
        scores = {i: [await grade(items[i], a, sandbox) for a in answers] for i, answers in own.items()}
        rates = {i: rate(answers, given.embeddings) for i, answers in own.items()}
        names = next(iter(rates.values()))
        rated = {name: {i: rates[i][name] for i in own} for name in names}
        right = [s for values in scores.values() for s in values]
        print(
            f"\n{task}: {len(right)} answers to {len(own)} items, {100 * sum(right) / len(right):.1f} % right"
        )
        print(
            "| confidence | AUROC (95 %) | ahead of probability (95 %) | best of an item right, % | AUROC of the best (95 %) |\n"
            "| --- | --- | --- | ---: | --- |"
        )
        for name, values in rated.items():
            # An item's answers stay together in a resample: they are not independent of each other.
            rows = [tuple(zip(values[i], scores[i], strict=True)) for i in own]
            low, high = bootstrap.interval(rows, pooled)
            pairs = [
                (row, tuple(zip(rated["probability"][i], scores[i], strict=True)))
                for row, i in zip(rows, own, strict=True)
            ]
            behind, ahead = bootstrap.interval(pairs, difference)
            best = [max(row, key=lambda pair: pair[0]) for row in rows]
            least, most = bootstrap.interval(best, bootstrap.auroc)
            print(
                f"| {name} | {pooled(rows):.3f} ({low:.2f} to {high:.2f})"
                f" | {difference(pairs):+.3f} ({behind:+.3f} to {ahead:+.3f}) | {100 * sum(score for _, score in best) / len(best):.1f}"
                f" | {bootstrap.auroc(best):.3f} ({least:.2f} to {most:.2f}) |"
            )
    shutdown()


if __name__ == "__main__":
    asyncio.run(main())
