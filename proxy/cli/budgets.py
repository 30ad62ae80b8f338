"""`cope-proxy budgets`: list and set budgets."""

from typing import get_args

import click
from rich.table import Table

from proxy.cli.options import USD, config_option, console, settings_of, with_database
from proxy.ledger import keys
from proxy.ledger.budgets import SeveralSessionsError, list_budgets, set_session_budget
from proxy.pricing.money import format_usd
from proxy.records import Window


@click.group()
def budgets() -> None:
    """List and set budgets."""


@budgets.command("list")
@config_option
def budgets_list(config: str | None) -> None:
    """List the budgets that have been used."""
    table = Table(
        "scope", "name", "key", "window", "since (UTC)", "limit USD", "spent USD", "reserved USD", "unsettled USD"
    )  # fmt: skip
    for b in with_database(settings_of(config), list_budgets):
        start = "" if b.window == "total" else f"{b.window_start:%Y-%m-%d %H:%M}"
        amounts = (format_usd(a) for a in (b.limit, b.spent, b.reserved, b.unsettled))
        table.add_row(b.scope, b.name, b.owner, b.window, start, *amounts)
    console().print(table)


@budgets.command("set")
@config_option
@click.argument("scope", type=click.Choice(["session", "key"]))
@click.argument("name")
@click.argument("usd", type=USD)
@click.option(
    "--window", type=click.Choice(get_args(Window)), default="total", help="Window of a key's budget."
)
@click.option("--key", help="Id of a session's key, if several keys have a session of this name.")
def budgets_set(config: str | None, scope: str, name: str, usd: int, window: str, key: str | None) -> None:
    """Change the budget of a session or a key. All other budgets are in the config."""
    settings = settings_of(config)
    if scope == "session":
        try:
            found = with_database(settings, lambda engine: set_session_budget(engine, name, usd, key))
        except SeveralSessionsError as e:
            raise click.ClickException(
                f"several keys have a session {name}; add --key with one of: {', '.join(e.owners)}"
            ) from e
    else:
        found = with_database(settings, lambda engine: keys.set_key_budget(engine, name, usd, window))  # type: ignore[arg-type]
    if not found:
        raise click.ClickException(
            f"no {scope} {name}; see `cope-proxy budgets list` and `cope-proxy keys list`"
        )
    click.echo(f"{scope} {name}: {format_usd(usd)} USD")
