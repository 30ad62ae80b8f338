"""Each command reports each problem of the database in one line."""

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import asyncpg
import click
import pytest
from click.testing import CliRunner
from sqlalchemy.exc import OperationalError

from proxy.cli.main import main
from proxy.ledger.database import open_database
from proxy.ledger.migrate import upgrade
from proxy.ledger.problems import database_problem
from tests.support.commands import config_of, run_command, sqlite_url
from tests.support.postgres import postgres_cluster
from tests.support.wait import free_port

SECRET = "p%40ss-w0rd"
REPORT = Path(__file__).parents[1] / "reconcile" / "months" / "openai_usage.csv"
ARGUMENTS = {
    "keys create": ["x"],
    "keys rotate": ["x"],
    "keys update": ["x", "--team", "y"],
    "keys revoke": ["x"],
    "requests show": ["x"],
    "budgets set": ["session", "x", "1"],
    "ledger prune": ["--older-than", "1"],
    "ledger settle": ["x", "1"],
    "calibrate": ["--audited", "--quality", "0.9"],
    "reconcile": ["--provider", "openai", "--month", "2026-10", "--upstream", "large", str(REPORT)],
}
WITHOUT_DATABASE = {"alerts test", "init", "prices list", "prices check", "prompt-hash", "eval"}
STARTS_AN_ENGINE = {"demo"}


def leaves(group=main, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name))


COMMANDS = sorted(set(leaves()) - WITHOUT_DATABASE - STARTS_AN_ENGINE)


def missing_folder(folder):
    return sqlite_url(folder / "none" / "x.db"), "does not exist"


def a_folder(folder):
    (folder / "x.db").mkdir()
    return sqlite_url(folder / "x.db"), "is a folder"


def a_file_for_a_folder(folder):
    (folder / "x").touch()
    return sqlite_url(folder / "x" / "x.db"), "is not a folder"


def no_permission(folder):
    return sqlite_url("/sys/x.db"), "cannot be written"  # not even by root


def full_disk(folder):
    return sqlite_url("/dev/full"), "is full"


def another_file(folder):
    (folder / "x.db").write_text("no database " * 1000)
    return sqlite_url(folder / "x.db"), "is not a SQLite database"


def upgraded(folder):
    upgrade(sqlite_url(folder / "x.db"))
    return folder / "x.db"


def changed(folder, *statements):
    path = upgraded(folder)
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return sqlite_url(path)


def damaged(folder):
    path = upgraded(folder)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\x07" * (len(data) - 4096))
    return sqlite_url(path), "is damaged"


def another_program(folder):
    with closing(sqlite3.connect(folder / "x.db")) as connection:
        connection.execute("CREATE TABLE requests (a)")
    return sqlite_url(folder / "x.db"), "tables of another program"


def newer_version(folder):
    return changed(folder, "UPDATE alembic_version SET version_num = 'ffffffffffff'"), "newer version"


def no_tables(folder):
    tables = (
        "rollups requests stages calls plans api_keys budgets reservations audits responses rate_windows "
        "alert_deliveries alerts"
    )
    return changed(folder, *(f"DROP TABLE {t}" for t in tables.split())), "a table is missing"


def postgres_url(host):
    return f"postgresql+asyncpg://u:{SECRET}@{host}/x"


def refused(folder):
    return postgres_url(f"127.0.0.1:{free_port()}"), "no server answers at 127.0.0.1:"


def refused_by_name(folder):
    return postgres_url(f"localhost:{free_port()}"), "no server answers at localhost:"


def unknown_host(folder):
    return postgres_url("no-such-host.invalid"), "the host no-such-host.invalid is unknown"


def missing_socket(folder):
    return f"postgresql+asyncpg://u:{SECRET}@/x?host={folder}", "no server answers at the socket"


def bad_port(folder):
    return postgres_url("127.0.0.1:port"), "is not a URL"


def bad_option(folder):
    return postgres_url("127.0.0.1:1") + "?foo=1", "an option that the driver does not take"


def option_of_psycopg(folder):
    return postgres_url("127.0.0.1:1") + "?sslmode=require", "?ssl=require"


def unquoted_password(folder):
    return f"postgresql+asyncpg://u:p@ss-w0rd@127.0.0.1:{free_port()}/x", "write @ as %40"


KINDS = [
    missing_folder, a_folder, a_file_for_a_folder, no_permission, full_disk, another_file, damaged, another_program,
    newer_version, no_tables, refused, refused_by_name, unknown_host, missing_socket, bad_port, bad_option,
    option_of_psycopg, unquoted_password,
]  # fmt: skip
ABOUT_CONTENT = {"db current", "db upgrade"}
"""Commands that succeed, or have less to say, if only the tables are wrong."""


def run(command, folder, url):
    out = ["--out", str(folder / "calibration.toml")] if command == "calibrate" else []
    return run_command([*command.split(), *ARGUMENTS.get(command, []), *out, *config_of(folder, url)])


def check(command, code, output, words):
    lines = [line for line in output.splitlines() if "database.url" in line]
    assert code == 1, output
    assert len(lines) == 1, output
    assert words in lines[0], output
    assert command == "doctor" or output == lines[0] + "\n", output
    for secret in ("ss-w0rd", "Traceback"):
        assert secret not in output


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_every_command_says_why(tmp_path, kind):
    """Each command reports each kind of problem in one line, with a remedy and without the password."""
    url, words = kind(tmp_path)
    for command in COMMANDS:
        if command in ABOUT_CONTENT and kind in (another_program, newer_version, no_tables, damaged):
            continue
        check(command, *run(command, tmp_path, url), words)


@pytest.mark.postgres
def test_postgres_says_why(tmp_path):
    """A wrong password, a missing database, a missing right and missing tables of Postgres are one line each."""
    with postgres_cluster() as cluster:
        rules = cluster.folder / "data" / "pg_hba.conf"
        rules.write_text("host all known 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        upgrade(cluster.url)
        statements = (
            "CREATE ROLE known LOGIN PASSWORD 'right'", "CREATE ROLE poor LOGIN", "DROP TABLE rollups, requests CASCADE",
            "DROP TABLE api_keys, budgets, reservations, audits, alert_deliveries, alerts", "SELECT pg_reload_conf()",
        )  # fmt: skip
        asyncio.run(execute(cluster.url, statements))
        for url, words in (
            (cluster.url.replace("cope@", f"known:{SECRET}@"), "refuses the password of user known"),
            (cluster.url.replace("cope@", "known@"), "refuses the password of user known"),
            (cluster.url.replace("cope@", f"nobody:{SECRET}@"), "refuses user nobody"),
            (cluster.url.replace("/postgres", "/none"), "has no database none; create it"),
            (cluster.url.replace("cope@", f"poor:{SECRET}@"), "user poor has too few rights"),
            (cluster.url, "a table is missing"),
        ):
            for command in (
                "spend",
                "keys list",
                "requests list",
                "budgets list",
                "ledger unsettled",
                "serve",
                "doctor",
            ):
                check(command, *run(command, tmp_path, url), words)


async def execute(url, statements):
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_no_postgres_there(tmp_path, answer):
    """A server that is no Postgres is one line."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(100)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        check("spend", *run("spend", tmp_path, postgres_url(f"127.0.0.1:{port}")), f"127.0.0.1:{port} fails")
        server.shutdown(socket.SHUT_RDWR)


def test_locked_file_is_named(tmp_path):
    """A locked SQLite file is named, with the remedy."""
    path = upgraded(tmp_path)
    with closing(sqlite3.connect(path)) as first, closing(sqlite3.connect(path, timeout=0)) as second:
        first.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as e:
            second.execute("BEGIN IMMEDIATE")
    error = OperationalError("BEGIN", None, e.value)
    assert f"another process has locked {path}" in str(database_problem(error, sqlite_url(path)))


@pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg"])
def test_missing_driver_is_named(tmp_path, driver, monkeypatch):
    """A driver that is not installed is named with the command that installs it."""
    monkeypatch.setitem(sys.modules, driver, None)
    url = sqlite_url("x.db") if driver == "aiosqlite" else postgres_url("127.0.0.1:1")
    check("spend", *run("spend", tmp_path, url), f"the driver {driver} is not installed; run `pip install")


@pytest.mark.parametrize(("kind", "command"), [(a_folder, "serve"), (full_disk, "keys list")])
def test_processes_print_one_line(tmp_path, kind, command):
    """Neither the threads of a driver nor the server add anything to the line."""
    url, words = kind(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli", *command.split(), *config_of(tmp_path, url)],
        capture_output=True,
        text=True,
        env={"OPENAI_API_KEY": "k"},
        check=False,
    )
    check(command, done.returncode, done.stdout + done.stderr, words)


def test_unrelated_errors_stay():
    """An error that is not the database's has no message of it."""
    assert database_problem(KeyError("x"), sqlite_url("x.db")) is None


def test_others_cannot_read_files(tmp_path):
    """All files of the commands, and a database that was opened without one, can only be read by their user."""

    async def connect():
        engine = open_database(sqlite_url(tmp_path / "plain.db"))
        async with engine.connect() as connection:
            await connection.run_sync(lambda c: c.exec_driver_sql("CREATE TABLE t (a)"))
            modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.glob("plain.db*")}
        await engine.dispose()
        return modes

    before = os.umask(0)
    try:
        assert asyncio.run(connect()) == dict.fromkeys(["plain.db", "plain.db-wal", "plain.db-shm"], 0o600)
        url = sqlite_url(tmp_path / "x.db")
        config_of(tmp_path, url)
        for command in ("db upgrade", "keys create"):
            run(command, tmp_path, url)
        written = ["--parquet", str(tmp_path / "spend.parquet")]
        CliRunner().invoke(main, ["spend", *written, *config_of(tmp_path, url)], catch_exceptions=False)
        CliRunner().invoke(main, ["init", str(tmp_path / "new.toml")], catch_exceptions=False)
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    made = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir() if p.name != "cope.toml"}
    assert made == dict.fromkeys(["plain.db", "x.db", "spend.parquet", "new.toml"], 0o600)
