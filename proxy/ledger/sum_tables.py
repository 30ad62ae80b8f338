"""The tables of sums that are kept beside the rows: per day, per latency, and since the beginning."""

from sqlalchemy.orm import Mapped, mapped_column

from proxy.ledger.tables import Base, Text


class RollupRow(Base):
    """Sums of a day or month, by key and one dimension. See `proxy.ledger.rollups`."""

    __tablename__ = "rollups"
    __table_args__ = ({"sqlite_with_rowid": False},)

    dimension: Mapped[str] = mapped_column(Text(16), primary_key=True)
    day: Mapped[str] = mapped_column(Text(10), primary_key=True)
    key_id: Mapped[str] = mapped_column(Text(32), primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    requests: Mapped[int]
    errors: Mapped[int]
    escalated: Mapped[int]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    cost_nano: Mapped[int]
    baseline_nano: Mapped[int]
    sent_tokens: Mapped[int] = mapped_column(server_default="0")
    """Prompt tokens of the large model's calls. For models and tiers: of the counted calls."""
    read_tokens: Mapped[int] = mapped_column(server_default="0")
    """The part of them that the upstream read from its cache."""
    written_tokens: Mapped[int] = mapped_column(server_default="0")
    """The part of them that it wrote into its cache."""


class LatencyRollupRow(Base):
    """The number of requests of a day by latency, in buckets that are 10 % wide."""

    __tablename__ = "latency_rollups"
    __table_args__ = ({"sqlite_with_rowid": False},)

    dimension: Mapped[str] = mapped_column(Text(16), primary_key=True)
    day: Mapped[str] = mapped_column(Text(10), primary_key=True)
    key_id: Mapped[str] = mapped_column(Text(32), primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    requests: Mapped[int]


class CounterRow(Base):
    """Totals of the whole ledger by the labels of its metrics. See `proxy.ledger.counters`."""

    __tablename__ = "counters"
    __table_args__ = ({"sqlite_with_rowid": False},)

    subject: Mapped[str] = mapped_column(Text(16), primary_key=True)
    """`request`, `call` or `stage`."""
    kind: Mapped[str] = mapped_column(Text(16), primary_key=True)
    mode: Mapped[str] = mapped_column(Text(16), primary_key=True)
    stage: Mapped[str] = mapped_column(Text(4), primary_key=True)
    role: Mapped[str] = mapped_column(Text(16), primary_key=True)
    tier: Mapped[str] = mapped_column(Text(16), primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(Text(16), primary_key=True)
    count: Mapped[int]
    prompt_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    reasoning_tokens: Mapped[int]
    cost_nano: Mapped[int]
    baseline_nano: Mapped[int]
    cache_write_tokens: Mapped[int] = mapped_column(server_default="0")
