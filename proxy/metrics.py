"""The proxy's counters and histograms, for Prometheus.

Every name has the prefix `cope_`, and every label has a fixed set of values: no label contains a client's text.

Several worker processes add up their values in the folder `PROMETHEUS_MULTIPROC_DIR`. `prometheus_client` reads this
variable when it is imported, so it must be set before the workers start; see `shared_by_workers`.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from tempfile import TemporaryDirectory
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from proxy.pricing.money import NANO_PER_USD
from proxy.records import CallRecord, RequestRecord, Stage

REGISTRY = CollectorRegistry()

REQUESTS = Counter(
    "cope_requests",
    "Finished requests. `tier` is the tier of the model that answered.",
    ["status", "mode", "task", "stage", "tier"],
    registry=REGISTRY,
)
TOKENS = Counter(
    "cope_tokens",
    "Tokens of model calls. Cached tokens are also counted as prompt tokens.",
    ["tier", "stage", "role", "type"],
    registry=REGISTRY,
)
COST = Counter("cope_cost_usd", "Cost of model calls in USD", ["tier", "stage", "role"], registry=REGISTRY)
BASELINE = Counter(
    "cope_baseline_usd", "Cost in USD if the large model had answered directly", ["stage"], registry=REGISTRY
)
LATENCY = Histogram(
    "cope_request_seconds",
    "Time from the arrival of a request to the end of its answer",
    ["mode", "stage"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640),
    registry=REGISTRY,
)
FIRST_TOKEN = Histogram(
    "cope_first_token_seconds",
    "Time from the arrival of a request to the first token of its answer",
    ["mode", "stage"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80),
    registry=REGISTRY,
)
VOTE_FAILURES = Counter(
    "cope_vote_failures",
    "Votes and detections that failed on a text, and counted as none",
    ["task"],
    registry=REGISTRY,
)

M = TypeVar("M", Counter, Histogram)
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def count_request(request: RequestRecord, calls: Iterable[CallRecord]) -> None:
    """Count a finished request and its model calls."""
    stage = _label(request.stage)
    _of(REQUESTS, request.status, request.mode, _label(request.task), stage, _tier(request.stage)).inc()
    _of(LATENCY, request.mode, stage).observe(request.latency_ms / 1000)
    if request.first_token_ms is not None:
        _of(FIRST_TOKEN, request.mode, stage).observe(request.first_token_ms / 1000)
    if request.baseline is not None:
        _of(BASELINE, stage).inc(request.baseline / NANO_PER_USD)
    # Add up first: a request makes many like calls, and each labelled counter costs microseconds.
    by_labels: defaultdict[tuple[str, str, str], list[CallRecord]] = defaultdict(list)
    for call in calls:
        by_labels[call.tier, str(call.stage), call.role].append(call)
    for labels, same in by_labels.items():
        _of(COST, *labels).inc(sum(c.cost for c in same) / NANO_PER_USD)
        _of(TOKENS, *labels, "prompt").inc(sum(c.usage.prompt_tokens for c in same))
        _of(TOKENS, *labels, "cached").inc(sum(c.usage.cached_tokens for c in same))
        _of(TOKENS, *labels, "completion").inc(sum(c.usage.completion_tokens for c in same))


@cache
def _of(metric: M, *labels: object) -> M:
    """Return a metric with labels. They have fixed sets of values, so there are few."""
    return metric.labels(*labels)


def _label(value: object) -> str:
    return "none" if value is None else str(value)


def _tier(stage: Stage | None) -> str:
    if stage is None:
        return "none"
    return "large" if stage == 3 else "small"


def exposition(gauges: Iterable[Metric] = ()) -> bytes:
    """Return the text of all metrics, of all workers, followed by the given gauges of this process."""
    return generate_latest(_Everything(gauges))


class _Everything(Collector):
    def __init__(self, gauges: Iterable[Metric]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; see `prometheus_client.registry.Collector`."""
        if _FOLDER in os.environ:
            yield from MultiProcessCollector(None).collect()  # type: ignore[no-untyped-call]
        else:
            yield from REGISTRY.collect()
        yield from self._gauges


@contextmanager
def shared_by_workers() -> Iterator[None]:
    """Let the processes that are started inside add up their metrics.

    An existing `PROMETHEUS_MULTIPROC_DIR` is used as it is. Otherwise a temporary folder is made, and removed on exit.
    """
    if _FOLDER in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="cope-metrics-") as folder:
        os.environ[_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[_FOLDER]
