"""Draw samples until the verdict is certain, then stop the others."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from proxy.cascade.confidence.votes import outlook, reaches
from proxy.cascade.protocols import Estimator
from proxy.cascade.types import Ballot, Sample, Standing, Task


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a ballot: whether it reached the threshold, its samples and its final standing."""

    accepted: bool
    ballot: Ballot
    standing: Standing


async def draw(
    task: Task,
    estimator: Estimator,
    *,
    sample: Callable[[int], Awaitable[Sample]],
    total: int,
    threshold: float,
    inclusive: bool,
    early_stop: bool,
    stop_error: float = 0.0,
    on_odds: Callable[[float], None] = lambda _: None,
) -> Verdict:
    """Run up to `total` samples concurrently and end the ballot as soon as its verdict cannot change.

    The verdict equals that of drawing all samples. The ballot is accepted once the worst outcome of the outstanding
    samples still reaches the threshold with the same winner. It is refused once their best outcome does not reach it.
    While all samples agree, no more are started than acceptance needs. Samples that are no longer needed are cancelled,
    which also stops them in the server. If one sample fails, the others are cancelled.

    Args:
        task: the request.
        estimator: computes the votes and the confidence.
        sample: draws the sample with the given index.
        total: the number of samples to draw at most.
        threshold: the confidence to reach.
        inclusive: True if equality is enough.
        early_stop: True to stop before all samples are drawn.
        stop_error: for vote shares, also stop once the verdict or the answer of all samples would differ with at most
            this probability (see `outlook`). With 0 the ballot ends on certainty alone.
        on_odds: called after each sample of a vote share with the probability that the leading group is accepted.
    """
    ballot = Ballot()
    running: set[asyncio.Task[Sample]] = set()
    done: set[asyncio.Task[Sample]] = set()
    started = 0
    needed = estimator.needed(total, threshold, inclusive=inclusive)
    try:
        while True:
            outstanding = total - len(ballot.samples)
            standing = estimator.standing(ballot, total)
            refused = not reaches(standing.high, threshold, inclusive=inclusive)
            certain = reaches(standing.low, threshold, inclusive=inclusive) and standing.fixed
            if outstanding == 0 or (early_stop and (refused or certain)):
                accepted = reaches(standing.low, threshold, inclusive=inclusive)
                return Verdict(accepted and standing.winner is not None, ballot, standing)
            if needed is not None and ballot.samples:
                chance = outlook(ballot, total, needed)
                on_odds(chance.leads)
                refused, certain = chance.reached <= stop_error, 1 - chance.kept <= stop_error
                if early_stop and stop_error and (refused or certain):
                    accepted = certain and standing.winner is not None
                    # The share of the drawn samples would look surer than it is: the threshold is what was found likely.
                    low = max(standing.low, min(threshold, standing.high)) if accepted else standing.low
                    return Verdict(accepted, ballot, replace(standing, low=low))
            in_flight = outstanding
            if early_stop:
                # The more samples differ, the more of the rest are needed. Together they take hardly longer than one.
                differing = len(ballot.samples) - max(map(len, ballot.groups().values()), default=0)
                wanted = estimator.wanted(ballot, total, threshold, inclusive=inclusive)
                in_flight = max(1, wanted, 2 * differing)
            while started < total and len(running) < in_flight:
                running.add(asyncio.ensure_future(sample(started)))
                started += 1
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for drawn in sorted((d.result() for d in done), key=lambda s: s.index):
                vote = await estimator.vote(task, drawn, tuple(ballot.groups()))
                ballot = Ballot((*ballot.samples, drawn), (*ballot.votes, vote))
    finally:
        for rest in running:
            rest.cancel()
        # If several samples failed together, one error is raised. The others are retrieved here.
        await asyncio.gather(*running, *done, return_exceptions=True)
