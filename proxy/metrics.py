"""The proxy's own counters, histograms and gauges, for Prometheus. `http/ledger_metrics.py` has those of the ledger.

Every name has the prefix `cope_`, and every label has a fixed set of values: no label contains a client's text.

Several worker processes add up their values in the folder `PROMETHEUS_MULTIPROC_DIR`. `prometheus_client` reads this
variable when it is imported, so it must be set before the workers start; see `shared_by_workers`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from proxy.records import RequestRecord

disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()

DURATION = Histogram(
    "cope_request_duration_seconds",
    "Time from the arrival of a request to the end of its answer",
    ["mode", "stage"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640),
    registry=REGISTRY,
)
FIRST_TOKEN = Histogram(
    "cope_time_to_first_token_seconds",
    "Time from the arrival of a request to the first token of its answer",
    ["mode", "stage"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80),
    registry=REGISTRY,
)
OVERHEAD = Histogram(
    "cope_overhead_seconds",
    "The part of a request's time in which no call of a model was under way",
    ["mode", "stage"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
RESERVATION_WAIT = Histogram(
    "cope_reservation_wait_seconds",
    "Time until the money for a paid call was reserved, or refused",
    ["outcome"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
VOTE_FAILURES = Counter(
    "cope_vote_failures",
    "Votes and detections that failed on a text, and counted as none",
    ["kind"],
    registry=REGISTRY,
)
LOG_LINES_DROPPED = Counter(
    "cope_log_lines_dropped",
    "Lines of the log that were dropped because their reader was too slow",
    registry=REGISTRY,
)
LEDGER_WRITTEN = Counter(
    "cope_ledger_written", "Records that were written into the database", registry=REGISTRY
)
LEDGER_DROPPED = Counter(
    "cope_ledger_dropped",
    "Records dropped because the spool was full (on_outage = continue)",
    registry=REGISTRY,
)
LEDGER_BACKLOG = Gauge(
    "cope_ledger_backlog_bytes",
    "Spooled bytes that are not in the database yet",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
SMALL_AVAILABLE = Gauge(
    "cope_small_available",
    "1 if a server of the small tier is healthy",
    multiprocess_mode="livemin",
    registry=REGISTRY,
)
UPSTREAM_AVAILABLE = Gauge(
    "cope_upstream_available",
    "0 while the breaker of an upstream is open, in any worker",
    ["upstream"],
    multiprocess_mode="livemin",
    registry=REGISTRY,
)

M = TypeVar("M", Counter, Histogram)
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def observe_request(request: RequestRecord, overhead_s: float) -> None:
    """Observe the times of a finished request."""
    labels = request.mode, "none" if request.stage is None else str(request.stage)
    _of(DURATION, *labels).observe(request.latency_ms / 1000)
    _of(OVERHEAD, *labels).observe(overhead_s)
    if request.first_token_ms is not None:
        _of(FIRST_TOKEN, *labels).observe(request.first_token_ms / 1000)


@cache
def _of(metric: M, *labels: str) -> M:
    """Return a metric with labels. They have fixed sets of values, so there are few."""
    return metric.labels(*labels)


def collect() -> Iterator[Metric]:
    """Yield the metrics of this module: those of all workers, if there are several.

    The counts of a worker that has died stay, its gauges go.
    """
    if (folder := os.environ.get(_FOLDER)) is None:
        yield from REGISTRY.collect()
        return
    _forget_gauges_of_the_dead(Path(folder))
    texts = {metric.name: metric.documentation for metric in REGISTRY.collect()}
    for metric in MultiProcessCollector(None).collect():  # type: ignore[no-untyped-call]
        metric.documentation = texts.get(metric.name, metric.documentation)
        yield metric


def _forget_gauges_of_the_dead(folder: Path) -> None:
    for pid in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*_*.db")}:
        if not _lives(int(pid)):
            mark_process_dead(int(pid))  # type: ignore[no-untyped-call]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
