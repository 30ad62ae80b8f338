"""Confidences of single answers compared: `python tests/benchmarks/confidence.py RUN DATA...`.

RUN is a folder of `cope-proxy eval`, DATA are the data sets that it was made from. Every answer of the small model is
graded; each confidence is rated by how well it tells right from wrong answers (AUROC), over all answers, and by how often
the answer that it likes best of an item's is right. They are those that text and log-probabilities allow:

- probability: exp of the mean token log-probability, 1 / perplexity (what COPE's paper takes for open tasks)
- least token, lowest window: the least likely token, the least likely run of 16 (what `open` tasks use)
- peaked: how peaked the distributions are (DeepConf, arXiv 2508.15260; the top-k form of self-certainty, arXiv 2502.18581)
- peaked, lowest tenth: the same over the least sure tenth of the tokens
- short: fewer tokens
- meaning: mean cosine of the answer's embedding with those of the item's other answers; needs the package wordllama
"""

import asyncio
import math
import sys
from collections import defaultdict
from pathlib import Path

from proxy.cascade.confidence import math as maths
from proxy.cascade.confidence.open import lowest_run
from proxy.cascade.types import TaskKind
from proxy.evals import statistics
from proxy.evals.grading import calls_accepted, passes, same_value
from proxy.evals.items import Item, load
from proxy.evals.record import Call, calls
from proxy.sandbox import open_sandbox


def probability(call: Call) -> float:
    return math.exp(sum(lp for lp, _ in call.tokens) / len(call.tokens))


def least_token(call: Call) -> float:
    return min(lp for lp, _ in call.tokens)


def lowest_window(call: Call) -> float:
    return lowest_run([lp for lp, _ in call.tokens])


def peaked(call: Call) -> float:
    return sum(c for _, c in call.tokens) / len(call.tokens)


def peaked_lowest(call: Call) -> float:
    lowest = sorted(c for _, c in call.tokens)[: max(1, len(call.tokens) // 10)]
    return sum(lowest) / len(lowest)


def short(call: Call) -> float:
    return -float(len(call.tokens))


MEASURES = {
    "probability": probability,
    "least token": least_token,
    "lowest window": lowest_window,
    "peaked": peaked,
    "peaked, lowest tenth": peaked_lowest,
    "short": short,
}


def meanings(answers: list[Call]) -> list[float]:
    """Return each answer's mean cosine with the others."""
    import wordllama  # type: ignore[import-not-found]

    # The package carries its model, and looks for the tokenizer in its cache: that is itself, then.
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    vectors = model.embed([a.message.get("content") or "" for a in answers], norm=True)
    alike = vectors @ vectors.T
    return [float((row.sum() - 1) / max(1, len(answers) - 1)) for row in alike]


def pooled(items) -> float:
    """Return the AUROC over the answers of all items."""
    return statistics.auroc([row for answers in items for row in answers])


def difference(pairs) -> float:
    """Return how far the AUROC of each pair's first is ahead of that of its second, over the same answers."""
    return pooled([one for one, _ in pairs]) - pooled([other for _, other in pairs])


async def grade(item: Item, call: Call, sandbox) -> float:
    text = call.message.get("content") or ""
    if item.task is TaskKind.CODE:
        return float(await passes(item, text, sandbox))
    if item.task is TaskKind.AGENT:
        return float(calls_accepted(call.message, item.answer))
    return float(await same_value(text, str(item.answer)))


async def main() -> None:
    run, *data = map(Path, sys.argv[1:])
    items = {item.id: item for item in load(data)}
    sandbox = await open_sandbox()
    found = defaultdict(list)
    for call in calls(run / "calls.jsonl"):
        if call.tier == "small" and call.tokens and call.item in items:
            found[call.item].append(call)
    for task in sorted({items[i].task for i in found}):
        own = {i: answers for i, answers in found.items() if items[i].task == task and len(answers) > 1}
        scores = {i: [await grade(items[i], a, sandbox) for a in answers] for i, answers in own.items()}
        rated = {
            name: {i: [m(a) for a in answers] for i, answers in own.items()} for name, m in MEASURES.items()
        }
        try:
            rated["meaning"] = {i: meanings(answers) for i, answers in own.items()}
        except ModuleNotFoundError:
            print("(no wordllama: no embeddings)")
        right = [s for values in scores.values() for s in values]
        print(
            f"\n{task}: {len(right)} answers to {len(own)} items, {100 * sum(right) / len(right):.1f} % right"
        )
        print(
            "| confidence | AUROC (95 %) | ahead of probability (95 %) | best of an item right, % |\n| --- | --- | --- | ---: |"
        )
        for name, values in rated.items():
            # An item's answers stay together in a resample: they are not independent of each other.
            rows = [tuple(zip(values[i], scores[i], strict=True)) for i in own]
            low, high = statistics.interval(rows, pooled)
            pairs = [
                (row, tuple(zip(rated["probability"][i], scores[i], strict=True)))
                for row, i in zip(rows, own, strict=True)
            ]
            behind, ahead = statistics.interval(pairs, difference)
            best = [max(zip(values[i], scores[i], strict=True))[1] for i in own]
            print(
                f"| {name} | {pooled(rows):.3f} ({low:.2f} to {high:.2f})"
                f" | {difference(pairs):+.3f} ({behind:+.3f} to {ahead:+.3f}) | {100 * sum(best) / len(best):.1f} |"
            )
    maths.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
