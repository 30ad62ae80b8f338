"""calls keep the tokens and rates of every class, so that their cost can be divided

Revision: c7e2a95b4d13
Revises: 3e81b6f0c9d4
"""

import sqlalchemy as sa
from alembic import op

revision = "c7e2a95b4d13"
down_revision = "3e81b6f0c9d4"
branch_labels = None
depends_on = None

COLUMNS = (
    "cache_write_tokens",
    "audio_prompt_tokens",
    "audio_completion_tokens",
    "cache_write_per_mtok_nano",
    "audio_input_per_mtok_nano",
    "audio_output_per_mtok_nano",
    "request_nano",
)


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("calls", sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for name in reversed(COLUMNS):
        op.drop_column("calls", name)
