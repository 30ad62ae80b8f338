"""The part of tracing that the other rooms use. It needs no package of the extra `otel`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.records import CallRecord, PlanRecord, RequestRecord

Headers = Iterable[tuple[bytes, bytes]]
"""Header fields with names in lower case."""

NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The texts of a request. They are traced only if the ledger stores them too."""

    prompt: object
    """The part of the request's body that holds the prompt."""
    answer: str | None
    plans: Sequence[PlanRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRequest:
    """A finished request as a trace needs it."""

    path: str
    """The endpoint below /v1, such as "/chat/completions"."""
    record: RequestRecord
    calls: Sequence[CallRecord]
    content: Content | None = None


class Trace(Protocol):
    """The trace of one request under way."""

    def begin_call(self, call_id: str) -> Mapping[str, str]:
        """Note that a call goes out now, and return the headers that tell its server about the trace."""
        ...

    def end(self, ended: EndedRequest) -> None:
        """Emit the spans of the request and of its calls."""
        ...


class Tracer(Protocol):
    """Begins the traces of requests."""

    def begin(self, headers: Headers = ()) -> Trace:
        """Return the trace of a request that arrives now, as a child of its client's span if it names one."""
        ...


def begin_call(trace: Trace | None, call_id: str) -> Mapping[str, str]:
    """Return the headers of a call. There are none if the request is not traced."""
    return NO_HEADERS if trace is None else trace.begin_call(call_id)
