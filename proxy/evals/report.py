"""The results of a run as tables and as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from proxy.evals import accepted
from proxy.evals.accepted import AcceptedAnswers
from proxy.evals.modes import BASELINE, MODES, At, modes_of
from proxy.evals.trial import Trial, Vote
from proxy.pricing.money import format_usd
from proxy.stats import bootstrap, shares


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One mode on one task kind. Costs are nano-USD per 1,000 requests, and pairs are 95 % intervals.

    The interval of the score is exact for any number of items. The others are bootstrap intervals.
    """

    task: str
    mode: str
    items: int
    score: float
    score_interval: tuple[float, float]
    cost: int
    cost_share: float
    cost_share_interval: tuple[float, float]
    better_by: float
    better_by_interval: tuple[float, float]
    stages: tuple[float, float, float]


class Confidence(msgspec.Struct, frozen=True, kw_only=True):
    """How well the confidence of a vote separates right from wrong answers."""

    task: str
    vote: str
    items: int
    right: float
    auroc: float
    auroc_interval: tuple[float, float]
    calibration_error: float
    curve: list[tuple[float, float, int]]


def lines(trials: Sequence[Trial], at: At) -> list[Line]:
    """Return a line for each task kind and mode."""
    out = []
    for task in sorted({t.task for t in trials}):
        own = [t for t in trials if t.task == task]
        base = [MODES[BASELINE](t, at(t)) for t in own]
        for name, mode in modes_of(own).items():
            outcomes = [mode(t, at(t)) for t in own]
            scores = [(o.score, b.score) for o, b in zip(outcomes, base, strict=True)]
            costs = [(float(o.cost), float(b.cost)) for o, b in zip(outcomes, base, strict=True)]
            out.append(
                Line(
                    task=task,
                    mode=name,
                    items=len(own),
                    score=bootstrap.mean(scores),
                    score_interval=shares.interval([o.score for o in outcomes]),
                    cost=round(1000 * bootstrap.mean(costs)),
                    cost_share=bootstrap.ratio(costs),
                    cost_share_interval=bootstrap.interval(costs, bootstrap.ratio),
                    better_by=bootstrap.difference(scores),
                    better_by_interval=bootstrap.interval(scores, bootstrap.difference),
                    stages=tuple(sum(o.stage == s for o in outcomes) / len(own) for s in (1, 2, 3)),  # type: ignore[arg-type]
                )
            )
    return out


def confidences(trials: Sequence[Trial]) -> list[Confidence]:
    """Return a line for each task kind and vote: the plain one, and those of both stages."""
    out = []
    for task in sorted({t.task for t in trials}):
        own = [t for t in trials if t.task == task]
        for name, votes in _votes(own).items():
            rows = [(vote.confidence, vote.score) for vote in votes if vote is not None]
            if not rows:
                continue
            out.append(
                Confidence(
                    task=task,
                    vote=name,
                    items=len(rows),
                    right=bootstrap.mean([(score,) for _, score in rows]),
                    auroc=bootstrap.auroc(rows),
                    auroc_interval=bootstrap.interval(rows, bootstrap.auroc),
                    calibration_error=bootstrap.calibration_error(rows),
                    curve=bootstrap.calibration(rows),
                )
            )
    return out


def _votes(trials: Sequence[Trial]) -> dict[str, list[Vote | None]]:
    return {
        "no plans": [t.plain for t in trials],
        "stage 1": [t.first for t in trials],
        "stage 2": [t.second for t in trials],
        "stage 2, separate planner": [t.separate.second for t in trials if t.separate is not None],
    }


_HEAD = (
    "| task | mode | items | quality % (95 %) | USD per 1,000 | of large alone % (95 %) "
    "| points against large alone (95 %) | answered at stage 1/2/3, % |"
)


def markdown(
    found: Sequence[Line], taken: Sequence[AcceptedAnswers], sure: Sequence[Confidence], heading: str
) -> str:
    """Return the tables as Markdown."""
    rows = [
        f"| {x.task} | {x.mode} | {x.items} | {_share(x.score)} {_range(x.score_interval)} | {format_usd(x.cost)} "
        f"| {_share(x.cost_share)} {_range(x.cost_share_interval)} | {_points(x.better_by)} "
        f"({_points(x.better_by_interval[0])} to {_points(x.better_by_interval[1])}) "
        f"| {' / '.join(f'{100 * s:.0f}' for s in x.stages)} |"
        for x in found
    ]
    sures = [
        f"| {c.task} | {c.vote} | {c.items} | {_share(c.right)} | {c.auroc:.3f} ({c.auroc_interval[0]:.2f} to "
        f"{c.auroc_interval[1]:.2f}) | {c.calibration_error:.3f} "
        f"| {', '.join(f'{conf:.2f}: {_share(right)} of {n}' for conf, right, n in c.curve)} |"
        for c in sure
    ]
    return "\n".join(
        [
            f"# {heading}",
            "",
            "## Modes",
            "",
            _HEAD,
            "| --- | --- | ---: | --- | ---: | --- | --- | --- |",
            *rows,
            "",
            *accepted.markdown(taken),
            "## Confidence",
            "",
            "| task | vote | items | right % | AUROC (95 %) | calibration error | right at confidence |",
            "| --- | --- | ---: | ---: | --- | ---: | --- |",
            *sures,
            "",
        ]
    )


def _share(value: float) -> str:
    return f"{100 * value:.1f}"


def _range(interval: tuple[float, float]) -> str:
    return f"({_share(interval[0])} to {_share(interval[1])})"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def write(
    folder: Path,
    found: Sequence[Line],
    taken: Sequence[AcceptedAnswers],
    sure: Sequence[Confidence],
    heading: str,
) -> str:
    """Write `report.md` and `report.json` into a folder. Return the tables."""
    text = markdown(found, taken, sure, heading)
    (folder / "report.md").write_text(text)
    results: dict[str, Any] = {"heading": heading, "modes": found, "accepted": taken, "confidences": sure}
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    return text
