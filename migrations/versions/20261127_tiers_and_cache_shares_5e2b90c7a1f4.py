"""calls keep their service tier, every token class and both costs, and sums keep what the upstream's cache read and wrote

Revision: 5e2b90c7a1f4
Revises: 5b9e2f7a10cd
"""

import sqlalchemy as sa
from alembic import op

revision = "5e2b90c7a1f4"
down_revision = "5b9e2f7a10cd"
branch_labels = None
depends_on = None

CALLS = (
    "cache_write_1h_tokens",
    "image_prompt_tokens",
    "image_completion_tokens",
    "cache_write_1h_per_mtok_nano",
    "image_input_per_mtok_nano",
    "image_output_per_mtok_nano",
    "reasoning_per_mtok_nano",
    "reported_cost_nano",
    "computed_cost_nano",
)
SHARES = ("sent_tokens", "read_tokens", "written_tokens")


def upgrade() -> None:
    op.add_column("calls", sa.Column("service_tier", sa.String(), nullable=True))
    for name in CALLS:
        op.add_column("calls", sa.Column(name, sa.BigInteger(), nullable=True))
    for table in ("requests", "rollups"):
        for name in SHARES:
            op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    column = sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("counters", column)


def downgrade() -> None:
    op.drop_column("counters", "cache_write_tokens")
    for table in ("rollups", "requests"):
        for name in reversed(SHARES):
            op.drop_column(table, name)
    for name in reversed(("service_tier", *CALLS)):
        op.drop_column("calls", name)
