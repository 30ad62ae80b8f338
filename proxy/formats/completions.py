"""POST /v1/completions, passed on. Source: OpenAI API reference, "Completions (legacy)"."""

from collections.abc import Mapping
from typing import Any

from proxy.cascade.types import Json
from proxy.errors import bad_request
from proxy.formats import checks
from proxy.formats.base import CallLimits
from proxy.formats.chat import priority, wants_usage, with_usage
from proxy.formats.sse import Accumulator
from proxy.pricing.prices import Usage
from proxy.pricing.tokens import count_bound, usage_from

DEFAULT_OUTPUT = 16
"""What the API generates when nobody says how much."""


class Completions:
    """See `proxy.formats.base.Format`."""

    path = "/completions"
    farewell: bytes | None = b"[DONE]"
    events_are_named = False

    def check(self, body: Json) -> None:
        """Check the prompt and the fields that bound the answer."""
        checked_texts(body, "prompt")
        checks.positive(body, ("n", "best_of"))
        checks.typed(body, stream=bool, stream_options=dict, suffix=str)
        asked = body.get("max_tokens")
        if asked != 0:  # with `echo` and `logprobs` it scores the prompt
            checks.positive(body, ("max_tokens",))

    def prompt(self, body: Json) -> object:
        """Return the prompt."""
        return body.get("prompt")

    def streams(self, body: Json) -> bool:
        """Read `stream`."""
        return bool(body.get("stream"))

    def unbounded(self, body: Json) -> str | None:
        """Fees that are not paid by the token."""
        return priority(body)

    def outgoing(self, body: Json) -> dict[str, Any]:
        """Ask for the usage of a stream."""
        return with_usage(body)

    def bound(self, body: Json, default_output: int) -> CallLimits:
        """Bound each of the choices of each of the prompts; `best_of` ones are all billed."""
        texts = checked_texts(body, "prompt")
        asked = body["max_tokens"] if body.get("max_tokens") is not None else DEFAULT_OUTPUT
        choices = max(body.get("best_of") or 1, body.get("n") or 1) * len(texts)
        # Whole or not at all: sixteen tokens are no answer to begin with.
        return CallLimits(asked * choices, asked * choices, "max_tokens", choices)

    def count(self, model: str, body: Json) -> int:
        """Bound the prompts."""
        return count_bound(model, [*checked_texts(body, "prompt"), body.get("suffix") or ""])

    def whole(self, decoded: Json) -> tuple[Usage | None, str | None, str]:
        """Read a `text_completion`."""
        usage = usage_from(decoded["usage"]) if decoded.get("usage") else None
        choices = decoded["choices"]
        return usage, choices[0].get("finish_reason"), "".join(c.get("text") or "" for c in choices)

    def tally(self) -> Accumulator:
        """Begin to add up chunks."""
        return Accumulator()

    def held_back(self, chunk: Json) -> bool:
        """Hold the usage chunk back."""
        return not chunk.get("choices") and bool(chunk.get("usage"))

    def shown(self, body: Json) -> bool:
        """Show it to who asked for it."""
        return wants_usage(body)

    def last(self, answer: Json, plan_tokens: int, facts: Mapping[str, object]) -> dict[str, Any]:
        """Add the facts."""
        return {**answer, "cope": facts}


def checked_texts(body: Json, name: str) -> list[str | int]:
    """Return the texts of a field that is a text, token ids, or an array of either; ids as their number.

    Raises:
        ApiError: 400 that names the field.
    """
    value = body.get(name)
    items: list[Any] = value if isinstance(value, list) else [value]
    if items and all(map(_is_token, items)):
        return [len(items)]
    if items and all(isinstance(t, str) for t in items):
        return items
    if items and all(isinstance(t, list) and t and all(map(_is_token, t)) for t in items):
        return [len(t) for t in items]
    raise bad_request(
        f"'{name}' has to be a string, an array of strings, or tokens.", param=name, code="invalid_type"
    )


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
