"""Structured output: do the samples agree on one valid JSON document?"""

from collections.abc import Mapping, Sequence

from proxy.cascade.confidence.canonical import conforms, dumps, parse, short
from proxy.cascade.confidence.votes import cut_off, share_standing, votes_needed, votes_wanted
from proxy.cascade.types import Ballot, Json, Sample, Standing, Task


class StructuredEstimator:
    """Confidence = vote share of the canonical JSON. An invalid document counts against and never wins."""

    usual = (0.75, 0.5)

    async def vote(self, task: Task, sample: Sample, groups: Sequence[str]) -> str | None:
        """Label a sample with its canonical JSON; `None` when it breaks the requested format."""
        if cut_off(sample):
            return None
        try:
            value = parse(sample.text)
            label = short(dumps(value))
        except (ValueError, RecursionError):
            return None
        wanted = task.body.get("response_format")
        return label if await _as_asked(value, wanted if isinstance(wanted, Mapping) else {}) else None

    def standing(self, ballot: Ballot, total: int) -> Standing:
        """See `Estimator.standing`. No valid sample: no winner."""
        return share_standing(ballot, total, lone_may_win=False)

    def needed(self, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.needed`."""
        return votes_needed(threshold, total, inclusive=inclusive)

    def wanted(self, ballot: Ballot, total: int, threshold: float, *, inclusive: bool) -> int:
        """See `Estimator.wanted`."""
        return votes_wanted(ballot, total, self.needed(total, threshold, inclusive=inclusive))


async def _as_asked(value: object, response_format: Json) -> bool:
    if response_format.get("type") == "json_object":
        return isinstance(value, dict)
    described = response_format.get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    return schema is None or await conforms(value, schema)
