"""The response to a client, as the service sees it."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Reply(Protocol):
    """One response. Every method waits while the client reads slowly."""

    async def json(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a complete response."""
        ...

    async def open(self, headers: Mapping[str, str]) -> None:
        """Start a stream. Later calls do nothing."""
        ...

    async def events(self, events: Sequence[tuple[bytes, str | None]]) -> None:
        """Send events of an open stream together, each with its name if it has one."""
        ...

    async def close(self) -> None:
        """End an open stream."""
        ...

    @property
    def answering(self) -> bool:
        """Whether part of an answer has been sent. After that no other model can take over."""
        ...
