"""Run the Alembic migrations from code, without an alembic.ini."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from proxy.ledger.database import open_database

LOCK = 0x636F7065
"""The advisory lock of Postgres that serialises the upgrades of several replicas."""


def _config(url: str) -> Config:
    package = Path(__file__).parents[1]
    installed = package / "_migrations"
    config = Config()
    config.set_main_option(
        "script_location", str(installed if installed.is_dir() else package.parent / "migrations")
    )
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Upgrade the schema to the newest revision."""
    command.upgrade(_config(url), "head")


def downgrade(url: str, revision: str) -> None:
    """Downgrade the schema to a revision. "base" removes all tables."""
    command.downgrade(_config(url), revision)


def head() -> str:
    """Return the newest revision."""
    return ScriptDirectory.from_config(_config("")).get_current_head() or ""


def current(url: str) -> str | None:
    """Return the revision of the schema, or None for an empty database."""

    async def read() -> str | None:
        engine = open_database(url)
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(
                    lambda c: MigrationContext.configure(c).get_current_revision()
                )
        finally:
            await engine.dispose()

    return asyncio.run(read())
