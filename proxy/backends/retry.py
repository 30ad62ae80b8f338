"""When and how long after a failure a request is sent to an upstream again.

The rules are those of OpenAI's SDK: `x-should-retry` and Retry-After come first, then the status, then full jitter.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.backends.retry_hints import asked_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, after which statuses and how soon to retry. Times are in seconds."""

    max_retries: int
    statuses: frozenset[int] = frozenset({408, 409, 425, 429, 500, 502, 503, 521, 523, 529})
    """Nothing was generated after these. 504 is missing: the model behind a gateway may have gone on."""
    first_backoff_s: float = 0.5
    longest_backoff_s: float = 8.0
    longest_retry_after_s: float = 5.0
    """The client, or a fallback, makes better use of a longer pause that the upstream asks for."""

    def retries(self, status: int, headers: Mapping[str, str]) -> bool:
        """Return True if a response permits a retry."""
        wish = headers.get("x-should-retry")
        return wish == "true" if wish in ("true", "false") else status in self.statuses

    def pause_s(self, attempt: int, headers: Mapping[str, str]) -> float | None:
        """Return the pause after the given attempt (0 is the first).

        Return None if it was the last one, or if the upstream asks for a pause that is too long.
        """
        if attempt >= self.max_retries:
            return None
        wish = asked_s(headers)
        if wish is not None:
            return wish if wish <= self.longest_retry_after_s else None
        return random.uniform(0, min(self.longest_backoff_s, self.first_backoff_s * 2**attempt))  # noqa: S311
