"""POST /v1/responses/input_tokens, which is free. Source: OpenAI API reference, "Get input token counts"."""

from typing import Any

from proxy.cascade.types import Json
from proxy.formats.base import CallLimits, NotServedError
from proxy.formats.responses import Responses
from proxy.pricing.prices import Usage


class InputTokens(Responses):
    """See `proxy.formats.base.Format`. The large model's tokenizer counts, and nothing is generated."""

    path = "/responses/input_tokens"
    is_free = True

    def streams(self, body: Json) -> bool:
        """Return False: a count is never streamed."""
        return False

    def as_chat(self, body: Json) -> dict[str, Any]:
        """Raise `NotServedError`: the count is that of the large model."""
        raise NotServedError("the large model counts its tokens")

    def limits(self, body: Json, default_output: int) -> CallLimits:
        """Return limits without output."""
        return CallLimits(asked=0, least=0)

    def read_complete(self, decoded: Json) -> tuple[Usage | None, str | None, str]:
        """Read the count. It is not the usage of the call, which uses nothing."""
        if not isinstance(decoded["input_tokens"], int):
            raise TypeError("input_tokens is not a number")
        return Usage(), "stop", ""
