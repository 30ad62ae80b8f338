"""Ways to count the same votes compared: `python benchmarks/votes.py RUN DATA...`.

RUN is a folder of `cope-proxy eval`, DATA are the data sets that it was made from. The plain samples of each item are voted on
in several ways, and for each is printed how often the winner is right, and how well the confidence tells right winners from
wrong ones (AUROC):

- share: as the proxy does
- by text (code): as the proxy does where there is no sandbox
- ties to the likeliest: of groups of equal size the one whose samples are likeliest leads, not the one that began first
- weighted by probability, by the lowest window: a sample's vote counts as much as the model was sure of it (weighted voting of
  DeepConf, arXiv 2508.15260)

Beside each stands how far its AUROC is ahead of the first's, over the same items.
"""

import asyncio
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from confidence import grade, lowest_window, plain

from proxy.cascade import detection
from proxy.cascade.confidence import shutdown
from proxy.cascade.kinds import estimator_for
from proxy.cascade.types import Ballot, Sample, TaskKind
from proxy.evals.items import Item, load
from proxy.evals.record import Answer
from proxy.evals.record import answers as recorded
from proxy.sandbox import open_sandbox
from proxy.stats import bootstrap

Rated = tuple[float, float]
"""The confidence in the winner, and how right that is."""


async def ballot_of(item: Item, answers: list[Answer], runner) -> tuple[Ballot, float, Sample | None]:
    """Vote as the proxy does; return the ballot, its confidence and its winner."""
    task = detection.with_kind(detection.detect(item.request()), item.task)
    samples = [
        Sample(
            index=i,
            message=a.message,
            finish_reason=a.finish_reason,
            logprob=a.logprob,
            usage=a.usage,
            lowest_logprob=lowest_window(a),
        )
        for i, a in enumerate(answers)
    ]
    # Plain samples of mathematics are texts. `programs.py` compares them with programs.
    estimator, votes = estimator_for(task, None if item.task is TaskKind.MATH else runner), []
    for sample in samples:
        votes.append(await estimator.vote(task, sample, list(dict.fromkeys(v for v in votes if v))))
    ballot = Ballot(tuple(samples), tuple(votes))
    standing = estimator.standing(ballot, len(samples))
    return ballot, standing.low, standing.winner


def weighted(ballot: Ballot, weights: list[float]) -> tuple[float, Sample | None]:
    """Return the heaviest group's weight as a share of all samples, and its heaviest sample."""
    groups = list(ballot.groups().values())
    leader = max(groups, key=lambda g: sum(weights[s.index] for s in g), default=[])
    winner = max(leader, key=lambda s: weights[s.index], default=None)
    return sum(weights[s.index] for s in leader) / len(weights), winner


def likeliest(ballot: Ballot, weights: list[float]) -> tuple[float, Sample | None]:
    """Return the largest group's share, and its heaviest sample; of groups of equal size the heaviest is the largest.

    As in the proxy, a sample without a vote is a group of one.
    """
    alone = [[s] for s, vote in zip(ballot.samples, ballot.votes, strict=True) if vote is None]
    groups = [*ballot.groups().values(), *alone]
    leader = max(groups, key=lambda g: (len(g), sum(weights[s.index] for s in g)), default=[])
    winner = max(leader, key=lambda s: weights[s.index], default=None)
    return len(leader) / len(weights), winner


async def ways(item: Item, answers: list[Answer], sandbox) -> dict[str, Rated]:
    """Return each way's confidence in its winner, and how right that is."""
    scores = [await grade(item, a, sandbox) for a in answers]

    def rated(confidence: float, winner: Sample | None) -> Rated:
        return confidence, 0.0 if winner is None else scores[winner.index]

    ballot, confidence, winner = await ballot_of(item, answers, sandbox)
    found = {"share": rated(confidence, winner)}
    if item.task is TaskKind.OPEN:
        return found
    if item.task is TaskKind.CODE:
        _, confidence, winner = await ballot_of(item, answers, None)
        return found | {"by text": rated(confidence, winner)}
    for name, measure in (("probability", lambda a: a.logprob), ("lowest window", lowest_window)):
        weights = [math.exp(measure(a)) for a in answers]
        found.setdefault("ties to the likeliest", rated(*likeliest(ballot, weights)))
        found[f"weighted by {name}"] = rated(*weighted(ballot, weights))
    return found


def difference(pairs: Sequence[tuple[Rated, Rated]]) -> float:
    """Return how far the AUROC of the pairs' first members is ahead of that of their second."""
    return bootstrap.auroc([one for one, _ in pairs]) - bootstrap.auroc([other for _, other in pairs])


async def main() -> None:
    """Vote in all ways, and print."""
    run, *data = map(Path, sys.argv[1:])
    items = {item.id: item for item in load(data)}
    sandbox = await open_sandbox()
    answers = defaultdict(list)
    for call in recorded(run / "calls.jsonl"):
        if call.tier == "small" and call.tokens and call.item in items:
            answers[call.item].append(call)
    rows: dict[tuple[str, str], list[Rated]] = defaultdict(list)
    for name, drawn in answers.items():
        for way, rated in (await ways(items[name], plain(drawn), sandbox)).items():
            rows[items[name].task, way].append(rated)
    print("| task | votes | items | winner right, % | AUROC (95 %) | ahead (95 %) |")
    print("| --- | --- | ---: | ---: | --- | --- |")
    for (kind, way), found in rows.items():
        low, high = bootstrap.interval(found, bootstrap.auroc)
        right = 100 * sum(score for _, score in found) / len(found)
        pairs = list(zip(found, rows[kind, "share"], strict=True))
        behind, ahead = bootstrap.interval(pairs, difference)
        print(
            f"| {kind} | {way} | {len(found)} | {right:.1f} | {bootstrap.auroc(found):.3f} ({low:.2f} to {high:.2f})"
            f" | {difference(pairs):+.3f} ({behind:+.3f} to {ahead:+.3f}) |"
        )
    shutdown()


if __name__ == "__main__":
    asyncio.run(main())
