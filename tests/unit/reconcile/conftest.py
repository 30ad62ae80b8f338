"""The comparison reads every kind of ledger: SQLite and a real Postgres."""

from tests.unit.ledger.conftest import cluster, empty_url, url

__all__ = ["cluster", "empty_url", "url"]
