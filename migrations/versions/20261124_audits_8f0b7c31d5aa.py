"""local answers that were audited against the large model

Revision: 8f0b7c31d5aa
Revises: 5d1f0c2a77be
"""

import sqlalchemy as sa
from alembic import op

revision = "8f0b7c31d5aa"
down_revision = "5d1f0c2a77be"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audits",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("task", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("agreed", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_audits_created_at", "audits", ["created_at"])


def downgrade() -> None:
    op.drop_index("ix_audits_created_at", table_name="audits")
    op.drop_table("audits")
