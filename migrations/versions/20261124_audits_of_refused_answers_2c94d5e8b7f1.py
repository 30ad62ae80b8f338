"""audits of refused answers, too: one row for each stage that was reached

Revision: 2c94d5e8b7f1
Revises: 8f0b7c31d5aa
"""

import sqlalchemy as sa
from alembic import op

revision = "2c94d5e8b7f1"
down_revision = "8f0b7c31d5aa"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Until now only accepted answers were audited.
    accepted = sa.Column("accepted", sa.Boolean(), nullable=False, server_default=sa.true())
    _rebuild(accepted, sa.PrimaryKeyConstraint("id", "stage"))


def downgrade() -> None:
    op.execute("DELETE FROM audits WHERE NOT accepted")
    _rebuild(sa.PrimaryKeyConstraint("id"))


def _rebuild(*changed: sa.schema.SchemaItem) -> None:
    """SQLite cannot change a primary key, so the table is made anew and its rows are moved."""
    kept = [
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("task", sa.String(length=16), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("agreed", sa.Boolean(), nullable=True),
    ]
    names = ", ".join(column.name for column in kept)
    op.drop_index("ix_audits_created_at", table_name="audits")
    op.rename_table("audits", "audits_before")
    op.create_table("audits", *kept, *changed)
    op.execute(f"INSERT INTO audits ({names}) SELECT {names} FROM audits_before")  # noqa: S608
    op.drop_table("audits_before")
    op.create_index("ix_audits_created_at", "audits", ["created_at"])
