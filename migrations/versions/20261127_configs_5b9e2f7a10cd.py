"""requests keep the digest of the config that they were answered with

Revision: 5b9e2f7a10cd
Revises: a4f81c6d0e27
"""

import sqlalchemy as sa
from alembic import op

revision = "5b9e2f7a10cd"
down_revision = "a4f81c6d0e27"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("config", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("requests", "config")
