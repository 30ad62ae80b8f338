"""Confidence estimators, one for each task kind. `proxy.cascade.kinds` says which kind uses which."""

from proxy.cascade.confidence.canonical import SCHEMAS
from proxy.cascade.confidence.mathematics import ALGEBRA


def shutdown() -> None:
    """Stop the processes that compare answers and check schemas, if they run."""
    for worker in (ALGEBRA, SCHEMAS):
        worker.shutdown()


__all__ = ["shutdown"]
