"""Opening a database: SQLite in WAL mode, or Postgres."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from proxy.ledger.rollups import bucket_of
from proxy.ledger.tables import Base

BUSY_TIMEOUT_MS = 15_000

DatabaseError = SQLAlchemyError
"""The error of an unavailable database, beside OSError."""
Database = AsyncEngine
"""The type for other packages: they pass it on to the ledger and use no SQL."""


def open_database(url: str) -> AsyncEngine:
    """Open an engine. It connects on its first use."""
    if url.startswith("postgresql"):
        return create_async_engine(url, pool_pre_ping=True, pool_size=5, max_overflow=5, pool_timeout=10)
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine.sync_engine, "connect", _configure_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _: object) -> None:
    # Otherwise the driver begins a transaction at the first write, after the read that the write depends on.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # FULL: a reservation is on disk before its call goes out and survives a power cut.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
    # Not every SQLite is built with logarithms.
    connection.create_function("cope_bucket", 1, bucket_of, deterministic=True)


def _begin_sqlite(connection: Connection) -> None:
    readonly = connection.get_execution_options().get("readonly", False)
    connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")


async def insert_new(connection: AsyncConnection, table: type[Base], row: Mapping[str, object]) -> None:
    """Insert a row, unless one with its primary key exists. An upstream may give an id twice: its first owner stays."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    await connection.execute(dialect.insert(table).values(**row).on_conflict_do_nothing())


async def ping(engine: AsyncEngine) -> None:
    """Raise the error of the driver if the database is unavailable."""
    async with engine.connect() as connection:
        await connection.execution_options(readonly=True)
        await connection.execute(text("SELECT 1"))
