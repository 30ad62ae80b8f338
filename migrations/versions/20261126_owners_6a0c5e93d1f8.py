"""sessions belong to their keys, objects of the upstream have owners, and rate limits count calls

Revision: 6a0c5e93d1f8
Revises: 4d7e92a0c6f3
"""

import sqlalchemy as sa
from alembic import op

revision = "6a0c5e93d1f8"
down_revision = "4d7e92a0c6f3"
branch_labels = None
depends_on = None

OWNED = ["scope", "owner", "name", "window", "window_start"]
UNOWNED = ["scope", "name", "window", "window_start"]


def upgrade() -> None:
    with op.batch_alter_table("budgets") as batch:
        batch.drop_constraint("uq_budgets", type_="unique")
        batch.create_unique_constraint("uq_budgets", OWNED)
    op.add_column("rate_windows", sa.Column("tokens", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "owned_objects",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "id"),
    )
    op.create_index("ix_owned_objects_created_at", "owned_objects", ["created_at"])


def downgrade() -> None:
    op.drop_index("ix_owned_objects_created_at", table_name="owned_objects")
    op.drop_table("owned_objects")
    op.drop_column("rate_windows", "tokens")
    # The older table has one session of each name. The key that opened it first keeps the name.
    op.execute(
        "UPDATE budgets SET name = name || ' of ' || owner WHERE id NOT IN "
        '(SELECT MIN(id) FROM budgets GROUP BY scope, name, "window", window_start)'
    )
    with op.batch_alter_table("budgets") as batch:
        batch.drop_constraint("uq_budgets", type_="unique")
        batch.create_unique_constraint("uq_budgets", UNOWNED)
