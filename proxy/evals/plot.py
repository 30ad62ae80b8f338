"""A plot of quality over cost: one point a mode, and the frontier of the cascade."""

from collections.abc import Sequence
from pathlib import Path

from proxy.evals.report import Line
from proxy.evals.thresholds_from_runs import Rated

_MARKS = ("o", "s", "D", "^", "v", "*", "P", "X")


def draw(folder: Path, found: Sequence[Line], frontiers: dict[str, list[Rated]]) -> list[Path]:
    """Write `plot.svg` and `plot.png`, with one panel a task kind. Return their paths, or none without matplotlib."""
    try:
        import matplotlib  # noqa: ICN001, PLC0415  (an extra: [evals])
    except ModuleNotFoundError:
        return []
    matplotlib.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    tasks = sorted({line.task for line in found})
    figure, panels = plt.subplots(1, len(tasks), figsize=(5.2 * len(tasks), 4.4), squeeze=False)
    for panel, task in zip(panels[0], tasks, strict=True):
        own = [line for line in found if line.task == task]
        curve = frontiers.get(task, [])
        panel.plot([100 * p.cost_share for p in curve], [100 * p.score for p in curve], color="0.6", zorder=1)
        for line, mark in zip(own, _MARKS, strict=False):
            low, high = line.score_interval
            x, y = 100 * line.cost_share, 100 * line.score
            panel.errorbar(
                x, y, [[y - 100 * low], [100 * high - y]], fmt=mark, capsize=2, label=line.mode, zorder=2
            )
        panel.set_title(f"{task}, {own[0].items} items")
        panel.set_xlabel("cost, % of large alone")
        panel.set_ylabel("quality, % (95 % interval)")
        panel.grid(alpha=0.3)
        panel.legend(fontsize="x-small")
    figure.tight_layout()
    paths = [folder / "plot.svg", folder / "plot.png"]
    for path in paths:
        figure.savefig(path, dpi=150)
    plt.close(figure)
    return paths
