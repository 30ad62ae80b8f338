"""keys have a team, a cost center and an environment, and requests keep those of their key

Revision: a4f81c6d0e27
Revises: c7e2a95b4d13
"""

import sqlalchemy as sa
from alembic import op

revision = "a4f81c6d0e27"
down_revision = "c7e2a95b4d13"
branch_labels = None
depends_on = None

TABLES = ("api_keys", "requests")
COLUMNS = ("team", "cost_center", "environment")


def upgrade() -> None:
    for table in TABLES:
        for name in COLUMNS:
            op.add_column(table, sa.Column(name, sa.String(), nullable=True))


def downgrade() -> None:
    for table in reversed(TABLES):
        for name in reversed(COLUMNS):
            op.drop_column(table, name)
