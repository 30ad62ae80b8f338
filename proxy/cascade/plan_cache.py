"""Plans of earlier turns in a conversation, so that nothing is planned twice (COPE, arXiv 2506.11578).

The plans of an agent serve the complete conversation after the first user message. The plans of any other task serve until
the user sends a new message. They are kept in the memory of one process. After a restart, new ones are made.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from proxy.cascade.types import Json, KeptPlans, TaskKind

MOST = 4096
LIFE_S = 3600.0


class PlanCache:
    """The plans of recent conversations. The least recently used ones are dropped first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, KeptPlans]] = OrderedDict()

    def find(self, page: bytes | None) -> KeptPlans:
        """Return the plans of a conversation, or none if they are unknown or too old."""
        if page is None or page not in self._kept:
            return KeptPlans()
        made_at, plans = self._kept[page]
        if self._clock() - made_at > LIFE_S:
            return KeptPlans()
        self._kept.move_to_end(page)
        return plans

    def keep(self, page: bytes, plans: KeptPlans) -> None:
        """Keep the plans of a conversation."""
        self._kept[page] = (self._clock(), plans)
        self._kept.move_to_end(page)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)


def page_of(owner: tuple[str | None, str | None, str], kind: TaskKind, body: Json) -> bytes | None:
    """Return the key of a conversation in the cache, or `None` if it has no user message.

    Args:
        owner: the API key, the session and the large model. They share no plans with others.
        kind: the task's kind.
        body: the chat request. Requests with the same beginning and the same tools are one conversation.
    """
    messages = body["messages"]
    users = [i for i, m in enumerate(messages) if m["role"] == "user"]
    if not users:
        return None
    last = users[0] if kind is TaskKind.AGENT else users[-1]
    beginning = [owner, kind, messages[: last + 1], body.get("tools"), body.get("response_format")]
    return hashlib.sha256(msgspec.json.encode(beginning)).digest()


def goes_on(kind: TaskKind, body: Json) -> bool:
    """Return True if the conversation continues after the message that its plans were made for."""
    roles = [str(m["role"]) for m in body["messages"]]
    if kind is TaskKind.AGENT and "user" in roles:
        return "assistant" in roles[roles.index("user") :]
    return roles[-1] != "user"
