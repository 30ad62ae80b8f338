"""Draw samples until the verdict is certain, then stop the rest."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.cascade.confidence.votes import outlook, reaches
from proxy.cascade.protocols import Estimator
from proxy.cascade.types import Ballot, Sample, Standing, Task


@dataclass(frozen=True, slots=True)
class Verdict:
    """A closed ballot: whether it reached the threshold, and how it stood."""

    accepted: bool
    ballot: Ballot
    standing: Standing


async def draw(
    task: Task,
    estimator: Estimator,
    sample: Callable[[int], Awaitable[Sample]],
    *,
    total: int,
    threshold: float,
    inclusive: bool,
    early_stop: bool,
    stop_error: float = 0.0,
    told: Callable[[float], None] = lambda _: None,
) -> Verdict:
    """Run up to `total` samples concurrently and close the ballot as soon as its verdict cannot change.

    The verdict is that of full voting: accepted once even the worst outcome of the outstanding samples
    reaches the threshold with the same winner, refused once their best outcome does not. While all agree, no more
    are begun than that takes. Samples that are no longer needed are cancelled, which reaches the engine. An error
    of one sample cancels the others.

    Args:
        task: what is asked.
        estimator: gives the votes and the confidence.
        sample: draws the sample of an index.
        total: how many samples are drawn at most.
        threshold: the confidence to reach.
        inclusive: whether equality is enough.
        early_stop: whether to stop before all are drawn.
        stop_error: for votes by share: also stop once the verdict or the answer of full voting would differ with no
            more than this chance (see `outlook`); 0 stops for certainty alone.
        told: is told the odds of acceptance after each sample of a vote by share.
    """
    ballot = Ballot()
    running: set[asyncio.Task[Sample]] = set()
    done: set[asyncio.Task[Sample]] = set()
    launched = 0
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
                told(chance.leads)
                refused, certain = chance.reached <= stop_error, 1 - chance.kept <= stop_error
                if early_stop and stop_error and (refused or certain):
                    # On the estimator's own scale, as if no more had been asked for.
                    so_far = estimator.standing(ballot, len(ballot.samples))
                    return Verdict(certain and so_far.winner is not None, ballot, so_far)
            wanted = outstanding
            if early_stop:
                # The more differ, the more of the rest are needed, too, and together they take hardly longer than one.
                astray = len(ballot.samples) - max(map(len, ballot.groups().values()), default=0)
                lacking = estimator.wanted(ballot, total, threshold, inclusive=inclusive)
                wanted = max(1, lacking, 2 * astray)
            while launched < total and len(running) < wanted:
                running.add(asyncio.ensure_future(sample(launched)))
                launched += 1
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for drawn in sorted((d.result() for d in done), key=lambda s: s.index):
                vote = await estimator.vote(task, drawn, tuple(ballot.groups()))
                ballot = Ballot((*ballot.samples, drawn), (*ballot.votes, vote))
    finally:
        for rest in running:
            rest.cancel()
        # Of several samples that failed together one is raised; the others are taken note of here.
        await asyncio.gather(*running, *done, return_exceptions=True)
