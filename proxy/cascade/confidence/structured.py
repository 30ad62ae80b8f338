"""Structured output: do the samples agree on one valid JSON document?"""

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.cascade.confidence.canonical import conforms, dumps, short
from proxy.cascade.confidence.documents import document, says_nothing
from proxy.cascade.confidence.vote_share import VoteShare
from proxy.cascade.confidence.votes import cut_off
from proxy.cascade.types import Json, Sample, Task


class StructuredEstimator(VoteShare):
    """Confidence = vote share of the canonical JSON. An invalid document joins no group and is never the winner.

    A document that says nothing is no vote: all samples of a small model may agree on `{}` because they know no answer.
    """

    default_thresholds = (0.75, 0.5)
    lone_may_win = False

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return the canonical JSON of a sample, or `None` if it breaks the requested format or says nothing."""
        if cut_off(sample):
            return None
        given = task.body.get("response_format")
        wanted = given if isinstance(given, Mapping) else {}
        try:
            value = document(sample.text, bare=wanted.get("type") in ("json_object", "json_schema"))
            label = short(dumps(value))
        except (ValueError, RecursionError):
            return None
        schema = _schema(wanted)
        if says_nothing(value, schema, task.text) or not await _as_asked(value, wanted, schema):
            return None
        return label


def _schema(response_format: Json) -> Any:
    described = response_format.get("json_schema")
    return described.get("schema") if isinstance(described, Mapping) else None


async def _as_asked(value: object, response_format: Json, schema: Any) -> bool:
    if response_format.get("type") == "json_object":
        return isinstance(value, dict)
    return schema is None or await conforms(value, schema)
