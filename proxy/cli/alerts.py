"""`cope-proxy alerts`: the alerts that were raised, and a test of their targets."""

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import click
import msgspec
from rich.table import Table

from proxy.alerts.runner import CONNECT_TIMEOUT_S
from proxy.alerts.targets import open_targets, target_secrets
from proxy.alerts.targets.target import DeliveryError, Target
from proxy.backends.session import open_session
from proxy.cli.options import config_option, console, settings_of, with_database
from proxy.config.schema import Settings
from proxy.ids import new_id
from proxy.ledger.alerts import PENDING, AlertMessage, AlertView, DeliveryView, list_alerts

_MOST = 10_000


@click.group()
def alerts() -> None:
    """The alerts that were raised, and a test of their targets."""


@alerts.command("list")
@config_option
@click.option(
    "--limit",
    default=50,
    show_default=True,
    type=click.IntRange(1, _MOST),
    help="The most alerts to show, newest first.",
)
@click.option("--pending", is_flag=True, help="Only alerts that wait for their delivery.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def alerts_list(config: str | None, limit: int, pending: bool, as_json: bool) -> None:
    """List recent alerts and the state of their deliveries."""
    settings = settings_of(config)
    found = with_database(settings, lambda engine: list_alerts(engine, limit=limit, pending=pending))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    zone = ZoneInfo(settings.budgets.timezone)
    table = Table("raised", "alert", "title", "delivery", "id")
    for alert in found:
        table.add_row(
            f"{alert.created_at.astimezone(zone):%Y-%m-%d %H:%M:%S}", alert.alert, alert.title, _deliveries(alert, zone),
            alert.id,
        )  # fmt: skip
    console().print(table)
    if not settings.alerts:
        click.echo("the config has no [[alerts]]; see docs/alerts.md", err=True)


def _deliveries(alert: AlertView, zone: ZoneInfo) -> str:
    if not alert.deliveries:
        return "not sent: a higher level was"
    return "\n".join(f"{d.target}: {_state(d, zone)}" for d in alert.deliveries)


def _state(delivery: DeliveryView, zone: ZoneInfo) -> str:
    if delivery.state != PENDING:
        return delivery.state if delivery.error is None else f"{delivery.state} ({delivery.error})"
    if not delivery.attempts:
        return delivery.state
    attempts = "1 attempt" if delivery.attempts == 1 else f"{delivery.attempts} attempts"
    reason = "" if delivery.error is None else f" ({delivery.error})"
    return f"{delivery.state} after {attempts}{reason}, next at {delivery.due_at.astimezone(zone):%H:%M:%S}"


@alerts.command("test")
@config_option
@click.argument("name")
def alerts_test(config: str | None, name: str) -> None:
    """Send a test to the targets of the alert NAME, or to the target NAME."""
    settings = settings_of(config)
    targets = next((alert.targets for alert in settings.alerts if alert.name == name), None)
    if targets is None:
        targets = (name,) if name in settings.webhooks or name in settings.mail else ()
    if not targets:
        known = [alert.name for alert in settings.alerts] + [*settings.webhooks, *settings.mail]
        raise click.BadParameter(
            f"{name!r} is no alert and no target of the config; there are: {', '.join(known) or 'none'}",
            param_hint="NAME",
        )
    failed = False
    for target, reason in asyncio.run(_send_tests(_only(settings, targets), name)).items():
        failed = failed or reason is not None
        click.echo(f"{target}: {'delivered' if reason is None else reason}", err=reason is not None)
    if failed:
        raise SystemExit(1)


def _only(settings: Settings, targets: tuple[str, ...]) -> Settings:
    """Return settings with some targets only, so that a test needs no secret of another one."""
    return msgspec.structs.replace(
        settings,
        webhooks={name: webhook for name, webhook in settings.webhooks.items() if name in targets},
        mail={name: mail for name, mail in settings.mail.items() if name in targets},
    )


async def _send_tests(settings: Settings, name: str) -> dict[str, str | None]:
    """Send a test to each target. Return the reason of each failure, by target."""
    secrets = target_secrets(settings)
    message = AlertMessage(
        id=new_id("alert"),
        alert=name,
        kind="test",
        level="",
        created_at=datetime.now(UTC),
        title=f"Test of alert {name}",
        text="Somebody has sent this by `cope-proxy alerts test`. Nothing has happened.",
        facts={},
    )
    async with open_session(CONNECT_TIMEOUT_S, pooled=False) as session:
        targets = open_targets(settings, session, secrets)
        reasons = await asyncio.gather(*(_send_test(target, message) for target in targets.values()))
    return dict(zip(targets, reasons, strict=True))


async def _send_test(target: Target, message: AlertMessage) -> str | None:
    try:
        await target.send(message)
    except DeliveryError as e:
        return e.reason
    return None
