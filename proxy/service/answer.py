"""One request to a model, from its admission to its row in the ledger."""

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from proxy.cascade import tasks
from proxy.cascade.confidence import estimator_for
from proxy.cascade.engine import decide
from proxy.cascade.fields import small_body, unserved
from proxy.cascade.plan_cache import goes_on, page_of
from proxy.cascade.protocols import SmallRequest
from proxy.cascade.types import Accepted, Escalated, Json, Kept, MissingLogprobs, Task, TaskKind
from proxy.config.policy import policy
from proxy.config.schema import LargeModel
from proxy.errors import (
    NO_RETRY,
    ApiError,
    NoBudget,
    SmallRefused,
    SmallUnavailable,
    bad_request,
    unavailable,
)
from proxy.formats.base import Bound, Conversation, Local, NotServed
from proxy.formats.responses_render import output_items
from proxy.pricing.prices import Usage, cost
from proxy.pricing.tokens import count_prompt, count_text
from proxy.service.admission import admit
from proxy.service.audit import Audit, answers
from proxy.service.gateway import Gateway
from proxy.service.history import input_items, recall, remember
from proxy.service.reply import Reply
from proxy.service.request import ModelRequest, Route, route
from proxy.service.small import RecordedSmall
from proxy.service.trace import Trace
from proxy.service.worth import learn, undecided
from proxy.spending.budget import Purse
from proxy.spending.calls import complete, stream
from proxy.spending.paid import PaidCall, may_be_billed, no_money, paid
from proxy.spending.planner import Guide

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A request under way and what its steps share."""

    gateway: Gateway
    request: ModelRequest
    way: Route
    purse: Purse
    trace: Trace
    body: Json
    """The client's, with what `previous_response_id` stands for in it."""
    context: int
    """Tokens that the upstream adds to it from what it keeps."""


async def answer(gateway: Gateway, request: ModelRequest, reply: Reply) -> None:
    """Answer one request and account for it, whatever happens on the way.

    Cancelling this coroutine (the client has left) stops the local samples at once, gives a paid call a
    moment to report its usage, and still writes the row.

    Raises:
        ApiError: no answer has been sent yet and the client should see this error.
    """
    settings = gateway.settings
    way = route(settings, request.body, request.controls.mode)
    if gateway.writer.full and settings.ledger.on_outage == "refuse":
        raise unavailable(
            "The ledger cannot be written at present.", code="ledger_unavailable", retry_after_s=5
        )
    trace = Trace(request, way.mode if request.audits is None else "audit")
    purse = Purse(gateway, request)
    try:
        async with asyncio.timeout(settings.server.request_timeout_s):
            await admit(gateway, request, way)
            body, context = await recall(gateway, request)
            await purse.open()
            work = Work(gateway, request, way, purse, trace, body, context)
            decision = await _decide(work)
            if isinstance(decision, Escalated) and not _local_only(work):
                try:
                    await _pay(work, decision, reply)
                    return
                except NoBudget as e:
                    decision = _degrade(work, decision, e)
            await _answer_locally(work, decision, reply)
    except TimeoutError:
        trace.status, trace.error = 504, "request_timeout"
        raise ApiError(
            504, "The request took too long.", "server_error", "request_timeout", headers=_retry(trace)
        ) from None
    except ApiError as e:
        trace.status, trace.error = e.status, e.code or e.type
        e.headers = {**e.headers, **_retry(trace)}
        raise
    except asyncio.CancelledError:
        trace.status, trace.error = 499, "client_disconnected"
        raise
    except Exception:
        trace.status, trace.error = 500, "internal_error"
        raise
    finally:
        _write(gateway, trace)
        if trace.task and undecided(settings.cascade, TaskKind(trace.task), request.controls):
            learn(gateway.guidelines, trace, way.large.name)


def _retry(trace: Trace) -> dict[str, str]:
    """An error after money was spent must not make an SDK spend it again by itself."""
    return dict(NO_RETRY) if trace.cost else {}


def _local_only(work: Work) -> bool:
    return work.way.mode == "small" or work.request.controls.max_stage < 3


async def _decide(work: Work) -> Accepted | Escalated:
    """Let the small tier try; an `Escalated` says that it could not answer, or was not asked."""
    gateway, trace, dialect = work.gateway, work.trace, work.request.dialect
    if work.way.mode == "large":
        return Escalated()
    settings = gateway.settings
    try:
        if not isinstance(dialect, Conversation):
            raise NotServed(f"{dialect.path[1:]} go to the large model")  # noqa: TRY301
        chat = dialect.as_chat(work.body)
        task = _task(work, chat)
        trace.task = task.kind.value
        trace.reason = unserved(chat, tools=settings.small.tools)
        if trace.reason is None and not _local_only(work) and _skipped(work, task.kind):
            trace.reason = f"{task.kind} goes to the large model (cascade.thresholds.{task.kind}.skip)"
        if trace.reason is None and not gateway.small.available:
            trace.reason = await _small_away(gateway, local_only=_local_only(work))
        if trace.reason is None:
            return await _try_small(work, task)
    except NotServed as e:
        trace.reason = str(e)
    except (SmallRefused, SmallUnavailable) as e:
        trace.reason = str(e)
    except MissingLogprobs:
        trace.reason = "the small model sends no log-probabilities"
    if _local_only(work):
        raise bad_request(
            f"The small model cannot serve this request ({trace.reason}), and X-COPE-Mode or X-COPE-Max-Stage "
            "forbid the large one.",
            code="small_model_cannot_serve",
        )
    return Escalated()


def _skipped(work: Work, kind: TaskKind) -> bool:
    """Whether the cascade does not pay for this kind of task; who asks for a cascade by name gets one."""
    table = work.gateway.settings.cascade.thresholds.get(kind.value)
    return table is not None and bool(table.skip) and work.request.controls.mode != "cascade"


def _task(work: Work, chat: Json) -> Task:
    task, forced = tasks.detect(chat), work.request.controls.task
    return task if forced is None else tasks.with_kind(task, forced)


async def _try_small(work: Work, task: Task) -> Accepted | Escalated:
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
    audited = not _local_only(work) and work.request.controls.budget != 0 and gateway.audits.drawn()
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
        Guide(gateway, work.purse, trace, work.way.large),
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


async def _small_away(gateway: Gateway, *, local_only: bool) -> str | None:
    choice = gateway.settings.small.on_unavailable
    if choice == "wait" and await gateway.small.wait_available(gateway.settings.server.request_timeout_s):
        return None
    if choice == "escalate" and not local_only:
        return "small tier unavailable"
    raise unavailable("The small model is not available.", code="small_unavailable", retry_after_s=5)


def _degrade(work: Work, decision: Escalated, e: NoBudget) -> Escalated:
    if work.request.controls.on_budget == "fail" or decision.best is None:
        raise no_money(e) from e
    work.trace.degraded = "budget"
    return decision


async def _answer_locally(work: Work, decision: Accepted | Escalated, reply: Reply) -> None:
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
            raise no_money(NoBudget(decision.stopped))
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
        await _send(work, reply, event)
    await _end(work, reply)


async def _pay(work: Work, decision: Escalated, reply: Reply) -> None:
    """Stage 3: one answer of the large model, with the guideline where there is one.

    Where the model is away and nothing was billed, the next one of the route answers.
    """
    *others, last = work.way.models
    for model in others:
        try:
            await _pay_one(work, model, decision, reply)
            return
        except ApiError as e:
            if reply.answering or may_be_billed(e) or not _elsewhere_better(e):
                raise
            log.warning("%s: %s failed (%s); the next one is asked", work.request.id, model.name, e.code)
    await _pay_one(work, last, decision, reply)


def _elsewhere_better(e: ApiError) -> bool:
    """Whether the error speaks of the upstream and not of the request."""
    return e.status >= 500 or e.status in (404, 408, 409, 429)


async def _pay_one(work: Work, model: LargeModel, decision: Escalated, reply: Reply) -> None:
    request, trace, dialect = work.request, work.trace, work.request.dialect
    body, plan_tokens = work.body, 0
    if decision.guideline is not None and isinstance(dialect, Conversation):
        body = dialect.guided(body, decision.guideline)
        plan_tokens = count_text(model.id, decision.guideline)
    bound = await _bound(work, model, body)
    async with paid(
        work.gateway, work.purse, trace, stage=3, role="executor", model=model, dialect=dialect, bound=bound
    ) as call:
        sent = bound.within(body, call.output)
        trace.stage, trace.model = 3, model.name
        if request.stream:
            last = await _relay(work, call, sent, reply)
        else:
            raw = await complete(work.gateway, call, sent)
    trace.upstream_headers = call.headers
    _count(work, call, plan_tokens)
    trace.remaining = await work.purse.remaining()
    if call.output < bound.asked and call.finish_reason == "length":
        trace.degraded = "output cut to budget"
    if request.stream:
        if last is not None and dialect.shown(request.body):
            await _remember(work, call, last.get("response"))
            ended = dialect.last(last, plan_tokens, trace.facts())
            await _send(work, reply, msgspec.json.encode(ended))
        await _end(work, reply)
        return
    store, decoded = work.gateway.settings.ledger.store_content, None
    if plan_tokens or store or dialect.path == "/responses":
        decoded = msgspec.json.decode(raw)
    if decoded is not None and store:
        trace.answer = msgspec.json.encode(decoded.get("choices", decoded.get("output"))).decode()
    await _remember(work, call, decoded)
    trace.first_token()
    whole = (
        msgspec.json.encode(dialect.last(decoded, plan_tokens, trace.facts()))
        if plan_tokens and decoded is not None
        else _with_facts(raw, trace.facts())
    )
    await reply.json(200, trace.headers(final=True), whole)


async def _bound(work: Work, model: LargeModel, body: Json) -> Bound:
    """Bound an answer; without a budget, bytes are bound enough and cost nothing to count.

    Raises:
        ApiError: a budget applies, and what the request asks for costs more than its tokens.
    """
    dialect, default = work.request.dialect, work.gateway.settings.large.max_output_tokens
    bound = dialect.bound(body, default)
    if not work.purse.limited:
        return replace(bound, prompt=2 * work.request.size + work.context)
    if unbounded := dialect.unbounded(body):
        raise bad_request(
            f"A budget applies to this request, and what {unbounded} costs cannot be bounded beforehand. Leave it "
            "out, or ask without a budget.",
            code="unbounded_cost",
        )
    prompt = await asyncio.to_thread(dialect.count, model.id, body)
    return replace(bound, prompt=prompt + work.context)


async def _remember(work: Work, call: PaidCall, response: Any) -> None:
    """Note whose response of the upstream this is, and how long, for one that continues it."""
    if work.request.dialect.path == "/responses" and isinstance(response, dict) and response.get("id"):
        used = call.usage or Usage(call.prompt_bound, call.output)
        tokens = used.prompt_tokens + used.completion_tokens
        await remember(work.gateway, work.request, str(response["id"])[:128], context=tokens)


async def _relay(work: Work, call: PaidCall, body: dict[str, Any], reply: Reply) -> dict[str, Any] | None:
    """Pass a stage-3 stream on as it comes; return its last chunk, which is held back for its last facts."""
    dialect, trace = work.request.dialect, work.trace
    unasked = not dialect.named_events and not (work.request.body.get("stream_options") or {}).get(
        "include_usage"
    )
    last = None
    async for data, chunk in stream(work.gateway, call, body):
        if dialect.held_back(chunk):
            last = chunk
            continue
        trace.upstream_headers = call.headers
        await reply.open(trace.headers(final=False))
        trace.first_token()
        if unasked and "usage" in chunk:
            # We asked for the usage, the client did not: it must not see that we did.
            data = msgspec.json.encode({k: v for k, v in chunk.items() if k != "usage"})  # noqa: PLW2901
        await _send(work, reply, data, chunk.get("type"))
    return last


async def _send(work: Work, reply: Reply, data: bytes, name: Any = None) -> None:
    if work.request.dialect.named_events:
        await reply.event(data, str(name or msgspec.json.decode(data)["type"]))
    else:
        await reply.event(data)


async def _end(work: Work, reply: Reply) -> None:
    if work.request.dialect.farewell is not None:
        await reply.event(work.request.dialect.farewell)
    await reply.close()


def _count(work: Work, call: PaidCall, plan_tokens: int) -> None:
    """Note what one plain call of the large model would have used and cost: this one without its guideline."""
    usage = call.usage or call.counted or Usage()
    prompt = max(0, usage.prompt_tokens - plan_tokens)
    work.trace.prompt_tokens, work.trace.completion_tokens = prompt, usage.completion_tokens
    cached = min(usage.cached_tokens, prompt)
    plain = Usage(prompt, usage.completion_tokens, cached)
    work.trace.baseline = cost(work.gateway.prices[call.model.name], plain)


def _with_facts(raw: bytes, facts: object) -> bytes:
    """Add the `cope` object to an upstream's answer without decoding it: its bytes pass through."""
    return raw.rstrip()[:-1] + b',"cope":' + msgspec.json.encode(facts) + b"}"


def _write(gateway: Gateway, trace: Trace) -> None:
    store = gateway.settings.ledger.store_content
    plans = trace.plan_records() if store else []
    gateway.writer.submit_end(trace.record(store_content=store), *trace.voted_calls(), *plans)
