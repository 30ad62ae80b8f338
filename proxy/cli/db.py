"""`cope-proxy db`: the database's schema."""

import click

from proxy.cli.options import config_option, database_errors, settings_of
from proxy.ledger import migrate


@click.group()
def db() -> None:
    """The database's schema."""


@db.command("upgrade")
@config_option
def db_upgrade(config: str | None) -> None:
    """Bring the schema up to date."""
    url = settings_of(config).database.url
    with database_errors(url):
        migrate.upgrade(url)
        click.echo(f"schema at {migrate.current(url)}")


@db.command("current")
@config_option
def db_current(config: str | None) -> None:
    """Show the schema's revision."""
    url = settings_of(config).database.url
    with database_errors(url):
        click.echo(f"{migrate.current(url) or 'empty'} (newest: {migrate.head()})")
