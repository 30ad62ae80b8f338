"""Plans made earlier in a conversation: nothing is planned twice (COPE, arXiv 2506.11578).

An agent's plan holds for its whole conversation, from the first user's message on; that of any other task until its
user says something new. Kept in this process's memory only: losing one costs a plan, no more.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from proxy.cascade.types import Json, Kept, TaskKind

MOST = 4096
LIFE_S = 3600.0


class PlanCache:
    """The plans of recent conversations, the least recently used ones forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, Kept]] = OrderedDict()

    def find(self, page: bytes | None) -> Kept:
        """Return what was planned on a page; nothing when there is no such page."""
        if page is None or page not in self._kept:
            return Kept()
        made_at, plans = self._kept[page]
        if self._clock() - made_at > LIFE_S:
            return Kept()
        self._kept.move_to_end(page)
        return plans

    def keep(self, page: bytes, plans: Kept) -> None:
        """Write plans down."""
        self._kept[page] = (self._clock(), plans)
        self._kept.move_to_end(page)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)


def page_of(owner: tuple[str | None, str | None, str], kind: TaskKind, body: Json) -> bytes | None:
    """Return where the plans of a conversation are kept; `None` when it has no user's message.

    Args:
        owner: the key, the session and the large model: plans are not shared between them.
        kind: the task's kind.
        body: the chat request. Two requests that begin alike, and have the same tools, are one conversation.
    """
    messages = body["messages"]
    users = [i for i, m in enumerate(messages) if m["role"] == "user"]
    if not users:
        return None
    last = users[0] if kind is TaskKind.AGENT else users[-1]
    begun = [owner, kind, messages[: last + 1], body.get("tools"), body.get("response_format")]
    return hashlib.sha256(msgspec.json.encode(begun)).digest()


def goes_on(kind: TaskKind, body: Json) -> bool:
    """Whether a conversation goes on after the message that its plans were made for."""
    roles = [str(m["role"]) for m in body["messages"]]
    if kind is TaskKind.AGENT and "user" in roles:
        return "assistant" in roles[roles.index("user") :]
    return roles[-1] != "user"
