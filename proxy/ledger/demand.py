"""How much the recent requests of a payer need, so that its leases are as large as the next second needs."""

import math

MEMORY_S = 1.0
"""Demand fades with this time constant."""
SHORTEST_S = 0.2
"""Demand that is younger counts as this old: a few requests at once are no stream of them."""
REPEATED = 4
"""A payer needs a lease if it made about so many requests in the last second."""


class Demand:
    """The reservations of one payer. Amounts are nano-USD, and times are those of one monotonic clock."""

    __slots__ = ("_amount", "_at", "_began", "_count", "_largest")

    def __init__(self, began: float) -> None:
        self._amount = self._count = self._largest = 0.0
        self._at = self._began = began

    @property
    def at(self) -> float:
        """The time of the last reservation."""
        return self._at

    def add(self, amount: int, at: float) -> None:
        """Note a reservation."""
        faded = math.exp((self._at - at) / MEMORY_S)
        self._amount = self._amount * faded + amount
        self._count = self._count * faded + 1
        self._largest = max(float(amount), self._largest * faded)
        self._at = at

    def repeats(self, at: float) -> bool:
        """Whether requests come so often that a lease saves transactions."""
        return self._count * math.exp((self._at - at) / MEMORY_S) >= REPEATED

    def amount(self, seconds: float, at: float) -> int:
        """Return what so many seconds need if they are like the last one."""
        seen = 1 - math.exp(-max(SHORTEST_S, at - self._began) / MEMORY_S)  # what a shorter past is worth
        return int(self._amount * math.exp((self._at - at) / MEMORY_S) * seconds / (MEMORY_S * seen))

    def largest(self) -> int:
        """Return the largest reservation of the last second."""
        return int(self._largest)
