"""answers that clients read, change and delete later

Revision: 9b7c41e0d3a5
Revises: 6a0c5e93d1f8
"""

import sqlalchemy as sa
from alembic import op

revision = "9b7c41e0d3a5"
down_revision = "6a0c5e93d1f8"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("responses", sa.Column("model", sa.String(), nullable=True))
    op.add_column("responses", sa.Column("answer", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "chat_completions",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("answered_by", sa.String(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("messages", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_chat_completions_key_created", "chat_completions", ["key_id", "created_at"])
    op.create_index("ix_chat_completions_created_at", "chat_completions", ["created_at"])


def downgrade() -> None:
    op.drop_index("ix_chat_completions_created_at", table_name="chat_completions")
    op.drop_index("ix_chat_completions_key_created", table_name="chat_completions")
    op.drop_table("chat_completions")
    op.drop_column("responses", "answer")
    op.drop_column("responses", "model")
