"""totals by the labels of the metrics, counted from the rows that exist

Revision: e1a94c7d20b6
Revises: 9b7c41e0d3a5
"""

import sqlalchemy as sa
from alembic import op

revision = "e1a94c7d20b6"
down_revision = "9b7c41e0d3a5"
branch_labels = None
depends_on = None

LABELS = ("subject", "kind", "mode", "stage", "role", "tier", "model", "outcome")
AMOUNTS = (
    "count", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost_nano", "baseline_nano",
)  # fmt: skip
MOST_SUM, SPLIT = 2**63 - 1, 2**31
REQUESTS = """SELECT 'request', coalesce(task, 'none'), mode, coalesce(CAST(stage AS VARCHAR), 'none'), '',
    CASE WHEN stage IS NULL THEN 'none' WHEN stage = 3 THEN 'large' ELSE 'small' END,
    coalesce(model, 'none'),
    CASE WHEN status = 429 THEN 'limited' WHEN status = 499 THEN 'disconnected'
    WHEN status = 504 THEN 'timeout' WHEN status >= 500 THEN 'failed' WHEN status >= 400 THEN 'refused'
    WHEN degraded IS NULL THEN 'answered' ELSE 'degraded' END,
    count(*), {prompt_tokens}, 0, 0, {completion_tokens}, 0, 0, {cost_nano}, {baseline_nano}
    FROM requests GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"""
CALLS = """SELECT 'call', coalesce(r.task, 'none'), '', CAST(c.stage AS VARCHAR), c.role, c.tier, c.model,
    CASE WHEN c.error IS NOT NULL THEN 'error'
    WHEN c.finish_reason IN ('cancelled', 'disconnected', 'timeout') THEN c.finish_reason ELSE 'ok' END,
    count(*), {c.prompt_tokens}, {c.cached_tokens}, {c.completion_tokens}, {c.reasoning_tokens}, {c.cost_nano}, 0, 0
    FROM calls c LEFT JOIN requests r ON r.id = c.request_id GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"""
STAGES = """SELECT 'stage', coalesce(r.task, 'none'), '', CAST(s.stage AS VARCHAR), '', '', '', {event}, {amount},
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM stages s JOIN requests r ON r.id = s.request_id GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"""
ACCEPTED = "CASE WHEN s.accepted THEN 'accepted' ELSE 'escalated' END"


def upgrade() -> None:
    counters = op.create_table(
        "counters",
        *(
            sa.Column(name, sa.String(length={"stage": 4, "model": None}.get(name, 16)), nullable=False)
            for name in LABELS
        ),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in AMOUNTS),
        sa.PrimaryKeyConstraint(*LABELS),
        sqlite_with_rowid=False,
    )
    drawn = STAGES.format(event="'drawn'", amount="CAST(sum(s.drawn) AS BIGINT)")
    decided = STAGES.format(event=ACCEPTED, amount="count(*)")
    found = [row for query in (_summed(REQUESTS), _summed(CALLS), drawn, decided) for row in _rows(query)]
    if found:
        op.bulk_insert(counters, found)


def downgrade() -> None:
    op.drop_table("counters")


def _summed(query: str) -> str:
    """Put sums in place of the columns in braces: as two parts, because a sum may exceed 64 bits."""
    for name in (*AMOUNTS[1:], *(f"c.{name}" for name in AMOUNTS[1:])):
        value = f"coalesce({name}, 0)"
        parts = f"CAST(sum({value} / {SPLIT}) AS VARCHAR), CAST(sum({value} % {SPLIT}) AS VARCHAR)"
        query = query.replace("{" + name + "}", parts)
    return query


def _rows(query: str) -> list[dict[str, object]]:
    rows = []
    for values in op.get_bind().execute(sa.text(query)):
        labels, count, parts = values[:8], values[8], values[9:]
        sums = (
            min(int(high) * SPLIT + int(low), MOST_SUM)
            for high, low in zip(parts[::2], parts[1::2], strict=True)
        )
        rows.append(dict(zip(LABELS, labels, strict=True)) | dict(zip(AMOUNTS, (count, *sums), strict=True)))
    return rows
