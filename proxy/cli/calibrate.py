"""`cope-proxy calibrate`: choose thresholds that meet a target with a guarantee."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from proxy.cascade.types import Plans, Policy, TaskKind
from proxy.cli.audits import models_of, no_audits_of_models
from proxy.cli.options import (
    MOST_DAYS,
    USD,
    check_writable,
    config_option,
    console,
    settings_of,
    with_database,
)
from proxy.config.controls import Controls
from proxy.config.policy import NEVER, policy
from proxy.config.schema import Settings
from proxy.evals import trial
from proxy.evals.thresholds_from_audits import AuditChoice, cost_from_audits, from_audits, priced
from proxy.evals.thresholds_from_runs import Choice, Rated, Target, calibrate
from proxy.ledger.audits import Evidence, evidence, total
from proxy.pricing.money import format_usd

if TYPE_CHECKING:
    from proxy.ledger.database import Database


@click.command("calibrate")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--quality",
    type=click.FloatRange(0, 1.5, min_open=True),
    help="Lowest share of the large model's quality, such as 0.99.",
)
@click.option("--max-usd-per-1000", "cost", type=USD, help="Highest average cost of 1,000 requests.")
@click.option(
    "--risk",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0.001, 0.5),
    help="Probability of missing the target.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the random split into two halves.")
@click.option("--audited", is_flag=True, help="Use audits of real traffic instead of runs.")
@click.option(
    "--days", default=30, show_default=True, type=click.IntRange(1, MOST_DAYS), help="Days of audits to use."
)
@config_option
@click.option(
    "--out",
    default="calibration.toml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="File to write.",
)
def calibrate_command(
    runs: tuple[Path, ...], quality: float | None, cost: int | None, risk: float, seed: int, audited: bool, days: int,
    config: str | None, out: Path,
) -> None:  # fmt: skip
    """Choose thresholds per task kind from RUNS of `cope-proxy eval` or from audits.

    The chosen thresholds meet the target on similar traffic with probability 1 - risk. With --audited, --quality is
    the share of local answers that agree with the large model's.
    """
    if bool(runs) == audited:
        raise click.UsageError("name either folders of `cope-proxy eval` or --audited")
    check_writable(out)
    if (quality is None) == (cost is None):
        raise click.UsageError("name one target: --quality 0.99 or --max-usd-per-1000 0.5")
    target = Target("quality", quality) if quality is not None else Target("cost", (cost or 0) / 1000)
    if audited:
        _from_audits(settings_of(config), days, target, risk, seed, out)
        return
    trials = [t for run in runs for t in trial.read(run)]
    choices = [
        calibrate([t for t in trials if t.task == task], target, risk=risk, seed=seed)
        for task in sorted({t.task for t in trials})
    ]
    for choice in choices:
        console().print(_table(choice))
    _write(out, _toml(choices, target, risk))


def _write(out: Path, lines: list[str]) -> None:
    out.write_text("\n".join(lines) + "\n")
    click.echo(f'written to {out}; `serve` applies it with cascade.calibration = "{out}"')


def _from_audits(settings: Settings, days: int, target: Target, risk: float, seed: int, out: Path) -> None:
    found = _evidence(settings, days)
    kinds = {task: [a for a in found if a.task == task] for task in sorted({a.task for a in found})}
    lines = [
        f"# Written by `cope-proxy calibrate --audited`: {_agreement_text(target)}, at a risk of {100 * risk:g} %."
    ]
    for task, audits in kinds.items():
        configured = _configured_policy(settings, task)
        if target.kind == "cost" and (with_cost := _audits_with_cost(task, audits)):
            choice = cost_from_audits(with_cost, target.value, risk=risk, seed=seed)
            _show(choice)
            # The guarantee covers the cost of stage 1. A guideline would add to it.
            plans: Plans = "goals" if configured.plans == "all" else configured.plans
            lines += _kind_table(choice, plans, configured.samples, NEVER, _comments(choice))
        elif target.kind == "quality" and any(a.agreed is not None for a in audits):
            first, second = from_audits(audits, target.value, risk=risk, seed=seed)
            _show(first)
            _show(second)
            lines += _kind_table(first, configured.plans, configured.samples, second.chosen)
        else:
            click.echo(f"{task}: none of {len(audits)} audits measures this target; it keeps its thresholds")
    if len(lines) == 1:
        raise click.ClickException("no audit measures this target yet; set audit.share to audit more answers")
    _write(out, lines)


def _show(choice: AuditChoice) -> None:
    if choice.frontier:
        console().print(_audit_table(choice))
    else:
        click.echo(f"{choice.task}: no audit covers stage {choice.stage}, so it accepts nothing")


def _kind_table(
    first: AuditChoice, plans: Plans, samples: int, stage2: float, comments: Iterable[str] = ()
) -> list[str]:
    """Return the table of a task kind. Its thresholds only hold for these samples and plans."""
    return [
        "",
        f"[{first.task}]",
        *comments,
        f'plans = "{plans}"',
        f"samples = {samples}",
        f"stage1 = {_threshold_text(first.chosen)}",
        f"stage2 = {_threshold_text(stage2)}",
    ]


def _comments(choice: AuditChoice) -> Iterator[str]:
    """Yield a comment if the cost is not certified or depends on estimates."""
    if not choice.certified:
        yield "# NOT certified: no threshold holds the target; this is the cheapest one"
    elif choice.estimated:
        of = choice.frontier[0].audits
        yield f"# certified as far as estimates are right: {choice.estimated} of {of} prices of the large model are"


def _audits_with_cost(task: str, audits: list[Evidence]) -> list[Evidence]:
    """Return the audits of stage 1 that have a cost. Report the number of the others."""
    first = [a for a in audits if a.stage == 1]
    with_cost = priced(first)
    if with_cost and (missing := len(first) - len(with_cost)):
        click.echo(f"{task}: {missing} audits do not say what they cost and are left out")
    return with_cost


def _evidence(settings: Settings, days: int) -> list[Evidence]:
    """Return the audits of the configured models and numbers of samples."""
    since, models = datetime.now(UTC) - timedelta(days=days), models_of(settings)

    async def read(engine: "Database") -> tuple[list[Evidence], int]:
        return await evidence(engine, since, models), await total(engine, since)

    found, count = with_database(settings, read)
    if not found:
        raise click.ClickException(
            no_audits_of_models(count, days, models)
            if count
            else f"no audits in {days} days; set audit.share to audit some answers"
        )
    sizes = {task: _configured_policy(settings, task).samples for task in {a.task for a in found}}
    fitting = [a for a in found if a.samples == sizes[a.task]]
    if not fitting:
        raise click.ClickException(
            f"none of the {len(found)} audits of {days} days is of the n that is configured"
        )
    for task, count in sorted(Counter(a.task for a in found if a.samples != sizes[a.task]).items()):
        click.echo(f"{task}: {count} audits are of another n than {sizes[task]} and left out")
    return fitting


def _configured_policy(settings: Settings, task: str) -> Policy:
    programs = settings.cascade.programs and settings.sandbox.enabled
    return policy(settings.cascade, TaskKind(task), (NEVER, NEVER), Controls(), programs=programs)


def _audit_table(choice: AuditChoice) -> Table:
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


def _table(choice: Choice) -> Table:
    shown, out = list(choice.frontier), choice.left_out
    left = f"{out} of {shown[0].items + out} items left out: their confidences are on another scale"
    table = Table(
        "", "plans", "stage 1 from", "stage 2 from", "quality %", "of large %", "USD per 1,000", "of large %",
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
        )
    return table


def _cells(rated: Rated) -> tuple[str, ...]:
    way = rated.way
    thresholds = ("never" if t > 1 else f"{t:.4g}" for t in (way.stage1, way.stage2))
    figures = _figures(rated.score, rated.quality_share, rated.cost, rated.cost_share)
    return (way.plans, *thresholds, *figures)


def _figures(score: float, quality_share: float, cost: float, cost_share: float) -> tuple[str, ...]:
    return (
        f"{100 * score:.1f}",
        f"{100 * quality_share:.1f}",
        format_usd(1000 * round(cost)),
        f"{100 * cost_share:.1f}",
    )


def _agreement_text(target: Target) -> str:
    return f"at least {100 * target.value:g} % agree" if target.kind == "quality" else _cost_text(target)


def _cost_text(target: Target) -> str:
    return f"at most {format_usd(round(1000 * target.value))} USD per 1,000 requests"


def _toml(choices: list[Choice], target: Target, risk: float) -> list[str]:
    quality_text = f"at least {100 * target.value:g} % of the large model's quality"
    target_text = quality_text if target.kind == "quality" else _cost_text(target)
    lines = [f"# Written by `cope-proxy calibrate`: {target_text}, at a risk of {100 * risk:g} %."]
    for choice in choices:
        lines += ["", f"[{choice.task}]"]
        if choice.chosen is None:
            lines += [
                f"# none of {choice.tested} ways holds the target and costs less: the large model alone",
                "skip = true",
            ]
            continue
        r = choice.chosen
        pair = f"stage1 = {_threshold_text(r.way.stage1)}, stage2 = {_threshold_text(r.way.stage2)}"
        if not choice.certified:
            lines.append(
                f"# NOT certified: none of {choice.tested} ways holds the target; this is the cheapest one"
            )
        lines += [
            f"# on {r.items} items: {100 * r.quality_share:.1f} % of the quality at {100 * r.cost_share:.1f} % of the cost",
            f'plans = "{r.way.plans}"',
            f"samples = {choice.samples}",
            # An estimator with other default thresholds was not tested.
            f"certified = {{ usual = {list(choice.usual)}, {pair} }}",
        ]
    return lines


def _threshold_text(value: float) -> str:
    """Return a confidence in TOML, without rounding."""
    return '"never"' if value > 1 else repr(float(value))
