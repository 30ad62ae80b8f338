"""Mathematics with programs: part of the samples compute their result, and it votes beside the results of texts.

A program of thought (arXiv 2211.12588) and a text reach the same wrong result more rarely than two texts do. Agreement
across both is therefore stronger evidence than agreement within one (arXiv 2604.17433).
"""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

from proxy.cascade.confidence import calculation
from proxy.cascade.confidence.canonical import short
from proxy.cascade.confidence.mathematics import MathEstimator, equivalent
from proxy.cascade.confidence.program import source_of
from proxy.cascade.confidence.quantities import normalised
from proxy.cascade.confidence.votes import cut_off, likeliest, reaches, share
from proxy.cascade.prompts import MATH_FORM, PROGRAM_FORM
from proxy.cascade.protocols import Runner
from proxy.cascade.types import Ballot, Program, Sample, Standing, Task

_INSIDE = Path(calculation.__file__).read_text()
_FENCE = "```"
_FRESH = ""
"""The label of a group that has no votes yet."""

Groups = Mapping[str, Sequence[int]]
"""The indices of the samples of each group."""


class ComputedEstimator:
    """Confidence = share of the largest group of equal results. Half of it if only texts, or only programs, agree.

    Samples with even indices are texts, and those with odd indices are programs.
    """

    # Stage 2 was not measured with programs, so it needs one vote more than stage 1.
    default_thresholds = (0.75, 0.8)
    forms: tuple[str, ...] = (MATH_FORM, PROGRAM_FORM)

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._texts = MathEstimator()

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return the group with an equivalent result, else a new one, or `None` if the sample has no result."""
        if not is_program(sample.index):
            return await self._texts.vote(task, sample, groups)
        source = source_of(_closed(sample.text) if cut_off(sample) else sample.text)
        if source is None:
            return None
        behaviour = await self._runner.run(program(source))
        label = label_of(behaviour.outcomes[0]) if behaviour.outcomes else None
        if label is None or label in groups:
            return label
        for group in groups:
            if await equivalent(label, group):
                return group
        return label

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`. The winner is a text if the leading group has one.

        A text without a vote may be returned, with confidence 0.
        """
        groups, missing = ballot.groups(), _missing(ballot, total)
        indices = _indices(ballot)
        leader = _leader(indices, total)
        high = max(confidence([*members, *missing], total) for members in (*indices.values(), []))
        if leader is None:
            alone = likeliest([s for s in ballot.samples if not is_program(s.index)])
            return Standing(low=0.0, high=high, winner=alone, fixed=not missing)
        texts = [s for s in groups[leader] if not is_program(s.index)]
        return Standing(
            low=confidence(indices[leader], total),
            high=high,
            winner=likeliest(texts or groups[leader]),
            fixed=_is_fixed(indices, leader, missing, total),
        )

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> None:
        """See `Estimator.needed`."""
        return

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`."""
        indices, missing = _indices(ballot), _missing(ballot, total)
        leader = _leader(indices, total) or _FRESH
        for count in range(len(missing) + 1):
            joined = {**indices, leader: [*indices.get(leader, []), *missing[:count]]}
            enough = reaches(confidence(joined[leader], total), threshold, inclusive=inclusive)
            if enough and joined[leader] and _is_fixed(joined, leader, missing[count:], total):
                return count
        return 0


def computed_estimator(_task: Task, runner: Runner) -> ComputedEstimator:
    """Return the estimator of a task of mathematics if programs can be run."""
    return ComputedEstimator(runner)


def is_program(index: int) -> bool:
    """Return True if the sample with this index is asked for a program."""
    return index % 2 == 1


def confidence(indices: Sequence[int], total: int) -> float:
    """Return the confidence in the result of a group, 0..1, from the indices of its samples."""
    agreed = share(len(indices), total)
    return agreed if len({is_program(index) for index in indices}) > 1 else agreed / 2


def program(source: str) -> Program:
    """Return the program to run for an answer. Its one outcome is the text of the value."""
    # The value is computed while the program is loaded, where it has more time than a probe.
    run = f"VALUE = calculated({source!r})\n\ndef shown():\n    return VALUE\n"
    return Program((f"{_INSIDE}\n\n{run}",), (), ("shown()",))


def _closed(text: str) -> str:
    """Return a text that was cut off up to the end of its last closed code block. What follows is no program."""
    parts = text.split(_FENCE)
    return _FENCE.join(parts[: (len(parts) - 1) // 2 * 2]) + _FENCE if len(parts) > 2 else ""


def label_of(outcome: str) -> str | None:
    """Return the label of a value from the outcome of `program`, or `None` if it has none."""
    try:
        value = ast.literal_eval(outcome)  # at most 2,000 characters
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the report may be forged
        return None
    return short(normalised(value)) or None if isinstance(value, str) else None


def _indices(ballot: Ballot) -> dict[str, list[int]]:
    return {label: [s.index for s in group] for label, group in ballot.groups().items()}


def _missing(ballot: Ballot, total: int) -> list[int]:
    """Return the indices that are still outstanding, lowest first."""
    drawn = {s.index for s in ballot.samples}
    return [index for index in range(total) if index not in drawn]


def _leader(indices: Groups, total: int) -> str | None:
    return min(indices, key=lambda label: _rank(indices[label], total), default=None)


def _rank(indices: Sequence[int], total: int) -> tuple[float, int]:
    """Return the rank of a group, best first. Of two with equal confidence, the one with the lowest index leads."""
    return -confidence(indices, total), min(indices)


def _is_fixed(indices: Groups, leader: str, missing: Sequence[int], total: int) -> bool:
    """Return True if no outstanding sample can put another group ahead of the leading one."""
    if not missing:
        return True
    rivals = [*(members for label, members in indices.items() if label != leader), []]
    return all(_rank([*members, *missing], total) > _rank(indices[leader], total) for members in rivals)
