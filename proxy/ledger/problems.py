"""What an operator has to know about a database that cannot be used: the reason and the remedy, in one line."""

import errno
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

from alembic.util import CommandError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from proxy.ledger.database import sqlite_file

_POSTGRES = {
    "28P01": "the server refuses the password of user {user}; correct it in the URL",
    "28000": "the server refuses user {user}; correct the user or the password in the URL, or the server's pg_hba.conf",
    "3D000": "the server has no database {database}; create it with `createdb {database}`, or correct its name",
    "3F000": "the schema is missing; create it, or correct the search_path of user {user}",
    "42501": "user {user} has too few rights; grant it all rights on the schema and its tables",
    "42P01": "a table is missing; restore a backup, or use an empty database",
    "42703": "a column is missing; restore a backup, or use an empty database",
    "42P07": "it has tables of another program; use an empty database",
    "25006": "the server is read-only; name the primary server in the URL",
    "53100": "the server's disk is full; make room",
    "53200": "the server has no memory left; try again later",
    "53300": "the server has no connection left; raise its max_connections, or end other clients",
    "57P01": "the server stops; start it again",
    "57P03": "the server is not ready; try again in a moment",
}
"""By SQLSTATE."""
_SQLITE = {
    "locked": "another process has locked {file}; end it, or wait until it has finished",
    "readonly": "{file} cannot be written; correct its permissions and those of its folder",
    "unable to open": "{file} cannot be opened; correct its path, its permissions or those of its folder",
    "not a database": "{file} is not a SQLite database; name another file",
    "is full": "the disk of {file} is full; make room",
    "malformed": "{file} is damaged; restore a backup",
    "disk i/o": "the disk of {file} has an error or is full; check it",
    "no such table": "a table is missing in {file}; restore a backup, or name a new file",
    "no such column": "a column is missing in {file}; restore a backup, or name a new file",
    "already exists": "{file} has tables of another program; name a new file",
    "not authorized": "{file} cannot be changed; correct its permissions",
}
"""By a part of SQLite's message, in lower case."""
_FILES = {
    errno.ENOENT: "the folder {folder} does not exist; create it, or correct the path",
    errno.ENOTDIR: "{folder} is not a folder; correct the path",
    errno.EISDIR: "{file} is a folder; name a file",
    errno.EACCES: "{file} cannot be written (permission denied); correct its permissions or those of its folder",
    errno.EPERM: "{file} cannot be written (not permitted); correct its permissions or those of its folder",
    errno.EROFS: "{file} is on a read-only file system; name a file on another one",
    errno.ENOSPC: "the disk of {file} is full; make room",
    errno.EDQUOT: "the disk quota of {file} is used up; make room",
}
_DRIVERS = {
    "asyncpg": "the driver asyncpg is not installed; run `pip install 'cope-proxy[postgres]'`",
    "aiosqlite": "the driver aiosqlite is not installed; run `pip install aiosqlite`",
}


def database_problem(error: BaseException, url: str) -> str | None:
    """Return the reason and the remedy in one line, without the password. Return `None` for an unrelated error."""
    chain = list(_chain(error))
    if not any(isinstance(e, (SQLAlchemyError, OSError, CommandError)) for e in chain):
        return None
    found = next((reason for e in chain if (reason := _reason(e, url))), None)
    return found or _driver_words(chain[-1], url)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, that of the driver last."""
    now: BaseException | None = error
    while now is not None:
        yield now
        now = getattr(now, "orig", None) or now.__cause__


def _reason(error: BaseException, url: str) -> str | None:
    try:
        parts = make_url(url)
    except (SQLAlchemyError, ValueError):
        return "it is not a URL; use sqlite+aiosqlite:///FILE or postgresql+asyncpg://user@host/database"
    file = sqlite_file(url)
    match error:
        case ModuleNotFoundError():
            return _DRIVERS.get(error.name or "", f"the module {error.name} is not installed; install it")
        case CommandError() if "locate revision" in str(error):
            return "it was made by a newer version of cope-proxy; install that version"
        case CommandError():
            return _driver_words(error, url)
        case sqlite3.Error():
            text = str(error).lower()
            found = next((reason for part, reason in _SQLITE.items() if part in text), None)
            return None if found is None else found.format(file=file)
        case OSError() if file is not None:
            known = _FILES.get(error.errno or 0, f"{{file}} cannot be used ({error.strerror})")
            return known.format(file=file, folder=Path(file).parent)
        case OSError():
            return _network_reason(error, parts, url)
        case TypeError() if "sslmode" in str(error):
            return "the driver takes no sslmode in the URL; write ?ssl=require instead"
        case TypeError() | ValueError():
            return f"the URL has an option that the driver does not take ({_driver_words(error, url)})"
    known = _POSTGRES.get(str(getattr(error, "sqlstate", None)), "")
    return known.format(user=parts.username or "?", database=parts.database or "?") or None


def _network_reason(error: OSError, parts: URL, url: str) -> str:
    host = str(parts.host or parts.query.get("host") or "localhost")
    if "@" in host:
        return "the user or the password has a special character; write @ as %40, / as %2F and : as %3A"
    place = f"{host}:{parts.port or 5432}"
    if isinstance(error, socket.gaierror):
        return f"the host {host} is unknown; correct it in the URL"
    if isinstance(error, TimeoutError):
        return f"{place} does not answer in time; start the server, or correct host and port"
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return f"no server answers at {place}; start it, or correct host and port"
    if isinstance(error, FileNotFoundError):
        return f"no server answers at the socket {host}; start it, or correct the path"
    return f"the connection to {place} fails ({_driver_words(error, url)}); check the server and the network"


def _driver_words(error: BaseException, url: str) -> str:
    """Return the first line of a driver's message, without the password."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    for secret in _passwords(url):
        text = text.replace(secret, "***")
    return text[:300]


def _passwords(url: str) -> set[str]:
    """Return the forms in which the password of a URL may occur in a text."""
    try:
        password = make_url(url).password
    except (SQLAlchemyError, ValueError):
        password = None
    # A URL that is not valid may have one all the same.
    raw = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    known = {str(password or ""), raw, unquote(raw)}
    return {form for p in known if p for form in (p, quote(p), quote(p, safe=""), quote_plus(p))}
