"""A throwaway PostgreSQL cluster for tests: real server, own folder, own port."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.wait import free_port


def _binary(name: str) -> str:
    found = shutil.which(name) or next(
        (str(p) for p in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    if found is None:
        raise RuntimeError(f"{name} not found: install the PostgreSQL server (apt-get install postgresql)")
    return found


def _owner() -> str | None:
    """The server refuses to run as root; some other account then owns it."""
    if os.geteuid() != 0:
        return None
    names = {p.pw_name for p in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class PostgresCluster:
    """A cluster that can go away and come back on the same port."""

    def __init__(self) -> None:
        self._user = _owner()
        self.folder = Path(tempfile.mkdtemp(prefix="cope-pg-", dir="/tmp"))
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._port = free_port()
        self._data = str(self.folder / "data")
        self._run(_binary("initdb"), "-D", self._data, "-U", "cope", "--auth=trust", "-E", "UTF8")

    @property
    def url(self) -> str:
        """The URL of its `postgres` database."""
        return f"postgresql+asyncpg://cope@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._run(
            _binary("pg_ctl"), "-D", self._data, "-l", str(self.folder / "log"), "-w", "-o", options, "start"
        )

    def stop(self) -> None:
        """End the server at once, as a crash would."""
        self._run(_binary("pg_ctl"), "-D", self._data, "-m", "immediate", "-w", "stop")

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            user=self._user,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout[-500:]}{done.stderr[-500:]}")


@contextmanager
def postgres_cluster() -> Iterator[PostgresCluster]:
    """Start a cluster; one that the test has stopped must be up again at the end."""
    cluster = PostgresCluster()
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(cluster.folder, ignore_errors=True)


def read_tables(url: str, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of some tables."""

    async def read() -> dict[str, list[dict[str, Any]]]:
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                return {
                    name: [
                        dict(row)
                        for row in (await connection.execute(text(f"SELECT * FROM {name}"))).mappings()
                    ]
                    for name in names
                }
        finally:
            await engine.dispose()

    return asyncio.run(read())


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a cluster; yield the URL of its `postgres` database."""
    with postgres_cluster() as cluster:
        yield cluster.url
