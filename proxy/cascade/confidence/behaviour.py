"""Code that can be run: do the samples pass the request's examples, and behave alike?"""

import re
from collections.abc import Sequence
from dataclasses import replace

from proxy.cascade.confidence.specification import Specification, specification
from proxy.cascade.confidence.program import source_of, vote_of
from proxy.cascade.confidence.vote_share import VoteShare
from proxy.cascade.confidence.votes import cut_off, least_votes, share, share_standing
from proxy.cascade.protocols import Runner
from proxy.cascade.types import Ballot, Program, Sample, Standing, Task, digest

_SILENT = re.compile(r"None|\?\w+|!.*", re.DOTALL)
"""Outcomes that any program may have: None, an object without a text of its own, or an error."""


class BehaviourEstimator(VoteShare):
    """Confidence = share of the largest group of samples that behave alike.

    Programs run on the inputs of the request's examples and on inputs made from them. They are compared by the values
    that they return (minimum Bayes risk by execution, MBR-exec, arXiv 2204.11454). If they return nothing, they are
    compared by their output and by the changes to their arguments. If nothing can be observed, they are compared as text.

    If the request has examples, a program that fails one joins no group. A program that passes all of them has half of
    the confidence from that alone: (1 + share) / 2. COPE's paper accepts any sample that passes, which is a threshold of
    0.5.
    """

    default_thresholds = (0.5, 0.5)

    def __init__(self, runner: Runner, *, shown: bool) -> None:
        self._runner = runner
        self._shown = shown

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return a label for the behaviour of a sample, or `None` if it fails an example or every probe."""
        wanted, source = specification(task.text), source_of(sample.text)
        if wanted is None or source is None or cut_off(sample):
            return None
        vote = await vote_on(wanted, source, self._runner)
        return await vote_of(sample.text) if vote == "" else vote

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`. A sample without a vote may be returned, with confidence 0."""
        votes = share_standing(ballot, total, lone_may_win=False)
        if votes.winner is not None:
            return replace(votes, low=self._confidence(votes.low), high=self._confidence(votes.high))
        alone = share_standing(ballot, total)
        outstanding = max(0, total - len(ballot.samples))
        high = self._confidence(share(outstanding, total))
        return replace(alone, low=0.0, high=high, fixed=not outstanding)

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.needed`."""
        return least_votes(self._confidence, threshold, total, inclusive=inclusive)

    def _confidence(self, agreed: float) -> float:
        return (1 + agreed) / 2 if self._shown and agreed else agreed


def behaviour_estimator(task: Task, runner: Runner) -> BehaviourEstimator | None:
    """Return the estimator of a task if its programs can be run, or `None` if the request shows nothing to call."""
    wanted = specification(task.text)
    return None if wanted is None else BehaviourEstimator(runner, shown=bool(wanted.checks))


async def vote_on(wanted: Specification, source: str, runner: Runner) -> str | None:
    """Return a label for the behaviour of a program.

    It is `None` if the program fails an example or every probe, and "" if its behaviour cannot be observed.
    """
    behaviour = await runner.run(program(wanted, source))
    if not behaviour.passed or all(outcome.startswith("!") for outcome in behaviour.outcomes):
        return None
    if all(map(_SILENT.fullmatch, behaviour.outcomes)):
        return ""
    # Programs that fail at the same input fail alike, whatever error they raise.
    outcomes = ("!" if o.startswith("!") and o != "!too long" else o for o in behaviour.outcomes)
    return f"{wanted.entry[:40]} {digest(chr(0).join(outcomes))}"


def program(wanted: Specification, source: str) -> Program:
    """Return the program to run for an answer. The answer is a complete program, or the body of the request's function."""
    complete = f"{wanted.before}\n{source}\n{wanted.after}"
    body = f"{wanted.opened}{source}\n\n{wanted.after}"
    return Program((complete, body) if wanted.opened else (complete,), wanted.checks, wanted.probes)
