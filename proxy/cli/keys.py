"""`cope-proxy keys`: the keys that clients use."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import click
from rich.table import Table

from proxy.cli.options import ATTRIBUTION_NAME, USD, config_option, console, settings_of, with_database
from proxy.ledger import keys as ledger_keys
from proxy.ledger.time_ranges import parse_span
from proxy.pricing.money import format_usd
from proxy.records import MOST, Attribution, Mode, Window


def _attribution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    helps = {
        "environment": "Environment that the key is used in, such as production.",
        "cost-center": "Cost center that pays for the key.",
        "team": "Team or project of the key. Its keys share a budget of [budgets.teams].",
    }
    for option, text in helps.items():
        command = click.option(f"--{option}", type=ATTRIBUTION_NAME, help=text)(command)
    return command


@click.group()
def keys() -> None:
    """The keys that clients use."""


@keys.command("create")
@config_option
@click.argument("name")
@click.option("--budget", type=USD, help="Highest spend of the key in USD.")
@click.option(
    "--window",
    type=click.Choice(get_args(Window)),
    default="total",
    show_default=True,
    help="Window of the budget.",
)
@click.option("--expires", metavar="SPAN", help="Time until the key expires, such as 90d or 12h.")
@click.option("--model", "models", multiple=True, help="A model that the key may use. May be repeated.")
@click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(get_args(Mode)),
    help="A mode that the key may use. May be repeated.",
)
@click.option("--rpm", type=click.IntRange(1, MOST), help="Highest number of requests per minute.")
@click.option("--tpm", type=click.IntRange(1, MOST), help="Highest number of tokens per minute.")
@_attribution_options
def keys_create(
    config: str | None,
    name: str,
    budget: int | None,
    window: str,
    expires: str | None,
    models: tuple[str, ...],
    modes: tuple[str, ...],
    rpm: int | None,
    tpm: int | None,
    **attribution: str | None,
) -> None:
    """Create a key and show its secret. It is not shown again."""
    until = None if expires is None else datetime.now(UTC) + _span(expires, "--expires")
    rules = ledger_keys.KeyRules(
        expires_at=until,
        budget=budget,
        budget_window=window,  # type: ignore[arg-type]
        models=models,
        modes=modes,
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
    )
    belongs = Attribution(**{field: value or None for field, value in attribution.items()})
    new = with_database(
        settings_of(config), lambda engine: ledger_keys.create_key(engine, name, rules, belongs)
    )
    _print_secret(new)


@keys.command("update")
@config_option
@click.argument("key_id")
@_attribution_options
def keys_update(config: str | None, key_id: str, **attribution: str | None) -> None:
    """Move a key to another team, cost center or environment. An empty NAME removes the old one.

    Requests of the past stay where they are. Running proxies notice the change within seconds.
    """
    changes = {field: value or None for field, value in attribution.items() if value is not None}
    if not changes:
        raise click.UsageError("nothing to change; give --team, --cost-center or --environment")
    if not with_database(
        settings_of(config), lambda engine: ledger_keys.attribute_key(engine, key_id, changes)
    ):
        raise click.ClickException(f"no active key {key_id}; see `cope-proxy keys list`")
    click.echo(f"updated {key_id}")


@keys.command("rotate")
@config_option
@click.argument("key_id")
@click.option(
    "--grace", metavar="SPAN", default="0h", show_default=True, help="How long the old secret stays valid."
)
def keys_rotate(config: str | None, key_id: str, grace: str) -> None:
    """Give a key a new secret. Its id, rules, budget and history stay."""
    span = _span(grace, "--grace")
    new = with_database(settings_of(config), lambda engine: ledger_keys.rotate_key(engine, key_id, span))
    if new is None:
        raise click.ClickException(f"no active key {key_id}; see `cope-proxy keys list`")
    _print_secret(new)


@keys.command("list")
@config_option
def keys_list(config: str | None) -> None:
    """List the keys."""
    table = Table(
        "id", "name", "belongs to", "created", "expires", "revoked", "budget USD", "models", "modes", "rpm", "tpm"
    )  # fmt: skip
    for key in with_database(settings_of(config), ledger_keys.list_keys):
        rules = key.rules
        budget = "" if rules.budget is None else f"{format_usd(rules.budget)} / {rules.budget_window}"
        table.add_row(
            key.id, key.name, _belongs(key.attribution), _day(key.created_at), _day(rules.expires_at),
            _day(key.revoked_at), budget,
            ", ".join(rules.models), ", ".join(rules.modes), str(rules.requests_per_minute or ""),
            str(rules.tokens_per_minute or ""),
        )  # fmt: skip
    console().print(table)


@keys.command("revoke")
@config_option
@click.argument("key_id")
def keys_revoke(config: str | None, key_id: str) -> None:
    """Revoke a key. Running proxies refuse it within seconds."""
    if not with_database(settings_of(config), lambda engine: ledger_keys.revoke_key(engine, key_id)):
        raise click.ClickException(f"no active key {key_id}; see `cope-proxy keys list`")
    click.echo(f"revoked {key_id}")


def _print_secret(new: ledger_keys.NewKey) -> None:
    click.echo(new.token)
    click.echo(f"id {new.id}; the key is not shown again", err=True)


def _span(text: str, option: str) -> timedelta:
    try:
        return parse_span(text)
    except ValueError as e:
        raise click.BadParameter(str(e), param_hint=option) from e


def _belongs(attribution: Attribution) -> str:
    given = {"team": attribution.team, "cost center": attribution.cost_center, "env": attribution.environment}
    return "\n".join(f"{label} {name}" for label, name in given.items() if name)


def _day(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"
