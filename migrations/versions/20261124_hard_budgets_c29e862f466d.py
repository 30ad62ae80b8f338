"""hard budgets, keys and rollups

Revision: c29e862f466d
Revises: 22479e5722a8
"""

import sqlalchemy as sa
from alembic import op

revision = "c29e862f466d"
down_revision = "22479e5722a8"
branch_labels = None
depends_on = None

API_KEYS = (
    ("previous_sha256", sa.String()),
    ("previous_until", sa.DateTime(timezone=True)),
    ("expires_at", sa.DateTime(timezone=True)),
    ("budget_nano", sa.BigInteger()),
    ("budget_window", sa.String()),
    ("requests_per_minute", sa.BigInteger()),
    ("tokens_per_minute", sa.BigInteger()),
)


def upgrade() -> None:
    op.create_table(
        "latency_rollups",
        sa.Column("dimension", sa.String(length=16), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dimension", "day", "key_id", "value", "bucket"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rate_windows",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "minute"),
    )
    op.create_table(
        "rollups",
        sa.Column("dimension", sa.String(length=16), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("escalated", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=False),
        sa.Column("baseline_nano", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dimension", "day", "key_id", "value"),
        sqlite_with_rowid=False,
    )

    for name, kind in API_KEYS:
        op.add_column("api_keys", sa.Column(name, kind, nullable=True))
    for name in ("models", "modes"):
        op.add_column("api_keys", sa.Column(name, sa.JSON(), nullable=False, server_default="[]"))
    for name in ("asked_nano", "unsettled_nano"):
        op.add_column("budgets", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE budgets SET asked_nano = limit_nano")
    op.add_column("calls", sa.Column("key_id", sa.String(), nullable=True))
    op.add_column("calls", sa.Column("overrun", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("requests", sa.Column("tags", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("reservations", sa.Column("holder", sa.String(), nullable=False, server_default=""))
    op.create_index("ix_reservations_state", "reservations", ["state", "expires_at"])


def downgrade() -> None:
    op.drop_index("ix_reservations_state", "reservations")
    op.drop_column("reservations", "holder")
    op.drop_column("requests", "tags")
    op.drop_column("calls", "overrun")
    op.drop_column("calls", "key_id")
    op.drop_column("budgets", "unsettled_nano")
    op.drop_column("budgets", "asked_nano")
    for name in ("modes", "models", *(name for name, _ in reversed(API_KEYS))):
        op.drop_column("api_keys", name)
    op.drop_table("rollups")
    op.drop_table("rate_windows")
    op.drop_table("latency_rollups")
