"""`cope-proxy eval`: run labelled tasks with both models and report quality and cost."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from proxy.cascade import confidence
from proxy.cascade.types import TaskKind
from proxy.cli.options import USD, config_option, console, settings_of, small_tier
from proxy.config.controls import Controls
from proxy.config.policy import NEVER, policy, thresholds
from proxy.config.prices import resolve_prices
from proxy.config.schema import Settings
from proxy.errors import ConfigError
from proxy.evals import items, plot, report, trial
from proxy.evals.accepted import accepted
from proxy.evals.items import Item
from proxy.evals.modes import At, Thresholds, cascade_name
from proxy.evals.record import Record
from proxy.evals.run import collect
from proxy.evals.run_budget import RunBudget
from proxy.evals.thresholds_from_runs import Rated, frontier, rate, ways
from proxy.evals.tiers import open_tiers
from proxy.evals.trial import Trial
from proxy.pricing.money import format_usd
from proxy.sandbox import Sandbox, SandboxError, open_sandbox
from proxy.service.state import upstream_apis

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


@click.command("eval")
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@config_option
@click.option(
    "--out",
    default="cope-eval",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the run.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Highest number of items per task kind, chosen at random."
)
@click.option("--seed", default=0, show_default=True, help="Seed of that choice.")
@click.option("--samples", type=click.IntRange(1), help="Answers per stage. Default: the config's.")
@click.option(
    "--at-once", default=4, show_default=True, type=click.IntRange(1), help="Items to run at the same time."
)
@click.option("--max-usd", type=USD, help="Highest spend of this run.")
def evaluate(
    data: tuple[Path, ...], config: str | None, out: Path, limit: int | None, seed: int, samples: int | None,
    at_once: int, max_usd: int | None,
) -> None:  # fmt: skip
    """Run labelled tasks (JSON lines) with both models and write tables and a plot.

    Every call is stored in the output folder. The same command continues a run that was stopped and pays for nothing
    twice. Ctrl-C reports the finished items.
    """
    settings = settings_of(config)
    selected = items.chosen(items.load(data), limit, seed)
    done: dict[str, Trial] = {}
    stopped, complete = False, True
    resolve_prices(settings)
    upstream_apis(settings)
    with closing(_record(out)) as record, small_tier(settings) as running:
        try:
            complete = asyncio.run(_collect(running, selected, record, done, samples, at_once, max_usd))
        except KeyboardInterrupt:
            stopped = True
            click.echo("stopped; the same command goes on from here", err=True)
    if done:
        _report(settings, selected, [done[item.id] for item in selected if item.id in done], out)
    if stopped:
        raise click.exceptions.Exit(INTERRUPTED)
    if not done:
        raise click.ClickException("no item was answered by both tiers")
    if not complete:
        raise click.ClickException("the large model was unavailable; the same command goes on from here")


def _record(out: Path) -> Record:
    try:
        record = Record(out / "calls.jsonl")
    except OSError as e:
        raise click.ClickException(f"--out: {out} cannot be written ({e.strerror})") from e
    if len(record):
        click.echo(f"{len(record)} calls of an earlier run in {out} are not repeated", err=True)
    return record


def _report(settings: Settings, selected: list[Item], trials: list[Trial], out: Path) -> None:
    at = thresholds_of(settings)
    planner = settings.planner_for(settings.large_models[settings.large.model]).name
    plans = "" if planner == settings.large.model else f", with guidelines of {planner}"
    pair = f"{settings.small.model} and {settings.large.model}{plans}"
    heading = f"{pair}: {len(trials)} of {len(selected)} items"
    trial.write(out, trials)
    tasks = {t.task for t in trials}
    found = report.lines(trials, at)
    taken = accepted(trials, at, configured_modes(settings, trials))
    text = report.write(out, found, taken, report.confidences(trials), heading)
    drawn = plot.draw(out, found, {task: _frontier([t for t in trials if t.task == task]) for task in tasks})
    console().print(Markdown(text))
    click.echo(f"written to {out}: report.md, report.json" + "".join(f", {p.name}" for p in drawn))
    if not drawn:
        click.echo("no plot; `pip install 'cope-proxy[evals]'` installs matplotlib", err=True)


def _frontier(trials: list[Trial]) -> list[Rated]:
    return frontier([rate(way, trials) for way in ways(trials)])


def thresholds_of(settings: Settings) -> At:
    """Return the function that looks up the thresholds of an item, as `serve` uses them."""
    cascade = settings.cascade
    return lambda trial: Thresholds(
        *thresholds(cascade, TaskKind(trial.task), trial.usual), inclusive=cascade.accept_at_threshold
    )


def configured_modes(settings: Settings, trials: Sequence[Trial]) -> dict[str, str]:
    """Return the modes of task kinds, as `serve` runs them. Kinds that it sends to the large model are missing."""
    own = settings.cascade.thresholds
    kinds = {TaskKind(trial.task) for trial in trials}
    return {
        kind: cascade_name(policy(settings.cascade, kind, (NEVER, NEVER), Controls()).plans, trials)
        for kind in kinds
        if kind not in own or not own[kind].skip
    }


async def _collect(
    settings: Settings, selected: list[Item], record: Record, done: dict[str, Trial], samples: int | None,
    at_once: int, max_usd: int | None,
) -> bool:  # fmt: skip
    runner = await _runner()
    if runner is None and any(item.task is TaskKind.CODE for item in selected):
        raise ConfigError(
            ["code can only be graded in the sandbox; remove these items or run `cope-proxy doctor`"]
        )
    shown = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    budget = RunBudget(record, max_usd)
    try:
        async with open_tiers(settings, record, runner, budget) as tiers:
            with Progress(*shown, console=Console(stderr=True)) as progress:
                bar = progress.add_task("items", total=len(selected))

                def report_item(item: Item, problem: str | None) -> None:
                    progress.advance(bar)
                    progress.update(bar, description=f"items, {format_usd(budget.spent)} USD")
                    if problem:
                        progress.console.print(
                            f"{item.id}: left out: {problem}", markup=False, highlight=False
                        )

                try:
                    return await collect(
                        selected, tiers, done, samples=samples, at_once=at_once, report=report_item
                    )
                except asyncio.CancelledError:
                    progress.console.print(
                        "stopping after the paid calls in progress (Ctrl-C again to stop at once)"
                    )
                    raise
    finally:
        confidence.shutdown()


async def _runner() -> Sandbox | None:
    try:
        return await open_sandbox()
    except SandboxError as e:
        click.echo(f"no sandbox: {e}", err=True)
        return None
