"""budgets and reservations use the words of the documentation

Revision: 4d7e92a0c6f3
Revises: b3e6d0917c48
"""

from alembic import op

revision = "4d7e92a0c6f3"
down_revision = "b3e6d0917c48"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE budgets RENAME COLUMN asked_nano TO lowest_header_nano")
    op.execute("ALTER TABLE reservations RENAME COLUMN holder TO process_id")
    op.execute("UPDATE reservations SET state = 'reserved' WHERE state = 'held'")


def downgrade() -> None:
    op.execute("UPDATE reservations SET state = 'held' WHERE state = 'reserved'")
    op.execute("ALTER TABLE reservations RENAME COLUMN process_id TO holder")
    op.execute("ALTER TABLE budgets RENAME COLUMN lowest_header_nano TO asked_nano")
