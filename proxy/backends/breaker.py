"""A circuit breaker: while an upstream keeps failing, it gets only one trial request from time to time.

Source of the pattern: M. Nygard, "Release It!", "Circuit Breaker".
"""

import time


class Breaker:
    """Count failures in a row. From the limit on, admit only one trial request every `cooldown_s`."""

    def __init__(self, failures: int, cooldown_s: float) -> None:
        self._limit = failures
        self._cooldown_s = cooldown_s
        self._failed = 0
        self._next_trial = 0.0

    @property
    def is_open(self) -> bool:
        """Whether requests are rejected at present."""
        return self._failed >= self._limit

    def wait_s(self) -> float | None:
        """Return None if a request may go out now, else the seconds until one may. None consumes the trial."""
        if not self.is_open:
            return None
        now = time.monotonic()
        if now < self._next_trial:
            return self._next_trial - now
        self._next_trial = now + self._cooldown_s
        return None

    def succeeded(self) -> None:
        """Record that the upstream answered, even with an error about the request."""
        self._failed = 0

    def failed(self) -> None:
        """Record that the upstream is unavailable, overloaded or broken."""
        self._failed += 1
        if self.is_open:
            self._next_trial = time.monotonic() + self._cooldown_s
