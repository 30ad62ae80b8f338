"""Everything that happens after a request has finished.

A hook gets the frozen record of the request. To add one, write it here and add it to `default_hooks`.
"""

import logging
from collections.abc import Callable, Iterable

from proxy import metrics
from proxy.config.schema import Settings
from proxy.ledger.writer import Writer
from proxy.service.audit_queue import AuditQueue
from proxy.service.finished import Finished, plan_records, record_with_content
from proxy.service.guideline_records import GuidelineRecords, learn
from proxy.service.request_facts import note_facts
from proxy.service.traces import end_trace

log = logging.getLogger(__name__)

Hook = Callable[[Finished], None]
"""Called once for each finished request. It must not block: it runs before the request's task ends."""


def default_hooks(
    settings: Settings, writer: Writer, guidelines: GuidelineRecords, audits: AuditQueue
) -> tuple[Hook, ...]:
    """Return the proxy's own hooks. The ledger comes first, after the facts for the log, which only fill a dictionary."""

    def record_in_ledger(finished: Finished) -> None:
        # Calls of the large model were recorded when they were settled.
        calls = [call for call in finished.calls if call.tier == "small"]
        if settings.ledger.store_content:
            writer.submit_end(record_with_content(finished), *calls, *plan_records(finished))
        else:
            writer.submit_end(finished.record, *calls)

    def learn_guideline_value(finished: Finished) -> None:
        learn(guidelines, settings.cascade, finished)

    def queue_audit(finished: Finished) -> None:
        if finished.audit is not None:
            audits.add(finished.audit)

    def observe_times(finished: Finished) -> None:
        metrics.observe_request(finished.record, finished.overhead_s)

    def emit_spans(finished: Finished) -> None:
        end_trace(finished, with_content=settings.ledger.store_content)

    hooks = note_facts, record_in_ledger, learn_guideline_value, queue_audit, observe_times
    return (*hooks, emit_spans) if settings.tracing.enabled else hooks


def run_hooks(hooks: Iterable[Hook], finished: Finished) -> None:
    """Call every hook. If one raises, log it and go on with the next."""
    for hook in hooks:
        try:
            hook(finished)
        except Exception:
            log.exception("%s: the hook %s failed", finished.request.id, getattr(hook, "__name__", hook))
