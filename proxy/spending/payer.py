"""The client that pays for a request."""

from dataclasses import dataclass

from proxy.config.money import Limit
from proxy.ledger.keys import ApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """The client that pays for a request, and the limits that the request brings along. Amounts are nano-USD."""

    key: ApiKey | None = None
    session: str | None = None
    session_budget: int | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()
    budget: int | None = None
    """The budget of this one request."""
    audit_limit: Limit | None = None
    """The limit of all audits together, if the request is an audit."""

    @property
    def key_id(self) -> str | None:
        """The id of the client's key."""
        return None if self.key is None else self.key.id
