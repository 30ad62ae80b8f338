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
    ApiError,
    NoBudgetError,
    SmallRefusedError,
    SmallUnavailableError,
    bad_request,
    unavailable,
)
from proxy.formats.base import Conversation, Local, NotServedError
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


def local_only(work: Exchange) -> bool:
    """Return True if the request may send nothing upstream for its answer."""
    return work.way.mode == "small" or work.request.controls.max_stage < 3


async def decide_locally(work: Exchange) -> Accepted | Escalated:
    """Let the small tier try; an `Escalated` says that it could not answer, or was not asked."""
    gateway, trace, dialect = work.gateway, work.trace, work.request.dialect
    if work.way.mode == "large":
        return Escalated()
    settings = gateway.settings
    try:
        if not isinstance(dialect, Conversation):
            raise NotServedError(f"{dialect.path[1:]} go to the large model")  # noqa: TRY301
        chat = dialect.as_chat(work.body)
        task = _task(work, chat)
        trace.task = task.kind.value
        trace.reason = unserved(chat, tools=settings.small.tools)
        if trace.reason is None and not local_only(work) and _skipped(work, task.kind):
            trace.reason = f"{task.kind} goes to the large model (cascade.thresholds.{task.kind}.skip)"
        if trace.reason is None and not gateway.small.available:
            trace.reason = await _small_unavailable(gateway, local_only=local_only(work))
        if trace.reason is None:
            return await _try_small(work, task)
    except NotServedError as e:
        trace.reason = str(e)
    except (SmallRefusedError, SmallUnavailableError) as e:
        trace.reason = str(e)
    except MissingLogprobsError:
        trace.reason = "the small model sends no log-probabilities"
    if local_only(work):
        raise bad_request(
            f"The small model cannot serve this request ({trace.reason}), and X-COPE-Mode or X-COPE-Max-Stage "
            "forbid the large one.",
            code="small_model_cannot_serve",
        )
    return Escalated()


def _skipped(work: Exchange, kind: TaskKind) -> bool:
    """Whether the cascade does not pay for this kind of task; who asks for a cascade by name gets one."""
    table = work.gateway.settings.cascade.thresholds.get(kind.value)
    return table is not None and bool(table.skip) and work.request.controls.mode != "cascade"


def _task(work: Exchange, chat: Json) -> Task:
    task, forced = tasks.detect(chat), work.request.controls.task
    return task if forced is None else tasks.with_kind(task, forced)


async def _try_small(work: Exchange, task: Task) -> Accepted | Escalated:
    gateway, trace, settings = work.gateway, work.trace, work.gateway.settings
    small = RecordedSmall(gateway, trace)
    if work.way.mode == "small":
        body = {"messages": task.body["messages"], **small_body(task.body, settings.small.max_output_tokens)}
        if task.body.get("temperature") is not None:
            body["temperature"] = task.body["temperature"]
        return Accepted(1, await small.generate(SmallRequest(1, "executor", 0, body)), 1.0)
    owner = work.request.key_id, work.request.controls.session, work.way.large.name
    page = page_of(owner, task.kind, task.body)
    estimator = estimator_for(task, gateway.sandbox)
    how = policy(settings.cascade, task.kind, estimator.usual, work.request.controls)
    # What has to stay on the machine is not sent to be audited, either.
    audited = not local_only(work) and work.request.controls.budget != 0 and gateway.audits.drawn()
    if audited:
        # Where sampling stops early, a confidence is a bound; calibration needs the whole vote's.
        how = replace(how, early_stop=False)
    kept = gateway.plans.find(page) if goes_on(task.kind, task.body) else Kept()
    unguided = (
        how.plans == "all"
        and kept.guideline is None
        and undecided(settings.cascade, task.kind, work.request.controls)
        and gateway.guidelines.left_out(task.kind.value, work.way.large.name)
    )
    if unguided:
        how = replace(how, plans="goals")
    decision = await decide(
        task,
        how,
        estimator,
        small,
        PaidPlanner(gateway, work.purse, trace, work.way.large),
        trace.story,
        settings.small.max_output_tokens,
        kept,
    )
    if unguided and isinstance(decision, Escalated):
        trace.reason = f"guidelines for {task.kind} tasks have lost money of late (cascade.skip_losses)"
    if page is not None:
        goal = next((p.text for p in trace.story.plans if p.kind == "goal" and p.chosen), kept.goal)
        gateway.plans.keep(page, Kept(goal, trace.story.guideline))
    if audited and (found := tuple(answers(trace.story, trace.calls))):
        small_model, large_model = gateway.small.model, work.way.large
        gateway.audits.add(
            Audit(work.request.id, task, estimator, small_model, large_model, how.samples, found)
        )
    return decision


async def _small_unavailable(gateway: AppState, *, local_only: bool) -> str | None:
    choice = gateway.settings.small.on_unavailable
    if choice == "wait" and await gateway.small.wait_available(gateway.settings.server.request_timeout_s):
        return None
    if choice == "escalate" and not local_only:
        return "small tier unavailable"
    raise unavailable("The small model is not available.", code="small_unavailable", retry_after_s=5)


def degrade(work: Exchange, decision: Escalated, e: NoBudgetError) -> Escalated:
    """Fall back to the best local answer when the budget does not cover the large model.

    Raises:
        ApiError: the client wants an error instead, or there is no local answer.
    """
    if work.request.controls.on_budget == "fail" or decision.best is None:
        raise no_money(e) from e
    work.trace.degraded = "budget"
    return decision


async def answer_locally(work: Exchange, decision: Accepted | Escalated, reply: Reply) -> None:
    """Send the small model's answer."""
    gateway, request, trace, dialect = work.gateway, work.request, work.trace, work.request.dialect
    assert isinstance(dialect, Conversation)
    if isinstance(decision, Accepted):
        sample, trace.stage = decision.sample, decision.stage
        trace.confidence = decision.confidence if work.way.mode == "cascade" else None
    else:
        if decision.best is None:
            raise ApiError(
                502, "The small model gave no valid answer.", type="server_error", code="no_local_answer"
            )
        sample, trace.stage, trace.confidence = decision.best, decision.best_stage, decision.confidence
        trace.degraded = trace.degraded or ("budget" if decision.stopped else "max_stage")
        if decision.stopped and request.controls.on_budget == "fail":
            raise no_money(NoBudgetError(decision.stopped))
    trace.model = gateway.small.model
    calls = sample.message.get("tool_calls")
    trace.answer = sample.text + (msgspec.json.encode(calls).decode() if calls else "")
    large = work.way.large
    trace.prompt_tokens = await asyncio.to_thread(count_prompt, large.id, dialect.as_chat(work.body))
    trace.completion_tokens = count_text(large.id, trace.answer)
    usage = Usage(trace.prompt_tokens, trace.completion_tokens)
    trace.baseline = cost(gateway.prices[large.name], usage)
    trace.remaining = await work.purse.remaining()
    local = Local(request.id, request.received_at, trace.model, sample, usage, trace.facts())
    if dialect.path == "/responses":
        items = [*input_items(work.body), *output_items(local)]
        local = replace(local, stored=await remember(gateway, request, f"resp_{request.id}", items=items))
    if not request.stream:
        trace.first_token()
        await reply.json(200, trace.headers(final=True), dialect.render(request.body, local))
        return
    await reply.open(trace.headers(final=True))
    trace.first_token()
    for event in dialect.events(request.body, local):
        await send_event(work, reply, event)
    await end_stream(work, reply)
