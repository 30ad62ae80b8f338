"""Every ledger test runs on SQLite and on a real Postgres."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from proxy.ledger.migrate import upgrade
from tests.support.postgres import postgres_server


@pytest.fixture(scope="session")
def cluster():
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_url(request, tmp_path):
    """The URL of an empty database of its own."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/ledger.db"
    server = request.getfixturevalue("cluster")
    name = f"t{abs(hash(request.node.nodeid))}"

    async def create():
        engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(text(f'CREATE DATABASE "{name}"'))
        await engine.dispose()

    asyncio.run(create())
    return server.rsplit("/", 1)[0] + "/" + name


@pytest.fixture
def url(empty_url):
    """The URL of a database with the newest schema."""
    upgrade(empty_url)
    return empty_url
