"""Votes of single answers, for the tests of estimators."""

import asyncio

from proxy.cascade.kinds import KINDS
from proxy.cascade.types import Sample, Task, TaskKind
from proxy.pricing.prices import Usage


def vote(kind, content, *, body=None, text="", groups=(), finish="stop", **message):
    """Return the vote of an answer, by the estimator of its kind."""
    said = Sample(
        index=0,
        message={"role": "assistant", "content": content, **message},
        finish_reason=finish,
        logprob=-0.1,
        usage=Usage(),
    )
    return asyncio.run(
        KINDS[TaskKind(kind)].estimator.vote(Task(TaskKind(kind), body or {}, text), said, groups)
    )
