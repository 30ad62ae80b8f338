"""Code, run: do the samples do what the request shows, and the same as each other?"""

import re
from collections.abc import Sequence
from dataclasses import replace

from proxy.cascade.confidence.examples import Specification, specification
from proxy.cascade.confidence.program import program_label, source_of
from proxy.cascade.confidence.votes import cut_off, reaches, share, share_standing, votes_wanted
from proxy.cascade.protocols import Runner
from proxy.cascade.types import Ballot, Program, Sample, Standing, Task, digest

_SILENT = re.compile(r"None|\?\w+|!.*", re.DOTALL)
"""Outcomes that any program may have: nothing, an object that cannot be told from others of its type, an error."""


class BehaviourEstimator:
    """Confidence = share of the largest group of samples that behave alike.

    Behaviour is what a program returns on the inputs of the request's examples and on others made from them (minimum
    Bayes risk by execution, MBR-exec, arXiv 2204.11454), or, where that is nothing, what it prints and changes; where
    none of that shows, programs are compared as text. Where the request shows examples, a program that fails one stands
    alone, and one that passes all has half of the confidence from that alone: (1 + share) / 2. COPE's paper takes any
    sample that passes; that is a threshold of 0.5.
    """

    usual = (0.5, 0.5)

    def __init__(self, runner: Runner, *, shown: bool) -> None:
        self._runner = runner
        self._shown = shown

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Label a sample with what it does; `None` when it fails an example, or does nothing but fail."""
        wanted, source = specification(task.text), source_of(sample.text)
        if wanted is None or source is None or cut_off(sample):
            return None
        behaviour = await self._runner.run(program(wanted, source))
        if not behaviour.passed or all(outcome.startswith("!") for outcome in behaviour.outcomes):
            return None
        if all(map(_SILENT.fullmatch, behaviour.outcomes)):
            return program_label(sample.text)
        return f"{wanted.entry[:40]} {digest(chr(0).join(behaviour.outcomes))}"

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`. A sample that stands alone may be returned, and has no confidence."""
        votes = share_standing(ballot, total, lone_may_win=False)
        if votes.winner is not None:
            return replace(votes, low=self._confidence(votes.low), high=self._confidence(votes.high))
        alone = share_standing(ballot, total)
        outstanding = max(0, total - len(ballot.samples))
        high = self._confidence(share(outstanding, total))
        return replace(alone, low=0.0, high=high, fixed=not outstanding)

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.needed`."""
        enough = (
            k
            for k in range(total + 1)
            if reaches(self._confidence(share(k, total)), threshold, inclusive=inclusive)
        )
        return next(enough, total + 1)

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`."""
        return votes_wanted(ballot, total, self.needed(total, threshold, inclusive=inclusive))

    def _confidence(self, agreed: float) -> float:
        return (1 + agreed) / 2 if self._shown and agreed else agreed


def program(wanted: Specification, source: str) -> Program:
    """Return the program to run for an answer: a whole one, or the body of the one that the request begins."""
    whole = f"{wanted.before}\n{source}\n{wanted.entry}"
    body = f"{wanted.opened}{source}\n\n{wanted.entry}"
    return Program((whole, body) if wanted.opened else (whole,), wanted.checks, wanted.probes)
