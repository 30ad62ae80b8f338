"""POST /v1/completions, for the large model only. Source: OpenAI API reference, "Completions (legacy)"."""

from typing import Any

from proxy.cascade.types import Json
from proxy.errors import bad_request
from proxy.formats import checks, known_costs
from proxy.formats.base import CallLimits
from proxy.formats.chunked import ChunkedFormat
from proxy.pricing.bounds import texts_bound
from proxy.pricing.prices import Price

DEFAULT_OUTPUT = 16
"""The output of the API if the request has no `max_tokens`."""


class Completions(ChunkedFormat):
    """See `proxy.formats.base.Format`."""

    path = "/completions"

    def check(self, body: Json) -> None:
        """Check the prompt and the fields that limit the answer."""
        checked_texts(body, "prompt")
        checks.positive(body, ("n",), checks.MOST_CHOICES)
        checks.positive(body, ("best_of",), checks.MOST_CHOICES, least=0)
        checks.positive(body, ("max_tokens",), least=0)  # 0 with `echo` and `logprobs` scores the prompt
        checks.typed(body, stream=bool, stream_options=dict, suffix=str)

    def prompt(self, body: Json) -> object:
        """Return the prompt."""
        return body.get("prompt")

    def unbounded_cost(self, body: Json, price: Price) -> str | None:
        """Name the fields that are not in the table."""
        return known_costs.unknown_in_completions(body, price)

    def limits(self, body: Json, default_output: int) -> CallLimits:
        """Limit each choice of each prompt. All of `best_of` are billed."""
        texts = checked_texts(body, "prompt")
        asked = body["max_tokens"] if body.get("max_tokens") is not None else DEFAULT_OUTPUT
        choices = max(body.get("best_of") or 1, body.get("n") or 1) * len(texts)
        # Never cut the output to fit a budget: sixteen tokens are short already.
        return CallLimits(asked=asked * choices, least=asked * choices, field="max_tokens", choices=choices)

    def count(self, model: str, body: Json, *, in_bytes: bool = False) -> int:
        """Count everything. Token ids count as one each."""
        rest = {name: value for name, value in body.items() if name != "prompt"}
        return texts_bound(model, checked_texts(body, "prompt"), rest, in_bytes=in_bytes)


def checked_texts(body: Json, name: str) -> list[str | int]:
    """Return the texts of a field that is a text, token ids, or an array of either. Ids become their number.

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
