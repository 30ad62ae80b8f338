"""What a proxy tells about itself: traces, metrics and logs."""

from typing import Literal

from proxy.config.section import Section
from proxy.tracing.attributes import Semconv


class Tracing(Section, frozen=True, kw_only=True):
    """Spans of requests for OpenTelemetry, sent by OTLP over HTTP.

    The standard `OTEL_` variables set the collector, the sampling and the name of the service. See docs/tracing.md.
    """

    enabled: bool = False
    """Trace requests. It needs `pip install 'cope-proxy[otel]'`."""
    semconv: Semconv = "2026-11"
    """Version of the GenAI conventions, which names the attributes: the state of November 2026, or release 1.37."""


class Metrics(Section, frozen=True, kw_only=True):
    """Access to `GET /metrics`. The admin key reads it, and a key of its own that can do nothing else."""

    key_env: str = "COPE_METRICS_KEY"
    """Environment variable that holds the metrics key, which Prometheus sends as a bearer token."""
    public: bool = False
    """Show the metrics to everybody who can reach the proxy."""


class Logs(Section, frozen=True, kw_only=True):
    """The log on standard error. No line has a prompt, an answer, a key or another text of a client."""

    format: Literal["console", "json"] = "console"
    """`console` for people, or `json` with one object a line."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level of the lines."""
    requests: bool = False
    """Log one line a request. `/health` and `/metrics` have one only at the level `debug`."""
