"""A throwaway PostgreSQL cluster for tests: real server, own folder, own port."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import free_port


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


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a cluster; yield the URL of its `postgres` database."""
    user = _owner()
    folder = Path(tempfile.mkdtemp(prefix="cope-pg-", dir="/tmp"))
    if user is not None:
        shutil.chown(folder, user)
    port = free_port()

    def run(*command: str) -> None:
        done = subprocess.run(
            command,
            user=user,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout[-500:]}{done.stderr[-500:]}")

    data = str(folder / "data")
    log = str(folder / "log")
    run(_binary("initdb"), "-D", data, "-U", "cope", "--auth=trust", "-E", "UTF8")
    run(
        _binary("pg_ctl"),
        "-D",
        data,
        "-l",
        log,
        "-w",
        "-o",
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}",
        "start",
    )
    try:
        yield f"postgresql+asyncpg://cope@127.0.0.1:{port}/postgres"
    finally:
        run(_binary("pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)
