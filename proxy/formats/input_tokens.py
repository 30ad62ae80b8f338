"""POST /v1/responses/input_tokens, which is free. Source: OpenAI API reference, "Get input token counts"."""

from typing import Any

from proxy.cascade.types import Json
from proxy.formats.base import CallLimits, NotServedError, ReadAnswer
from proxy.formats.responses import Responses


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

    def is_answer(self, decoded: Json) -> bool:
        """Look for the count."""
        return "input_tokens" in decoded

    def read_complete(self, decoded: Json) -> ReadAnswer:
        """Report nothing. The count in the answer is not the usage of the call."""
        return ReadAnswer(finish_reason="stop")
