"""A fact of the database that many requests need: one of them asks, ahead of time, and all others use the answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from proxy.errors import database_unavailable
from proxy.ledger.database import DatabaseError

T = TypeVar("T")

FRESH_S = 5.0
"""How long an answer holds. A revoked key stops working this long after the last question at most."""
RENEW_S = 2.5
"""The age from which an answer is renewed, while it is still used."""
OUTAGE_S = 3600.0
"""How long an answer stays valid while the database does not answer."""


class Known(Generic[T]):
    """One fact. Its state is the last answer, its age, and the question under way."""

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._answer: tuple[T] | None = None
        self._asked_at = 0.0
        self._question: asyncio.Task[T] | None = None

    async def value(self) -> T:
        """Return the fact. At most one question is under way, however many requests wait.

        An answer is as old as its question. From `RENEW_S` on it is renewed in the background. From `FRESH_S` on all
        requests wait for the new one. If the database is unavailable, the old one is valid for `OUTAGE_S`.

        Raises:
            ApiError: 503 if the database is unavailable and has not answered recently.
        """
        age = self._clock() - self._asked_at
        if self._answer is not None and age < FRESH_S:
            if age >= RENEW_S and self._question is None:
                self._renew()
            return self._answer[0]
        try:
            # The question belongs to all who wait, so the departure of one of them does not end it.
            return await asyncio.shield(self._question or self._renew())
        except (OSError, DatabaseError) as e:
            if self._answer is not None and self._clock() - self._asked_at < FRESH_S + OUTAGE_S:
                return self._answer[0]
            raise database_unavailable() from e

    def _renew(self) -> "asyncio.Task[T]":
        self._question = asyncio.create_task(self._asked(self._clock()))
        self._question.add_done_callback(self._answered)
        return self._question

    async def _asked(self, at: float) -> T:
        found = await self._ask()
        self._answer, self._asked_at = (found,), at
        return found

    def _answered(self, question: "asyncio.Task[T]") -> None:
        self._question = None
        if not question.cancelled():
            question.exception()  # perhaps nobody waits for it
