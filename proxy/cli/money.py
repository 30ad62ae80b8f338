"""`cope-proxy spend` and `cope-proxy budgets`."""

import csv
import sys
from datetime import UTC, datetime
from decimal import Decimal

import click
import msgspec
from rich.console import Console
from rich.table import Table

from proxy.cli import main
from proxy.cli.common import config_option, settings_of, with_database
from proxy.ledger import queries
from proxy.pricing.money import format_usd, parse_usd

GROUPS = ("day", "model", "key", "stage", "task", "session")


def spend_table(rows: list[queries.SpendRow], by: str) -> Table:
    """Lay the spend out, with a line of totals."""
    table = Table(title=f"Spend by {by}")
    table.add_column(by)
    for name in ("requests", "prompt", "completion", "cost USD", "large alone USD", "saved"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.group or "-",
            str(row.requests),
            str(row.prompt_tokens),
            str(row.completion_tokens),
            format_usd(row.cost),
            format_usd(row.baseline),
            _saved(row.cost, row.baseline),
        )
    cost, baseline = sum(r.cost for r in rows), sum(r.baseline for r in rows)
    table.add_section()
    table.add_row("all", "", "", "", format_usd(cost), format_usd(baseline), _saved(cost, baseline))
    return table


def _saved(cost: int, baseline: int) -> str:
    return f"{Decimal(100 * (baseline - cost)) / baseline:.0f} %" if baseline else ""


@main.command()
@config_option
@click.option("--by", type=click.Choice(GROUPS), default="day", show_default=True)
@click.option("--since", type=click.DateTime(), help="UTC.")
@click.option("--until", type=click.DateTime(), help="UTC.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--csv", "as_csv", is_flag=True)
def spend(
    config: str | None, by: str, since: datetime | None, until: datetime | None, as_json: bool, as_csv: bool
) -> None:
    """Show what was spent, and what the large model alone would have cost (estimated)."""
    rows = with_database(
        settings_of(config),
        lambda engine: queries.spend(engine, since=_utc(since), until=_utc(until), by=by, key_id=None),  # type: ignore[arg-type]
    )
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
    elif as_csv:
        out = csv.writer(sys.stdout)
        names = ("group", "requests", "prompt_tokens", "completion_tokens", "cost", "baseline")
        out.writerow([*names[:-2], "cost_usd", "baseline_usd"])
        for row in rows:
            out.writerow(
                [*(getattr(row, n) for n in names[:-2]), format_usd(row.cost), format_usd(row.baseline)]
            )
    else:
        Console().print(spend_table(rows, by))


def _utc(when: datetime | None) -> datetime | None:
    return when.replace(tzinfo=UTC) if when else None


@main.group()
def budgets() -> None:
    """The shared budgets."""


@budgets.command("list")
@config_option
def budgets_list(config: str | None) -> None:
    """List the budgets that have been used."""
    table = Table("scope", "name", "window", "limit USD", "spent USD", "reserved USD")
    for b in with_database(settings_of(config), queries.list_budgets):
        table.add_row(
            b.scope, b.name, b.window, format_usd(b.limit), format_usd(b.spent), format_usd(b.reserved)
        )
    Console().print(table)


@budgets.command("set")
@config_option
@click.argument("scope", type=click.Choice(["session"]))
@click.argument("name")
@click.argument("usd")
def budgets_set(config: str | None, scope: str, name: str, usd: str) -> None:
    """Set a session's budget, higher or lower. Those of keys and the global one are in the config."""
    try:
        limit = parse_usd(usd)
    except ValueError as e:
        raise click.BadParameter(str(e), param_hint="USD") from e
    with_database(settings_of(config), lambda engine: queries.set_budget(engine, scope, name, "total", limit))  # type: ignore[arg-type]
    click.echo(f"{scope} {name}: {format_usd(limit)} USD")
