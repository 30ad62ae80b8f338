"""Confidence estimators, one for each task kind. `proxy.cascade.kinds` says which kind uses which."""

from proxy.cascade.confidence.canonical import SCHEMAS
from proxy.cascade.confidence.mathematics import ALGEBRA
from proxy.cascade.confidence.program import PROGRAMS


def shutdown() -> None:
    """Stop the processes that compare answers, check schemas and label programs, if they run."""
    for worker in (ALGEBRA, SCHEMAS, PROGRAMS):
        worker.shutdown()


__all__ = ["shutdown"]
