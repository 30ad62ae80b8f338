"""what a stage, and the large model's answer, cost in an audited request

Revision: b3e6d0917c48
Revises: 71c3e09ab4d2
"""

import sqlalchemy as sa
from alembic import op

revision = "b3e6d0917c48"
down_revision = "71c3e09ab4d2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nobody knows it of the audits made until now.
    op.add_column("audits", sa.Column("spent_nano", sa.BigInteger(), nullable=True))
    op.add_column("audits", sa.Column("large_nano", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    # What has no answer has no verdict; until now only answers were noted.
    op.execute("DELETE FROM audits WHERE confidence < 0")
    op.drop_column("audits", "large_nano")
    op.drop_column("audits", "spent_nano")
