"""Opening a database: SQLite in WAL mode, or Postgres."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from proxy.ledger.rollups import bucket_of
from proxy.ledger.tables import Base
from proxy.logs import name_of

BUSY_TIMEOUT_MS = 15_000
CONNECT_TIMEOUT_S = 10

DatabaseError = SQLAlchemyError
"""The error of an unavailable database, beside OSError."""
Database = AsyncEngine
"""The type for other packages: they pass it on to the ledger and use no SQL."""


def described(error: Exception) -> str:
    """Return the type of an error, and the driver's own one. No message: it may quote the values of a statement."""
    inner = getattr(error, "orig", None)
    name = type(error).__name__
    return name if inner is None else f"{name}: {name_of(getattr(inner, '__cause__', None) or inner)}"


class UnreachableError(SQLAlchemyError):
    """The database cannot be opened. The cause is the error of the driver, or of its absence."""


def open_database(url: str) -> AsyncEngine:
    """Open an engine. It connects on its first use, and creates a missing SQLite file that others cannot read.

    Raises:
        UnreachableError: the URL is invalid, or its driver is not installed.
    """
    options: dict[str, Any]
    if url.startswith("postgresql"):
        options = {"pool_pre_ping": True, "pool_size": 5, "max_overflow": 5, "pool_timeout": 10}
        options["connect_args"] = {"timeout": CONNECT_TIMEOUT_S}
    else:
        options = {"connect_args": {"timeout": BUSY_TIMEOUT_MS / 1000}}
    options["hide_parameters"] = True  # the errors of a driver quote no values
    try:
        engine = create_async_engine(url, **options)
    except (SQLAlchemyError, ImportError, TypeError, ValueError) as e:
        raise UnreachableError(type(e).__name__) from e
    event.listen(engine.sync_engine, "do_connect", _connect)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def sqlite_file(url: str) -> str | None:
    """Return the path of a SQLite database, or `None` for another database."""
    try:
        parts = make_url(url)
    except (SQLAlchemyError, ValueError):
        return None
    named = parts.get_backend_name() == "sqlite" and parts.database not in (None, "", ":memory:")
    return parts.database if named else None


def _connect(dialect: Any, _: object, args: Any, options: Any) -> Any:
    """Connect. Raise OSError or an error of SQLAlchemy: drivers have more kinds of their own."""
    if dialect.name == "sqlite" and args and args[0] != ":memory:" and not args[0].startswith("file:"):
        _make_private(args[0])
    try:
        return dialect.connect(*args, **options)
    except (SQLAlchemyError, OSError, dialect.loaded_dbapi.Error):
        raise
    except Exception as e:
        raise UnreachableError(f"{type(e).__name__}: {e}") from e


def _make_private(path: str) -> None:
    """Create a missing file that others cannot read. SQLite gives its other files the permissions of this one.

    A file that exists is never opened here. To close it would release all locks that this process has on it, those of
    SQLite's connections included (https://sqlite.org/howtocorrupt.html, section 2.2). Another process would then take
    itself for the last user of the database and delete the log that this process still writes.

    Raises:
        OSError: the file cannot be created, or not used.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if Path(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path) from None
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path) from None


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
