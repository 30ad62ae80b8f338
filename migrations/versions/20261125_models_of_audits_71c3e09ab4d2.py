"""which models, and how many samples, an audit is of

Revision: 71c3e09ab4d2
Revises: 2c94d5e8b7f1
"""

import sqlalchemy as sa
from alembic import op

revision = "71c3e09ab4d2"
down_revision = "2c94d5e8b7f1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nobody knows it of the audits made until now.
    op.add_column("audits", sa.Column("small_model", sa.String(), nullable=True))
    op.add_column("audits", sa.Column("large_model", sa.String(), nullable=True))
    op.add_column("audits", sa.Column("samples", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("audits", "samples")
    op.drop_column("audits", "large_model")
    op.drop_column("audits", "small_model")
