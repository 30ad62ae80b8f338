"""Stages 1 and 2: the small model decides and answers."""

import asyncio
from dataclasses import replace

import msgspec

from proxy.cascade import tasks
from proxy.cascade.confidence import estimator_for
from proxy.cascade.engine import decide
from proxy.cascade.fields import small_body, unserved
from proxy.cascade.plan_cache import goes_on, page_of
from proxy.cascade.protocols import SmallRequest
from proxy.cascade.types import Accepted, Escalated, Json, Kept, MissingLogprobsError, Task, TaskKind
from proxy.config.policy import policy
from proxy.errors import (
    NoBudgetError,
    SmallRefusedError,
    SmallUnavailableError,
    bad_request,
    no_local_answer,
    small_unavailable,
)
from proxy.formats.base import Conversation, LocalAnswer, NotServedError
from proxy.formats.responses_render import output_items
from proxy.pricing.prices import Usage, cost
from proxy.pricing.tokens import count_prompt, count_text
from proxy.service.audit_queue import Audit, answers
from proxy.service.conversations import input_items, remember
from proxy.service.exchange import Exchange, end_stream, send_event
from proxy.service.guideline_value import undecided
from proxy.service.reply import Reply
from proxy.service.small_sampler import RecordedSmall
from proxy.service.state import AppState
from proxy.spending.paid import no_money
from proxy.spending.planner import PaidPlanner


def local_only(exchange: Exchange) -> bool:
    """Return True if the request may send nothing upstream for its answer."""
    return exchange.way.mode == "small" or exchange.request.controls.max_stage < 3


async def decide_locally(exchange: Exchange) -> Accepted | Escalated:
    """Let the small tier try; an `Escalated` says that it could not answer, or was not asked."""
    state, request_log, format_ = exchange.state, exchange.request_log, exchange.request.format
    if exchange.way.mode == "large":
        return Escalated()
    settings = state.settings
    try:
        if not isinstance(format_, Conversation):
            raise NotServedError(f"{format_.path[1:]} go to the large model")  # noqa: TRY301
        chat = format_.as_chat(exchange.body)
        task = _task(exchange, chat)
        request_log.task = task.kind.value
        request_log.reason = unserved(chat, tools=settings.small.tools)
        if request_log.reason is None and not local_only(exchange) and _skipped(exchange, task.kind):
            request_log.reason = f"{task.kind} goes to the large model (cascade.thresholds.{task.kind}.skip)"
        if request_log.reason is None and not state.small.available:
            request_log.reason = await _small_unavailable(state, local_only=local_only(exchange))
        if request_log.reason is None:
            return await _try_small(exchange, task)
    except NotServedError as e:
        request_log.reason = str(e)
    except (SmallRefusedError, SmallUnavailableError) as e:
        request_log.reason = str(e)
    except MissingLogprobsError:
        request_log.reason = "the small model sends no log-probabilities"
    if local_only(exchange):
        raise bad_request(
            f"The small model cannot serve this request ({request_log.reason}), and X-COPE-Mode or X-COPE-Max-Stage "
            "forbid the large one.",
            code="small_model_cannot_serve",
        )
    return Escalated()


def _skipped(exchange: Exchange, kind: TaskKind) -> bool:
    """Whether the cascade does not pay for this kind of task; who asks for a cascade by name gets one."""
    table = exchange.state.settings.cascade.thresholds.get(kind.value)
    return table is not None and bool(table.skip) and exchange.request.controls.mode != "cascade"


def _task(exchange: Exchange, chat: Json) -> Task:
    task, forced = tasks.detect(chat), exchange.request.controls.task
    return task if forced is None else tasks.with_kind(task, forced)


async def _try_small(exchange: Exchange, task: Task) -> Accepted | Escalated:
    state, request_log, settings = exchange.state, exchange.request_log, exchange.state.settings
    small = RecordedSmall(state, request_log)
    if exchange.way.mode == "small":
        body = {"messages": task.body["messages"], **small_body(task.body, settings.small.max_output_tokens)}
        if task.body.get("temperature") is not None:
            body["temperature"] = task.body["temperature"]
        return Accepted(1, await small.generate(SmallRequest(1, "executor", 0, body)), 1.0)
    owner = exchange.request.key_id, exchange.request.controls.session, exchange.way.large.name
    page = page_of(owner, task.kind, task.body)
    estimator = estimator_for(task, state.sandbox)
    how = policy(settings.cascade, task.kind, estimator.usual, exchange.request.controls)
    # What has to stay on the machine is not sent to be audited, either.
    audited = not local_only(exchange) and exchange.request.controls.budget != 0 and state.audits.drawn()
    if audited:
        # Where sampling stops early, a confidence is a bound; calibration needs the whole vote's.
        how = replace(how, early_stop=False)
    kept = state.plans.find(page) if goes_on(task.kind, task.body) else Kept()
    unguided = (
        how.plans == "all"
        and kept.guideline is None
        and undecided(settings.cascade, task.kind, exchange.request.controls)
        and state.guidelines.left_out(task.kind.value, exchange.way.large.name)
    )
    if unguided:
        how = replace(how, plans="goals")
    decision = await decide(
        task,
        how,
        estimator,
        small,
        PaidPlanner(state, exchange.budget, request_log, exchange.way.large),
        request_log.cascade_log,
        settings.small.max_output_tokens,
        kept,
    )
    if unguided and isinstance(decision, Escalated):
        request_log.reason = f"guidelines for {task.kind} tasks have lost money of late (cascade.skip_losses)"
    if page is not None:
        goal = next(
            (p.text for p in request_log.cascade_log.plans if p.kind == "goal" and p.chosen), kept.goal
        )
        state.plans.keep(page, Kept(goal, request_log.cascade_log.guideline))
    if audited and (found := tuple(answers(request_log.cascade_log, request_log.calls))):
        small_model, large_model = state.small.model, exchange.way.large
        state.audits.add(
            Audit(exchange.request.id, task, estimator, small_model, large_model, how.samples, found)
        )
    return decision


async def _small_unavailable(state: AppState, *, local_only: bool) -> str | None:
    choice = state.settings.small.on_unavailable
    if choice == "wait" and await state.small.wait_available(state.settings.server.request_timeout_s):
        return None
    if choice == "escalate" and not local_only:
        return "small tier unavailable"
    raise small_unavailable()


def degrade(exchange: Exchange, decision: Escalated, e: NoBudgetError) -> Escalated:
    """Fall back to the best local answer when the budget does not cover the large model.

    Raises:
        ApiError: the client wants an error instead, or there is no local answer.
    """
    if exchange.request.controls.on_budget == "fail" or decision.best is None:
        raise no_money(e) from e
    exchange.request_log.degraded = "budget"
    return decision


async def answer_locally(exchange: Exchange, decision: Accepted | Escalated, reply: Reply) -> None:
    """Send the small model's answer."""
    state, request, request_log, format_ = (
        exchange.state,
        exchange.request,
        exchange.request_log,
        exchange.request.format,
    )
    assert isinstance(format_, Conversation)
    if isinstance(decision, Accepted):
        sample, request_log.stage = decision.sample, decision.stage
        request_log.confidence = decision.confidence if exchange.way.mode == "cascade" else None
    else:
        if decision.best is None:
            raise no_local_answer()
        sample, request_log.stage, request_log.confidence = (
            decision.best,
            decision.best_stage,
            decision.confidence,
        )
        request_log.degraded = request_log.degraded or ("budget" if decision.stopped else "max_stage")
        if decision.stopped and request.controls.on_budget == "fail":
            raise no_money(NoBudgetError(decision.stopped))
    request_log.model = state.small.model
    calls = sample.message.get("tool_calls")
    request_log.answer = sample.text + (msgspec.json.encode(calls).decode() if calls else "")
    large = exchange.way.large
    request_log.prompt_tokens = await asyncio.to_thread(
        count_prompt, large.id, format_.as_chat(exchange.body)
    )
    request_log.completion_tokens = count_text(large.id, request_log.answer)
    usage = Usage(request_log.prompt_tokens, request_log.completion_tokens)
    request_log.baseline = cost(state.prices[large.name], usage)
    request_log.remaining = await exchange.budget.remaining()
    local = LocalAnswer(
        request_id=request.id,
        received_at=request.received_at,
        model=request_log.model,
        sample=sample,
        usage=usage,
        facts=request_log.facts(),
    )
    if format_.path == "/responses":
        items = [*input_items(exchange.body), *output_items(local)]
        local = replace(local, stored=await remember(state, request, f"resp_{request.id}", items=items))
    if not request.stream:
        request_log.first_token()
        await reply.json(200, request_log.headers(final=True), format_.render(request.body, local))
        return
    await reply.open(request_log.headers(final=True))
    request_log.first_token()
    for event in format_.events(request.body, local):
        await send_event(exchange, reply, event)
    await end_stream(exchange, reply)
