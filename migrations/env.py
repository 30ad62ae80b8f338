import asyncio

from alembic import context
from sqlalchemy import Connection, text

from proxy.ledger import alert_tables, sum_tables  # noqa: F401  (their tables belong to the metadata)
from proxy.ledger.database import open_database
from proxy.ledger.migrate import LOCK
from proxy.ledger.tables import Base


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()


async def main() -> None:
    engine = open_database(context.config.attributes["url"])
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(main())
