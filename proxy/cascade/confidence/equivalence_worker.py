"""The program that compares answers by computer algebra: pairs of JSON lines in, verdicts out.

It runs as a process of its own (see `equivalence`), because algebra can take forever and because
math_verify's time limits are signals, which only reach a main thread.
"""

import json
import logging
import resource
import signal
import sys
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify

_MEMORY = 2 * 2**30
_SECONDS = 1


@lru_cache(maxsize=1024)
def _parsed(answer: str) -> list[Any]:
    found: list[Any] = parse(
        f"${answer}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=_SECONDS
    )
    return found


def equal(one: str, other: str) -> bool:
    """Say whether two LaTeX answers mean the same, in whichever order they are put."""
    a, b = _parsed(one), _parsed(other)
    return bool(a and b) and (
        verify(a, b, timeout_seconds=_SECONDS) or verify(b, a, timeout_seconds=_SECONDS)
    )


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the server to handle
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.disable(logging.CRITICAL)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        one, other = json.loads(line)
        sys.stdout.write(json.dumps(equal(one, other)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
