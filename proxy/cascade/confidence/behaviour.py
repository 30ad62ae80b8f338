"""Code that can be run: do the samples pass the request's examples, and behave alike?"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from proxy.cascade.confidence.program import source_of, vote_of
from proxy.cascade.confidence.specification import Specification, asked_probes, bridge, specification
from proxy.cascade.confidence.specification.records import MOST_PROBES
from proxy.cascade.confidence.vote_share import VoteShare
from proxy.cascade.confidence.votes import cut_off, least_votes, share, share_standing
from proxy.cascade.protocols import Runner
from proxy.cascade.types import Ballot, Behaviour, Program, Sample, Standing, Task, digest

_SILENT = re.compile(r"None|\?\w+|!.*", re.DOTALL)
"""Outcomes that any program may have: None, an object without a text of its own, or an error."""


class BehaviourEstimator(VoteShare):
    """Confidence from the share of the largest group of samples that behave alike.

    Programs run on the inputs of the request's examples and on inputs made from them. They are compared by the values
    that they return (minimum Bayes risk by execution, MBR-exec, arXiv 2204.11454). If they return nothing, they are
    compared by their output and by the changes to their arguments. If nothing can be observed, they are compared as text.

    If the request has examples, a program that fails one joins no group. Two or more that pass and agree have half of
    the confidence from that: (1 + share) / 2. One alone has share / 2, because one example lets many wrong programs pass.
    Without examples the confidence is the square of the share: what a request leaves open is often misread in one way.
    A single sample, if no more are planned, has confidence 1 in both cases.
    """

    default_thresholds = (0.5, 0.5)

    def __init__(self, runner: Runner, *, shown: bool, asks_inputs: bool = False) -> None:
        self._runner = runner
        self._shown = shown
        self.asks_inputs = asks_inputs

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return a label for the behaviour of a sample, or `None` if it fails an example or every probe."""
        wanted, source = specification(task.text), source_of(sample.text)
        if wanted is None or source is None or cut_off(sample):
            return None
        if not wanted.probes and not wanted.streams and task.inputs is not None:
            wanted = replace(wanted, probes=asked_probes(wanted, await task.inputs()))
        vote = await vote_on(wanted, source, self._runner)
        return await vote_of(sample.text) if vote == "" else vote

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`. A sample without a vote may be returned, with confidence 0."""
        confidence = self._scale(total)
        votes = share_standing(ballot, total, lone_may_win=False)
        if votes.winner is not None:
            return replace(votes, low=confidence(votes.low), high=confidence(votes.high))
        alone = share_standing(ballot, total)
        outstanding = max(0, total - len(ballot.samples))
        return replace(alone, low=0.0, high=confidence(share(outstanding, total)), fixed=not outstanding)

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.needed`."""
        return least_votes(self._scale(total), threshold, total, inclusive=inclusive)

    def _scale(self, total: int) -> Callable[[float], float]:
        """Return the function from the share of `total` samples to the confidence."""

        def confidence(agreed: float) -> float:
            if total == 1:
                return agreed
            if not self._shown:
                return agreed * agreed
            return (1 + agreed) / 2 if agreed > share(1, total) else agreed / 2

        return confidence


def behaviour_estimator(task: Task, runner: Runner) -> BehaviourEstimator | None:
    """Return the estimator of a task if its programs can be run, or `None` if the request asks for no function."""
    wanted = specification(task.text)
    if wanted is None:
        return None
    shown = bool(wanted.checks or wanted.streams)
    return BehaviourEstimator(runner, shown=shown, asks_inputs=not (wanted.probes or wanted.streams))


async def vote_on(wanted: Specification, source: str, runner: Runner) -> str | None:
    """Return a label for the behaviour of a program.

    It is `None` if the program fails an example or every probe, and "" if its behaviour cannot be observed.
    """
    runs = program(wanted, source)
    behaviour = await runner.run(runs) if runs.probes else Behaviour(passed=False)
    if not behaviour.passed or all(outcome.startswith("!") for outcome in behaviour.outcomes):
        return None
    observed = {outcome for outcome in behaviour.outcomes if not _SILENT.fullmatch(outcome)}
    # Without an example, a constant is no evidence: a program that does nothing returns one, too.
    if not observed or (len(observed) == 1 and not runs.checks):
        return ""
    # Programs that fail at the same input fail alike, whatever error they raise.
    outcomes = ("!" if o.startswith("!") and o != "!too long" else o for o in behaviour.outcomes)
    return f"{wanted.entry[:40]} {digest(chr(0).join(outcomes))}"


def program(wanted: Specification, source: str) -> Program:
    """Return the program to run for an answer.

    The answer has the function, is the body of the request's function, or is a program that reads and prints.
    """
    if wanted.streams and bridge.reads_input(source):
        calls = tuple(f"{bridge.ADAPTED}({given!r})" for given, _ in wanted.streams)
        outputs = (" ".join(printed.split()) for _, printed in wanted.streams)
        checks = tuple(f"assert {c} == {o!r}" for c, o in zip(calls, outputs, strict=True))
        more = (f"{bridge.ADAPTED}({v!r})" for given, _ in wanted.streams for v in bridge.varied(given))
        return Program((bridge.as_function(source),), checks, (*calls, *itertools.islice(more, MOST_PROBES)))
    complete = f"{wanted.before}\n{source}\n{wanted.after}"
    body = f"{wanted.opened}{source}\n\n{wanted.after}"
    return Program((complete, body) if wanted.opened else (complete,), wanted.checks, wanted.probes)
