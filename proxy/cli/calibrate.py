"""`cope-proxy calibrate`: choose thresholds that meet targets with a guarantee."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.cascade.types import Policy, TaskKind
from proxy.cli.audits import models_of, no_audits_of_models
from proxy.cli.calibration_tables import audit_table, choice_table
from proxy.cli.options import (
    MOST_DAYS,
    USD,
    FiniteRange,
    check_writable,
    config_option,
    console,
    settings_of,
    with_database,
)
from proxy.config.controls import Controls
from proxy.config.policy import NEVER, policy
from proxy.config.schema import Settings
from proxy.evals import thresholds_from_audits, trial
from proxy.evals.calibration_file import (
    audited_regret,
    audited_table,
    from_audits,
    from_runs,
    missing_evidence,
)
from proxy.evals.targets import Kind, Target
from proxy.evals.thresholds_from_audits import AuditChoice, cost_from_audits, priced
from proxy.evals.thresholds_from_runs import calibrate
from proxy.ledger.audits import Evidence, evidence, total

if TYPE_CHECKING:
    from proxy.ledger.database import Database


@click.command("calibrate")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--quality",
    type=FiniteRange(0, 1.5, min_open=True),
    help="Lowest share of the large model's quality, such as 0.99.",
)
@click.option("--max-usd-per-1000", "cost", type=USD, help="Highest average cost of 1,000 requests.")
@click.option(
    "--regret",
    type=FiniteRange(0, 1, max_open=True),
    help="Highest share of accepted answers that are wrong while the large model is right, such as 0.05.",
)
@click.option(
    "--risk",
    default=0.05,
    show_default=True,
    type=FiniteRange(0.001, 0.5),
    help="Probability of missing the targets.",
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
    runs: tuple[Path, ...], quality: float | None, cost: int | None, regret: float | None, risk: float, seed: int,
    audited: bool, days: int, config: str | None, out: Path,
) -> None:  # fmt: skip
    """Choose thresholds per task kind from RUNS of `cope-proxy eval` or from audits.

    The chosen thresholds meet the targets on similar traffic with probability 1 - risk. --regret alone chooses the
    cheapest way within its limit. It also combines with one other target. With --audited, --quality is the share of
    local answers that agree with the large model's, and --regret limits the share that does not.
    """
    if bool(runs) == audited:
        raise click.UsageError("name either folders of `cope-proxy eval` or --audited")
    check_writable(out)
    if (quality is not None and cost is not None) or (quality, cost, regret) == (None, None, None):
        raise click.UsageError(
            "name one target: --quality 0.99, --max-usd-per-1000 0.5 or --regret 0.05; "
            "--regret may stand beside one of the others"
        )
    named: list[tuple[Kind, float | None]] = [
        ("quality", quality),
        ("cost", None if cost is None else cost / 1000),
        ("regret", regret),
    ]
    targets = {kind: value for kind, value in named if value is not None}
    if audited:
        _from_audits(settings_of(config), days, targets, risk, seed, out)
        return
    trials = [t for run in runs for t in trial.read(run)]
    aims = [Target(kind, value) for kind, value in targets.items()]
    choices = [
        calibrate([t for t in trials if t.task == task], *aims, risk=risk, seed=seed)
        for task in sorted({t.task for t in trials})
    ]
    for choice in choices:
        console().print(choice_table(choice))
        if missing := missing_evidence(choice, targets):
            click.echo(f"{choice.task}: {missing}")
    _write(out, from_runs(choices, targets, risk))


def _write(out: Path, lines: list[str]) -> None:
    out.write_text("\n".join(lines) + "\n")
    click.echo(f'written to {out}; `serve` applies it with cascade.calibration = "{out}"')


def _from_audits(
    settings: Settings, days: int, targets: Mapping[Kind, float], risk: float, seed: int, out: Path
) -> None:
    found = _evidence(settings, days)
    kinds = {task: [a for a in found if a.task == task] for task in sorted({a.task for a in found})}
    quality, cost, regret = targets.get("quality"), targets.get("cost"), targets.get("regret")
    tables: list[str] = []
    for task, audits in kinds.items():
        configured = _configured_policy(settings, task)
        choices: Sequence[AuditChoice] = ()
        plans = configured.plans
        compared = any(a.agreed is not None for a in audits)
        if cost is not None:
            if (regret is None or compared) and (with_cost := _audits_with_cost(task, audits)):
                choices = [cost_from_audits(with_cost, cost, regret=regret, risk=risk, seed=seed)]
                # The guarantee covers the cost of stage 1. A guideline would add to it.
                plans = "goals" if plans == "all" else plans
        elif compared:
            choices = thresholds_from_audits.from_audits(audits, quality, regret=regret, risk=risk, seed=seed)
        if not choices:
            click.echo(f"{task}: none of {len(audits)} audits measures this target; it keeps its thresholds")
            continue
        for choice in choices:
            _show(choice, targets)
        tables += audited_table(choices, targets, plans, configured.samples)
    if not tables:
        raise click.ClickException("no audit measures this target yet; set audit.share to audit more answers")
    _write(out, from_audits(tables, targets, risk))


def _show(choice: AuditChoice, targets: Mapping[Kind, float]) -> None:
    if choice.frontier:
        console().print(audit_table(choice))
    else:
        click.echo(f"{choice.task}: no audit covers stage {choice.stage}, so it accepts nothing")
    if "regret" in targets and choice.frontier:
        click.echo(f"{choice.task}: {audited_regret(choice)}")


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
