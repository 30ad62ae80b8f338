"""Stages 1 and 2: the small model answers if the cascade is sure enough."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from proxy import metrics
from proxy.cascade.engine import Earns, decide
from proxy.cascade.fields import small_body, unserved
from proxy.cascade.guard import Report, described, safe_estimator
from proxy.cascade.plan_cache import goes_on, page_of
from proxy.cascade.protocols import Estimator, SmallRequest
from proxy.cascade.types import (
    Accepted,
    KeptPlans,
    MissingLogprobsError,
    NotTried,
    Task,
    TaskKind,
    Unsure,
)
from proxy.config.policy import policy, runner_for
from proxy.errors import (
    SmallRefusedError,
    SmallUnavailableError,
    bad_request,
    small_unavailable,
)
from proxy.formats.base import NotServedError, as_conversation
from proxy.service.access import may_plan
from proxy.service.audit_queue import AuditJob, drawn, stage_answers
from proxy.service.conversation_key import conversation_of
from proxy.service.exchange import Exchange
from proxy.service.guideline_records import may_skip_guidelines
from proxy.service.kinds import task_of
from proxy.service.prompt_cache import cache_use, learn_refusal
from proxy.service.small_sampler import RecordedSmall
from proxy.spending.planner import PaidPlanner

log = logging.getLogger(__name__)


def local_only(exchange: Exchange) -> bool:
    """Return True if the large model may not answer this request."""
    return exchange.route.mode == "small" or exchange.request.controls.max_stage < 3


async def decide_locally(exchange: Exchange) -> Accepted | Unsure | NotTried:
    """Run stages 1 and 2, or return the reason not to try the small model.

    Raises:
        ApiError: the small model cannot serve the request, and the large one may not.
    """
    request_log = exchange.request_log
    if exchange.route.mode == "large":
        if local_only(exchange):
            raise bad_request(
                "The request asks for the large model, and X-COPE-Max-Stage forbids it.",
                code="small_model_cannot_serve",
            )
        return NotTried("the request asks for the large model")
    try:
        task = task_of(exchange, _reporter(exchange))
        request_log.task = task.kind
        request_log.reason = await _reason_to_skip_small(exchange, task)
        if request_log.reason is None and exchange.route.mode == "small":
            return await _answer_once(exchange, task)
        if request_log.reason is None:
            return await _run_cascade(exchange, task)
    except (NotServedError, SmallRefusedError, SmallUnavailableError) as e:
        request_log.reason = str(e)
    except MissingLogprobsError:
        request_log.reason = "the small model sends no log-probabilities"
    if local_only(exchange):
        raise bad_request(
            f"The small model cannot serve this request ({request_log.reason}), and X-COPE-Mode or X-COPE-Max-Stage "
            "forbid the large one.",
            code="small_model_cannot_serve",
        )
    return NotTried(request_log.reason)


def _reporter(exchange: Exchange) -> Report:
    """Return a function that logs and counts a vote or a detection that failed on a text of this request."""
    request_id = exchange.request.id

    def report(kind: TaskKind, error: Exception) -> None:
        log.warning("%s: a vote or a detection (%s) failed with %s", request_id, kind, described(error))
        metrics.VOTE_FAILURES.labels(kind).inc()

    return report


async def _reason_to_skip_small(exchange: Exchange, task: Task) -> str | None:
    """Return the reason not to try the small model, or None."""
    state, forbid_large = exchange.state, local_only(exchange)
    if reason := unserved(task.body, tools=state.settings.small.tools):
        return reason
    if not forbid_large and _config_skips_cascade(exchange, task.kind):
        return f"{task.kind} goes to the large model (cascade.thresholds.{task.kind}.skip)"
    if state.small.available:
        return None
    choice = state.settings.small.on_unavailable
    if choice == "wait" and await state.small.wait_available(state.settings.server.request_timeout_s):
        return None
    if choice == "escalate" and not forbid_large:
        return "small tier unavailable"
    raise small_unavailable()


def _config_skips_cascade(exchange: Exchange, kind: TaskKind) -> bool:
    """Return True if the config skips the cascade for this task kind.

    An explicit `X-COPE-Mode: cascade` overrides it.
    """
    table = exchange.state.settings.cascade.thresholds.get(kind)
    return table is not None and bool(table.skip) and exchange.request.controls.mode != "cascade"


async def _answer_once(exchange: Exchange, task: Task) -> Accepted:
    """Generate one answer of the small model, without a vote. It is accepted with confidence 1."""
    limit = exchange.state.settings.small.max_output_tokens
    body = {"messages": task.body["messages"], **small_body(task.body, limit)}
    if task.body.get("temperature") is not None:
        body["temperature"] = task.body["temperature"]
    with _placed_small(exchange, task) as small:
        return Accepted(1, await small.generate(SmallRequest(1, "executor", 0, body)), 1.0)


@contextmanager
def _placed_small(exchange: Exchange, task: Task) -> Iterator[RecordedSmall]:
    """Give the request one server of the small tier for all its calls."""
    with exchange.state.small.placed(conversation_of(exchange, task)) as place:
        yield RecordedSmall(exchange.state, exchange.request_log, place)


async def _run_cascade(exchange: Exchange, task: Task) -> Accepted | Unsure:
    """Let the small model vote. Plans that an earlier turn of the conversation has paid for are used again."""
    state, request_log, settings = exchange.state, exchange.request_log, exchange.state.settings
    owner = exchange.request.key_id, exchange.request.controls.session, exchange.route.large.name
    page = page_of(owner, task.kind, task.body)
    kept = state.plans.find(page) if goes_on(task.kind, task.body) else KeptPlans()
    runner = runner_for(settings.cascade, task.kind, state.sandbox)
    estimator = safe_estimator(task, runner, _reporter(exchange))
    how = policy(
        settings.cascade,
        task.kind,
        estimator.default_thresholds,
        exchange.request.controls,
        programs=bool(estimator.forms),
    )
    audited = _draw_audit(exchange)
    if audited:
        # Calibration needs the confidence of all votes, which is not known exactly after an early stop, and of each stage 2.
        how = replace(how, early_stop=False)
    refused = _planner_refused(exchange) if how.plans == "all" and kept.guideline is None else None
    if refused is not None:
        how = replace(how, plans="goals")
    with _placed_small(exchange, task) as small:
        decision = await decide(
            task,
            how,
            estimator=estimator,
            small=small,
            planner=_planner(exchange),
            cascade_log=request_log.cascade_log,
            max_output_tokens=settings.small.max_output_tokens,
            kept=kept,
            earns=_buy_any if audited else _gate(exchange, task.kind),
        )
    if request_log.cascade_log.guideline_skipped:
        request_log.reason = "a guideline would probably cost more than it saves (cascade.skip_losses)"
    elif refused is not None and not isinstance(decision, Accepted):
        request_log.reason = refused
    if page is not None:
        _keep_plans(exchange, page, kept)
    if audited:
        request_log.audit = _audit_job(exchange, task, estimator, how.samples)
    return decision


def _planner(exchange: Exchange) -> PaidPlanner:
    """Return the large planner. It plans from the client's own request, not from its translation for the small model."""
    format_ = as_conversation(exchange.request.format)
    assert format_ is not None
    settings, large = exchange.state.settings, exchange.route.large
    planner = settings.planner_for(large)
    use = cache_use(exchange, planner)
    return PaidPlanner(
        spending=exchange.spending,
        model=planner,
        answerer=large,
        max_tokens=settings.cascade.plan_max_tokens,
        format=format_,
        body=exchange.body,
        cache=use,
        on_error=lambda e: learn_refusal(exchange, planner, use, e),
    )


def _draw_audit(exchange: Exchange) -> bool:
    """Return True, at random, for the configured share of requests.

    A request that may send nothing to the large model is never audited.
    """
    may_go_upstream = not local_only(exchange) and exchange.request.controls.budget != 0
    return may_go_upstream and drawn(exchange.state.settings.audit.share)


def _audit_job(exchange: Exchange, task: Task, estimator: Estimator, samples: int) -> AuditJob | None:
    """Return the audit of this request, or None if no stage was reached."""
    answers = stage_answers(exchange.request_log.cascade_log, exchange.request_log.calls)
    if not answers:
        return None
    return AuditJob(
        request_id=exchange.request.id,
        task=task,
        estimator=estimator,
        small_model=exchange.state.small.model,
        large_model=exchange.route.large,
        samples=samples,
        answers=answers,
    )


def _keep_plans(exchange: Exchange, page: bytes, kept: KeptPlans) -> None:
    """Keep the goal and the guideline for the next request of the conversation."""
    cascade_log = exchange.request_log.cascade_log
    goal = next((p.text for p in cascade_log.plans if p.kind == "goal" and p.chosen), kept.goal)
    exchange.state.plans.keep(page, KeptPlans(goal, cascade_log.guideline))


def _planner_refused(exchange: Exchange) -> str | None:
    """Return the reason why the key of a request may not get a guideline, or `None` if it may."""
    settings, key, large = exchange.state.settings, exchange.request.key, exchange.route.large
    planner = settings.planner_for(large)
    if planner == large or key is None or may_plan(settings, key.rules, planner):
        return None
    return f"the key may not use the planner {planner.name!r} (cascade.planner)"


def _buy_any(_: float | None) -> bool:
    return True


def _gate(exchange: Exchange, kind: TaskKind) -> Earns:
    """Return the function that says whether a guideline earns its price. If a setting fixes the plans, all do."""
    if not may_skip_guidelines(exchange.state.settings.cascade, kind, exchange.request.controls):
        return _buy_any
    return exchange.state.guidelines.gate(kind, exchange.route.large.name, exchange.request.size)
