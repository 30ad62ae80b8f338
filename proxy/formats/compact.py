"""POST /v1/responses/compact, for the large model only. Source: OpenAI API reference, "Compact a response"."""

from dataclasses import replace
from typing import Any

from proxy.cascade.types import Json
from proxy.formats.base import CallLimits, NotServedError, ReadAnswer
from proxy.formats.responses import Responses

LONGEST_OUTPUT = 128_000
"""The longest output of OpenAI's models in tokens. No field of this endpoint limits it further."""


class Compact(Responses):
    """See `proxy.formats.base.Format`. The answer is a list of items that go into the next request."""

    path = "/responses/compact"
    model_is_optional = False

    def streams(self, body: Json) -> bool:
        """Return False: a compaction is never streamed."""
        return False

    def as_chat(self, body: Json) -> dict[str, Any]:
        """Raise `NotServedError`: only the model that continues the conversation can read a compaction."""
        raise NotServedError("a compaction goes to the large model")

    def limits(self, body: Json, default_output: int) -> CallLimits:
        """Reserve the longest output."""
        return CallLimits(asked=LONGEST_OUTPUT, least=LONGEST_OUTPUT)

    def read_complete(self, decoded: Json) -> ReadAnswer:
        """Read a `response.compaction`, which has no status."""
        return replace(super().read_complete(decoded), finish_reason="stop")
