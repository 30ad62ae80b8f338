"""Code, run: do the samples do what the request shows, and the same as each other?"""

from collections.abc import Sequence
from dataclasses import replace

from proxy.cascade.confidence.examples import Specification, specification
from proxy.cascade.confidence.program import source_of
from proxy.cascade.confidence.votes import cut_off, share, share_standing, votes_wanted
from proxy.cascade.types import Ballot, Program, Runner, Sample, Standing, Task, digest


class BehaviourEstimator:
    """Confidence = share of the largest group of samples that behave alike and do what the request's examples show.

    A program that fails an example of the request stands alone. Behaviour is what it returns on the examples' inputs
    and on others made from them (minimum Bayes risk by execution, MBR-exec, arXiv 2204.11454). At a threshold of 1/n
    this is the rule of COPE's paper: one sample that passes all visible tests is enough.
    """

    by_share = True

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Label a sample with what it does; `None` when it fails an example, or does nothing but fail."""
        wanted, source = specification(task.text), source_of(sample.text)
        if wanted is None or source is None or cut_off(sample):
            return None
        behaviour = await self._runner.run(program(wanted, source))
        if not behaviour.passed or all(outcome.startswith("!") for outcome in behaviour.outcomes):
            return None
        return f"{wanted.entry[:40]} {digest(chr(0).join(behaviour.outcomes))}"

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`. A sample that stands alone may be returned, and has no confidence."""
        votes = share_standing(ballot, total, lone_may_win=False)
        if votes.winner is not None:
            return votes
        alone = share_standing(ballot, total)
        outstanding = max(0, total - len(ballot.samples))
        return replace(alone, low=0.0, high=share(outstanding, total), fixed=not outstanding)

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`."""
        return votes_wanted(ballot, total, threshold, inclusive=inclusive, lone_may_win=False)


def program(wanted: Specification, source: str) -> Program:
    """Return the program to run for an answer: a whole one, or the body of the one that the request begins."""
    whole = f"{wanted.before}\n{source}\n{wanted.entry}"
    body = f"{wanted.opened}{source}\n\n{wanted.entry}"
    return Program((whole, body) if wanted.opened else (whole,), wanted.checks, wanted.probes)
