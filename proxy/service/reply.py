"""The way back to the client, as the service sees it."""

from collections.abc import Mapping
from typing import Protocol


class Reply(Protocol):
    """One response. All of it waits while the client is slow."""

    async def json(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole response."""
        ...

    async def open(self, headers: Mapping[str, str]) -> None:
        """Start a stream; a second call does nothing."""
        ...

    async def event(self, data: bytes, name: str | None = None) -> None:
        """Send one event of an open stream."""
        ...

    async def close(self) -> None:
        """End an open stream."""
        ...

    @property
    def answering(self) -> bool:
        """Whether a piece of an answer has been sent, after which no other model can take over."""
        ...
