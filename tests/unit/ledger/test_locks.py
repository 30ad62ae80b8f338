"""SQLite's locks of a process hold as long as its connections, whatever else the process opens."""

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack

from sqlalchemy import text

from proxy.ledger.database import open_database

ROUNDS = 4
ELSEWHERE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30)
with connection:
    print(connection.execute("SELECT count(*) FROM marks").fetchone()[0])
    connection.execute("INSERT INTO marks VALUES (0)")
connection.close()
"""


def marks_elsewhere(path):
    """Let another process count the rows, add one, and close the database."""
    command = [sys.executable, "-c", ELSEWHERE, path]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


async def counts_elsewhere(path):
    """Commit a row in each round, with ever more connections open, between visits of another process."""
    engine = open_database(f"sqlite+aiosqlite:///{path}")
    counts = []
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE marks (n INTEGER)"))
        for _ in range(ROUNDS):
            connection = await stack.enter_async_context(engine.connect())
            await asyncio.to_thread(marks_elsewhere, path)
            async with connection.begin():
                await connection.execute(text("INSERT INTO marks VALUES (1)"))
            counts.append(await asyncio.to_thread(marks_elsewhere, path))
    return counts


def test_committed_rows_are_seen_elsewhere(tmp_path):
    """Another process that opens and closes the database never hides the rows that this one commits afterwards."""
    assert asyncio.run(counts_elsewhere(str(tmp_path / "ledger.db"))) == [2, 5, 8, 11]
