"""Structured output: do the samples agree on one valid JSON document?"""

from collections.abc import Mapping, Sequence

from proxy.cascade.confidence.canonical import conforms, dumps, parse, short
from proxy.cascade.confidence.vote_share import VoteShare
from proxy.cascade.confidence.votes import cut_off
from proxy.cascade.types import Json, Sample, Task


class StructuredEstimator(VoteShare):
    """Confidence = vote share of the canonical JSON. An invalid document joins no group and is never the winner."""

    default_thresholds = (0.75, 0.5)
    lone_may_win = False

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Return the canonical JSON of a sample, or `None` if it breaks the requested format."""
        if cut_off(sample):
            return None
        try:
            value = parse(sample.text)
            label = short(dumps(value))
        except (ValueError, RecursionError):
            return None
        wanted = task.body.get("response_format")
        return label if await _as_asked(value, wanted if isinstance(wanted, Mapping) else {}) else None


async def _as_asked(value: object, response_format: Json) -> bool:
    if response_format.get("type") == "json_object":
        return isinstance(value, dict)
    described = response_format.get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    return schema is None or await conforms(value, schema)
