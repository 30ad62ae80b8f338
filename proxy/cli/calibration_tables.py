"""Tables of a calibration for the terminal."""

from rich.table import Table

from proxy.evals.thresholds_from_audits import AuditChoice
from proxy.evals.thresholds_from_runs import Choice, Rated
from proxy.pricing.money import format_usd


def audit_table(choice: AuditChoice) -> Table:
    """Return the effect of each possible threshold."""
    total = choice.frontier[0].audits
    certified = "" if choice.certified else ", NOT certified"
    estimated = f"; {choice.estimated} of the large model's prices are estimates" if choice.estimated else ""
    table = Table(
        "", "accept from", "accepted %", "of them agree %", "as the large model %", "USD per 1,000", "of large %",
        title=f"{choice.task}, stage {choice.stage}: {total} audits{certified}",
        caption=f"USD: cost of stage {choice.stage}, plus the large model after an escalation{estimated}",
    )  # fmt: skip
    for level in choice.frontier:
        table.add_row(
            "chosen" if level.threshold == choice.chosen else "",
            "never" if level.threshold > 1 else f"{level.threshold:.4g}",
            _percent(level.accepted, total),
            _percent(level.agreed, level.judged),
            "-" if level.alike is None else _percent(level.alike, 1),
            "-" if level.cost is None else format_usd(1000 * round(level.cost)),
            _percent(level.cost or 0, level.large_cost or 0),
        )
    return table


def _percent(part: float, of: float) -> str:
    return f"{100 * part / of:.1f}" if of else "-"


def choice_table(choice: Choice) -> Table:
    """Return the frontier, and the chosen way."""
    shown, out = list(choice.frontier), choice.left_out
    left = f"{out} of {shown[0].items + out} items left out: their confidences are on another scale"
    table = Table(
        "", "plans", "stage 1 from", "stage 2 from", "quality %", "of large %", "USD per 1,000", "of large %",
        "accepted %", "regret %",
        title=f"{choice.task}: {choice.certified} of {choice.tested} tested ways certified",
        caption=left if out else None,
    )  # fmt: skip
    if choice.chosen is not None and choice.chosen.way not in [r.way for r in shown]:
        shown.append(choice.chosen)
    for rated in shown:
        mark = "chosen" if choice.chosen is not None and rated.way == choice.chosen.way else ""
        table.add_row(mark, *_cells(rated))
    if choice.chosen is None:
        table.add_row(
            "chosen",
            "-",
            "the large model alone",
            "-",
            *_figures(shown[0].large_score, 1, shown[0].large_cost, 1),
            "0.0",
            "-",
        )
    return table


def _cells(rated: Rated) -> tuple[str, ...]:
    way = rated.way
    thresholds = ("never" if t > 1 else f"{t:.4g}" for t in (way.stage1, way.stage2))
    figures = _figures(rated.score, rated.quality_share, rated.cost, rated.cost_share)
    accepted = f"{100 * rated.accepted / rated.items:.1f}"
    regret = f"{100 * rated.regret_share:.1f}" if rated.accepted else "-"
    return (way.plans, *thresholds, *figures, accepted, regret)


def _figures(score: float, quality_share: float, cost: float, cost_share: float) -> tuple[str, ...]:
    return (
        f"{100 * score:.1f}",
        f"{100 * quality_share:.1f}",
        format_usd(1000 * round(cost)),
        f"{100 * cost_share:.1f}",
    )
