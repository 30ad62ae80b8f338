"""Choose the server of the small tier that a conversation goes to, so that it finds its prompt in that server's cache.

Sources: D. Thaler and C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996), and V. Mirrokni, M. Thorup and
M. Zadimoghaddam, "Consistent Hashing with Bounded Loads" (arXiv 1608.01350).
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TypeVar

from yarl import URL

from proxy.errors import SmallTimeoutError, SmallUnavailableError

T = TypeVar("T")

HEADROOM = 1.5
"""A server takes at most this many times the mean of the requests under way, rounded up.

At 1.25, a quarter of the turns left their server when 16 requests were under way at four servers. At 1.5 it is a tenth, and
the load is as even in the long run.
"""
ROOM = 4
"""The requests that each server takes in any case. So few are no load for it, and the prompt is in its cache."""


def ranked(key: str, names: Iterable[str]) -> list[str]:
    """Return the servers in the order in which they are preferred for a key.

    A server that goes, or comes back, changes nothing in the order of the others.
    """
    return sorted(names, key=lambda name: _score(key, name), reverse=True)


def choose(key: str, loads: Mapping[str, int]) -> str:
    """Return the first server in the order of the key that has room for one more request.

    Args:
        key: the conversation.
        loads: the requests under way at each server that may be chosen. There has to be at least one.
    """
    limit = max(ROOM, math.ceil(HEADROOM * (sum(loads.values()) + 1) / len(loads)))
    # The limits of all servers together exceed all requests, so one of them has room.
    return next(name for name in ranked(key, loads) if loads[name] < limit)


@dataclass(eq=False)
class Server:
    """One server of the small tier, its load and its health."""

    url: str
    proxy: URL | None = None
    requests: int = 0
    """The requests of clients that are here now, each with all its generations."""
    healthy: bool = False
    missed: int = 0


@dataclass(eq=False)
class Place:
    """The server of one request. All its generations go there, so that only the first one has to read the prompt."""

    key: str
    """The conversation: a digest, which the servers see as their session."""
    servers: tuple[Server, ...]
    _server: Server | None = None
    _failed: list[Server] = field(default_factory=list)
    """The servers that have failed this request. It does not go to them again."""

    async def call(self, made_at: Callable[[Server], Awaitable[T]]) -> T:
        """Make a call at the server of this request. If the server is lost, make it at the next one, so that a vote goes on.

        Raises:
            SmallTimeoutError: the server took too long.
            SmallUnavailableError: no server is left.
        """
        while True:
            server = self._chosen()
            try:
                return await made_at(server)
            except SmallTimeoutError:
                raise
            except SmallUnavailableError:
                self._failed.append(server)
                if not self._free():
                    raise

    def leave(self) -> None:
        """Count this request at no server."""
        if self._server is not None:
            self._server.requests -= 1
            self._server = None

    def _chosen(self) -> Server:
        """Return the server. It changes only if it has failed or is unhealthy."""
        if self._server is None or not self._server.healthy or self._server in self._failed:
            self.leave()
            if not (free := self._free()):
                raise SmallUnavailableError("no server of the small tier is available")
            self._server = free[choose(self.key, {url: s.requests for url, s in free.items()})]
            self._server.requests += 1
        return self._server

    def _free(self) -> dict[str, Server]:
        return {s.url: s for s in self.servers if s.healthy and s not in self._failed}


def call_headers(place: Place, call_id: str) -> dict[str, str]:
    """Return the headers by which a router in front of the servers keeps a conversation at one of them.

    vLLM, vllm-router, Ray Serve, llm-d and vLLM's production stack know the session under this name. vLLM uses the id of the
    request as its own, so each call has another one.
    """
    return {"x-session-id": place.key, "x-request-id": call_id}


def _score(key: str, name: str) -> bytes:
    return blake2b(f"{key} {name}".encode(errors="surrogatepass"), digest_size=8).digest()
