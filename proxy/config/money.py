"""The settings of budgets, of the ledger and of its files. See `schema` for how the docstrings are used."""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta

from proxy.config.section import Positive, Section
from proxy.records import Window


class Limit(Section, frozen=True, kw_only=True):
    """A budget of one key, team, user or tag."""

    usd: Decimal
    """Highest spend in a window, in USD."""
    window: Window = "total"
    """Window after which the budget starts again."""


class Budgets(Section, frozen=True, kw_only=True):
    """Limits on the spend. A paid call is only made if it fits into every budget that applies to it."""

    global_usd: Decimal | None = None
    """Highest spend of all requests in a window, in USD. Unset: no limit."""
    window: Window = "total"
    """Window of the global budget."""
    timezone: str = "UTC"
    """Time zone in which days, weeks and months begin, for example `Europe/Berlin`. Reports use it too."""
    wait_s: Annotated[float, Meta(ge=0)] = 5.0
    """Longest time that a call waits for money that other calls have reserved."""
    keys: dict[str, Limit] = {}
    """Budgets by the name or id of a key. They replace the budget that was set when the key was created."""
    teams: dict[str, Limit] = {}
    """Budgets by the team of a key. The keys of a team share its budget. `"*"` gives one to every team."""
    users: dict[str, Limit] = {}
    """Budgets by end user (`user` in the body). `"*"` gives one to every user."""
    tags: dict[str, Limit] = {}
    """Budgets by tag (`metadata` in the body), written `"key=value"`. `"key=*"` gives one to every value."""


class Ledger(Section, frozen=True, kw_only=True):
    """The records of the ledger and the behaviour while the database is unavailable."""

    store_content: bool = False
    """Also store prompts, answers and plans."""
    retention_days: Positive | None = None
    """Days to keep requests and calls. Daily sums are kept for ever. Unset: no limit."""
    content_retention_days: Positive | None = None
    """Days to keep prompts, answers and plans. Unset: as long as their requests."""
    responses_retention_hours: Annotated[int, Meta(ge=0)] = 24
    """Hours to keep local responses and stored local chat completions. 0: keep none."""
    spool_dir: str = "cope.spool"
    """Folder on a local disk for records that are not in the database yet. They survive a crash."""
    spool_max_bytes: Positive = 256 * 2**20
    """Largest size of that folder per process."""
    on_outage: Literal["refuse", "continue"] = "refuse"
    """Reaction when the database is unavailable and the folder is full: refuse requests or continue without records."""


class Exports(Section, frozen=True, kw_only=True):
    """Files of the spend in the FOCUS 1.2 format, for billing tools. See `cope-proxy spend --focus`."""

    folder: str | None = None
    """Folder that gets one file for each day with calls. Unset: no files. One process at a time writes to it."""
    format: Literal["csv", "parquet"] = "csv"
    """Format of the daily files."""
    days: Annotated[int, Meta(ge=1, le=366)] = 35
    """Number of past days whose files are written if they are missing, or written again if calls came late."""
    tags: tuple[str, ...] = ("project", "team", "cost_center", "environment")
    """Tags (`metadata` in the body) that rows are divided by. Tags with a value of their own for each request would
    give as many rows as calls."""
    billing_account: str = "cope-proxy"
    """Id and name of the billing account in the files."""
