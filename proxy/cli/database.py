"""`cope-proxy db` and `cope-proxy keys`."""

import click
from rich.console import Console
from rich.table import Table

from proxy.cli import main
from proxy.cli.common import config_option, settings_of, with_database
from proxy.ledger import keys as ledger_keys
from proxy.ledger import migrate


@main.group()
def db() -> None:
    """The database's schema."""


@db.command("upgrade")
@config_option
def db_upgrade(config: str | None) -> None:
    """Bring the schema up to date."""
    url = settings_of(config).database.url
    migrate.upgrade(url)
    click.echo(f"schema at {migrate.current(url)}")


@db.command("current")
@config_option
def db_current(config: str | None) -> None:
    """Show the schema's revision."""
    url = settings_of(config).database.url
    click.echo(f"{migrate.current(url) or 'empty'} (newest: {migrate.head()})")


@main.group()
def keys() -> None:
    """The keys that clients use."""


@keys.command("create")
@config_option
@click.argument("name")
def keys_create(config: str | None, name: str) -> None:
    """Make a key and show it, this once."""
    new = with_database(settings_of(config), lambda engine: ledger_keys.create_key(engine, name))
    click.echo(new.token)
    click.echo(f"id {new.id}; the key is not shown again", err=True)


@keys.command("list")
@config_option
def keys_list(config: str | None) -> None:
    """List the keys."""
    table = Table("id", "name", "created", "revoked")
    for key in with_database(settings_of(config), ledger_keys.list_keys):
        table.add_row(key.id, key.name, f"{key.created_at:%Y-%m-%d %H:%M}", f"{key.revoked_at or ''}"[:16])
    Console().print(table)


@keys.command("revoke")
@config_option
@click.argument("key_id")
def keys_revoke(config: str | None, key_id: str) -> None:
    """Revoke a key; running proxies forget it within seconds."""
    if not with_database(settings_of(config), lambda engine: ledger_keys.revoke_key(engine, key_id)):
        raise click.ClickException(f"no active key {key_id}; see `cope-proxy keys list`")
    click.echo(f"revoked {key_id}")
