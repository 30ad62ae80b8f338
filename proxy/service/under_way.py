"""The requests that this process is answering now."""

from dataclasses import dataclass
from heapq import nsmallest

from proxy.service.request import clean
from proxy.service.request_log import RequestLog


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """A request that has no final answer yet, without its content."""

    id: str
    key_id: str | None
    requested_model: str
    kind: str
    """Its task kind, or its mode while no kind is known."""
    stage: int
    """The stage that it is in."""
    calls: int
    """The model calls that have ended."""
    cost: int
    """The cost of these calls in nano-USD."""
    ms: int
    """Milliseconds since the request arrived."""
    answering: bool
    """Whether the client gets its answer already."""


class RequestsUnderWay:
    """The requests that this process is answering, by their ids."""

    def __init__(self) -> None:
        self._logs: dict[str, RequestLog] = {}

    def begin(self, log: RequestLog) -> None:
        """Note that a request is being answered."""
        self._logs[log.request.id] = log

    def end(self, log: RequestLog) -> None:
        """Note that a request has ended, however it did."""
        del self._logs[log.request.id]

    def oldest(self, limit: int, *, key_id: str | None) -> tuple[list[UnderWay], int]:
        """Return the oldest requests, and how many there are in all. `key_id`: only those of this key."""
        seen = [log for log in self._logs.values() if key_id in (None, log.request.key_id)]
        return [_state(log) for log in nsmallest(limit, seen, key=lambda log: log.clock)], len(seen)


def _state(log: RequestLog) -> UnderWay:
    local = log.route.mode in ("cascade", "small")
    return UnderWay(
        id=log.request.id,
        key_id=log.request.key_id,
        requested_model=clean(str(log.request.body.get("model"))),
        kind=log.mode if log.task is None else log.task.value,
        stage=min(3, len(log.cascade_log.stages) + 1) if local else 3,
        calls=len(log.calls),
        cost=log.cost,
        ms=log.elapsed_ms(),
        answering=log.first_token_ms is not None,
    )
