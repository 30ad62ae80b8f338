"""The program that answers one kind of question, given by name: pairs of JSON lines in, answers out.

It runs in its own process (see `worker`), because algebra, schemas and syntax trees can take for ever, or end their process.
The time limits of math_verify are signals, which only reach a main thread.
"""

import json
import logging
import resource
import signal
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

_MEMORY = 2 * 2**30
_SECONDS = 1
_WARM_UP_SECONDS = 10
_DRAFTS = {
    "http://json-schema.org/draft-04/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-07/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
}

Question = Callable[[str, str], Any]


def equal() -> Question:
    """Return a function that compares two LaTeX answers. Their order does not matter."""
    from math_verify import LatexExtractionConfig, parse, verify  # noqa: PLC0415  (large, and only for this)

    def read(answer: str, seconds: int) -> list[Any]:
        found: list[Any] = parse(
            f"${answer}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=seconds
        )
        return found

    @lru_cache(maxsize=1024)
    def parsed(answer: str) -> list[Any]:
        return read(answer, _SECONDS)

    def check(one: str, other: str) -> bool:
        a, b = parsed(one), parsed(other)
        return bool(a and b) and (
            verify(a, b, timeout_seconds=_SECONDS) or verify(b, a, timeout_seconds=_SECONDS)
        )

    # The first comparison loads more of SymPy, which takes seconds on a busy machine. No question should pay for that.
    verify(read("x+1", _WARM_UP_SECONDS), read("1+x", _WARM_UP_SECONDS), timeout_seconds=_WARM_UP_SECONDS)
    return check


def conforms() -> Question:
    """Return a function that checks a value against a schema, both as JSON.

    An invalid schema is satisfied by every value. A schema that cannot be checked is satisfied by none.
    """
    import jsonschema_rs  # noqa: PLC0415

    @lru_cache(maxsize=32)
    def validator(written: str) -> Any:
        schema = json.loads(written)
        if str(schema.get("$schema")).rstrip("#") not in _DRAFTS:
            schema.pop("$schema", None)
        if not jsonschema_rs.meta.is_valid(schema):
            return None
        return jsonschema_rs.validator_for(schema, validate_formats=False, retriever=_refused)

    def check(schema: str, value: str) -> bool:
        try:
            compiled = validator(schema)
            return compiled is None or bool(compiled.is_valid(json.loads(value)))
        except (ValueError, RecursionError, jsonschema_rs.ReferencingError):
            return False

    return check


def label() -> Question:
    """Return a function that labels the program in an answer. See `program.program_label`."""
    sys.path.append(str(Path(__file__).parents[3]))
    from proxy.cascade.confidence.program import program_label  # noqa: PLC0415

    return lambda answer, _: program_label(answer)


def _refused(uri: str) -> Any:
    """Fetch nothing: a client's "$ref" never makes this process open a URL."""
    raise ValueError(f"{uri} is not part of the schema")


def main() -> None:
    """Serve until standard input ends."""
    check = {"equal": equal, "conforms": conforms, "label": label}[sys.argv[1]]()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the server to handle
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.disable(logging.CRITICAL)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        one, other = json.loads(line)
        try:
            answer = check(one, other)
        except Exception:  # noqa: BLE001  (whatever a text does to the tools is no answer)
            answer = None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
