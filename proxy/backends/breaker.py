"""A circuit breaker: an upstream that keeps failing is left alone for a while.

Source of the pattern: M. Nygard, "Release It!", "Circuit Breaker".
"""

import time


class Breaker:
    """Counts failures in a row; past the limit it lets nothing through but one trial every `cooldown_s`."""

    def __init__(self, failures: int, cooldown_s: float) -> None:
        self._limit = failures
        self._cooldown_s = cooldown_s
        self._failed = 0
        self._next_trial = 0.0

    @property
    def is_open(self) -> bool:
        """Whether requests are turned away at present."""
        return self._failed >= self._limit

    def wait_s(self) -> float | None:
        """Return `None` when a request may go out now, else the seconds until one may. Takes the trial."""
        if not self.is_open:
            return None
        now = time.monotonic()
        if now < self._next_trial:
            return self._next_trial - now
        self._next_trial = now + self._cooldown_s
        return None

    def succeeded(self) -> None:
        """Note that the upstream answered, if only to refuse a bad request."""
        self._failed = 0

    def failed(self) -> None:
        """Note that the upstream is away, overloaded or broken."""
        self._failed += 1
        if self.is_open:
            self._next_trial = time.monotonic() + self._cooldown_s
