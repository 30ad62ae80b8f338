"""Accepted answers of a run: how many are wrong, and how many of these the large model alone has right (the regret)."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from proxy.evals.modes import BASELINE, MODES, STAGES, At, Outcome, modes_of
from proxy.evals.trial import Trial
from proxy.stats import shares


class Part(msgspec.Struct, frozen=True):
    """A part of the accepted answers.

    Attributes:
        count: the number of answers. A grade between 0 and 1 counts as a part of an answer.
        share: the count as a share of the accepted answers, 0..1. `None` if none is accepted.
        interval: a 95 % interval of the share that is exact for any number of answers.
    """

    count: float
    share: float | None
    interval: tuple[float, float]


class AcceptedAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """The accepted answers of one task kind, mode and stage.

    Attributes:
        task: the task kind.
        mode: the mode, which is a cascade.
        configured: whether the config runs this mode for this kind.
        stages: the stages that accepted the answers: one, or all of the mode.
        items: the number of items of the kind.
        accepted: the number of accepted answers.
        wrong: the accepted answers that are wrong.
        regret: the accepted answers that are wrong, and that the large model alone has right.
    """

    task: str
    mode: str
    configured: bool
    stages: tuple[int, ...]
    items: int
    accepted: int
    wrong: Part
    regret: Part


def shortfall(score: float) -> float:
    """Return 1 if an answer is wrong and 0 if it is right. A grade gives the part that is missing."""
    return 1 - score


def regret(outcome: Outcome, base: Outcome) -> float:
    """Return 1 if an answer is wrong and the large model alone is right. Of grades, return how much the large one leads."""
    return max(0.0, base.score - outcome.score)


def accepted(trials: Sequence[Trial], at: At, configured: Mapping[str, str]) -> list[AcceptedAnswers]:
    """Return the accepted answers for each task kind, cascade and stage, and for all stages of a cascade together.

    Args:
        trials: the trials of a run.
        at: returns the thresholds of an item.
        configured: the mode that the config runs for a task kind. A kind that it does not send to the small model is
            missing.
    """
    out = []
    for task in sorted({t.task for t in trials}):
        own = [t for t in trials if t.task == task]
        base = [MODES[BASELINE](t, at(t)) for t in own]
        for mode in (name for name in modes_of(own) if name in STAGES):
            pairs = list(zip([MODES[mode](t, at(t)) for t in own], base, strict=True))
            for stages in _groups(STAGES[mode]):
                taken = [(o, b) for o, b in pairs if o.stage in stages]
                out.append(
                    AcceptedAnswers(
                        task=task,
                        mode=mode,
                        configured=configured.get(task) == mode,
                        stages=stages,
                        items=len(own),
                        accepted=len(taken),
                        wrong=_part([shortfall(o.score) for o, _ in taken]),
                        regret=_part([regret(o, b) for o, b in taken]),
                    )
                )
    return out


def _groups(stages: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    yield from ((stage,) for stage in stages)
    if len(stages) > 1:
        yield stages


def _part(values: Sequence[float]) -> Part:
    count = sum(values)
    return Part(round(count, 6), count / len(values) if values else None, shares.interval(values))


_EXPLAINED = (
    "Regret: the accepted answers that are wrong while the large model alone is right. A grade counts as a part of an "
    "answer. The config runs the modes in bold."
)


def markdown(found: Sequence[AcceptedAnswers]) -> list[str]:
    """Return the table as lines of Markdown."""
    return [
        "## Accepted answers",
        "",
        "| task | mode | stage | accepted of items | wrong, of accepted (95 %) | regret, of accepted (95 %) |",
        "| --- | --- | --- | ---: | --- | --- |",
        *(
            f"| {a.task} | {_mode(a)} | {' and '.join(map(str, a.stages))} | {a.accepted} of {a.items} "
            f"| {part_text(a.wrong)} | {part_text(a.regret)} |"
            for a in found
        ),
        "",
        _EXPLAINED,
        "",
    ]


def _mode(one: AcceptedAnswers) -> str:
    return f"**{one.mode}**" if one.configured else one.mode


def part_text(part: Part) -> str:
    """Return a count with its share and interval, such as `1: 2.0 % (0.1 to 10.6)`."""
    if part.share is None:
        return "-"
    low, high = part.interval
    return f"{part.count:.4g}: {100 * part.share:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
