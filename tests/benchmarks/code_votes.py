"""Code, by behaviour and by text: `python tests/benchmarks/code_votes.py RUN DATA...`.

RUN is a folder of `cope-proxy eval`, DATA are the data sets that it was made from. The plain samples of each item are voted
on twice: by what they do in the sandbox, and, as without one, by their text and log-probability. Prints for both how often the
winner is right, and how well the confidence tells right winners from wrong ones (AUROC).
"""

import asyncio
import sys
from collections import defaultdict
from pathlib import Path

from proxy.cascade import tasks
from proxy.cascade.confidence import estimator_for
from proxy.cascade.types import Ballot, Sample, TaskKind
from proxy.evals import statistics
from proxy.evals.grading import passes
from proxy.evals.items import Item, load
from proxy.evals.record import Call, calls
from proxy.sandbox import open_sandbox


def plain(answers: list[Call]) -> list[Sample]:
    """Return the samples that were drawn without a plan: those with the shortest prompt."""
    least = min(a.usage.prompt_tokens for a in answers)
    own = [a for a in answers if a.usage.prompt_tokens == least]
    return [Sample(i, a.message, a.finish_reason, a.logprob, a.usage) for i, a in enumerate(own)]


async def voted(item: Item, samples: list[Sample], runner, sandbox) -> tuple[float, float]:
    """Return the confidence of the ballot, and how right its winner is."""
    task = tasks.with_kind(tasks.detect(item.request()), item.task)
    estimator, votes = estimator_for(task, runner), []
    for sample in samples:
        votes.append(await estimator.vote(task, sample, list(dict.fromkeys(v for v in votes if v))))
    standing = estimator.standing(Ballot(tuple(samples), tuple(votes)), len(samples))
    winner = standing.winner
    return standing.low, 0.0 if winner is None else float(await passes(item, winner.text, sandbox))


async def main() -> None:
    """Vote twice, and print."""
    run, *data = map(Path, sys.argv[1:])
    items = {item.id: item for item in load(data) if item.task is TaskKind.CODE}
    sandbox = await open_sandbox()
    found = defaultdict(list)
    for call in calls(run / "calls.jsonl"):
        if call.tier == "small" and call.tokens and call.item in items:
            found[call.item].append(call)
    print("| votes | items | winner right, % | AUROC (95 %) |\n| --- | ---: | ---: | --- |")
    for name, runner in (("by text and log-probability", None), ("by behaviour", sandbox)):
        rows = [await voted(items[i], plain(answers), runner, sandbox) for i, answers in found.items()]
        low, high = statistics.interval(rows, statistics.auroc)
        right = 100 * sum(score for _, score in rows) / len(rows)
        print(
            f"| {name} | {len(rows)} | {right:.1f} | {statistics.auroc(rows):.3f} ({low:.2f} to {high:.2f}) |"
        )


if __name__ == "__main__":
    asyncio.run(main())
