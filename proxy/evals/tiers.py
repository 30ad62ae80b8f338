"""The two tiers as a run asks them: through the record, so that nothing is asked or paid twice."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec

from proxy.backends.small_pool import SmallPool
from proxy.backends.upstream import Upstream
from proxy.cascade import prompts
from proxy.cascade.confidence.open import lowest_run
from proxy.cascade.protocols import Runner, SmallRequest
from proxy.cascade.toolcalls import with_calls
from proxy.cascade.types import NO_GUIDELINE_NEEDED, Guideline, Json, Sample
from proxy.config.prices import resolve_prices, small_price
from proxy.config.schema import Settings
from proxy.errors import NO_RETRY, ApiError, NoBudgetError, upstream_invalid
from proxy.evals.record import Call, Record, key_of
from proxy.formats.sse import Accumulator
from proxy.pricing.money import format_usd
from proxy.pricing.prices import Price, Usage, cost, worst_case
from proxy.pricing.tokens import count_text, hides_reasoning, prompt_bound, usage_from
from proxy.records import Stage
from proxy.service.small_sampler import sample_of
from proxy.service.state import upstream_apis
from proxy.spending.planner import plan_request

log = logging.getLogger(__name__)

TOP_LOGPROBS = 10
DRAIN_S = 30.0
"""How long a paid call may go on when its run is stopped: it is billed anyway, and would be paid for again."""
_PASSING = frozenset({429, 502, 503, 529})
_PAUSE_S = 1.0


@dataclass(frozen=True)
class Answer:
    """What the large model said and what that cost, in nano-USD."""

    message: Json
    usage: Usage
    cost: int

    @property
    def text(self) -> str:
        """The answer's text."""
        return self.message.get("content") or ""


@dataclass
class Tiers:
    """Both models of a run, its record and its purse. What was paid in earlier parts of the run counts as spent."""

    settings: Settings
    small: SmallPool
    upstream: Upstream
    price: Price
    small_price: Price
    record: Record
    runner: Runner | None = None
    limit: int | None = None
    """Most that the run may spend, in nano-USD."""
    spent: int = field(init=False)
    _reserved: int = field(default=0, init=False)
    _settled: asyncio.Condition = field(default_factory=asyncio.Condition, init=False)
    _paying: dict[str, asyncio.Task[Call]] = field(default_factory=dict, init=False)
    """By key, so that who asks the same meanwhile waits for the same answer."""
    _sent: set[str] = field(default_factory=set, init=False)
    """Keys of those that are out and may be billed."""

    def __post_init__(self) -> None:
        """Count what the record says was paid."""
        paid = sum(self._cost(call) for call in self.record if call.tier == "large")
        self.spent = paid + self.record.owed

    async def ask(self, item: str, body: Json, max_tokens: int) -> Answer:
        """Ask the large model; wait out a short outage, and money that other calls have only reserved.

        Raises:
            NoBudgetError: the worst case of the call does not fit into what the run may spend.
            ApiError: it did not answer. After an outage longer than `large.timeout_s`, one that is `passing`.
        """
        model = self.settings.large_models[self.settings.large.model]
        sent = {**body, "model": model.id, "max_completion_tokens": max_tokens}
        if hides_reasoning(model.id, sent):
            sent.pop("temperature", None)  # these models refuse one
        key = key_of("large", model.id, sent)
        call = self.record.find(key)
        if call is None:
            worst = worst_case(self.price, prompt_bound(model.id, sent), max_tokens)
            paying = self._paying.get(key)
            if paying is None:
                paying = asyncio.create_task(self._patiently(key, item, sent, model.id, worst))
                self._paying[key] = paying
                paying.add_done_callback(lambda ended: self._ended(key, ended))
            call = await asyncio.shield(paying)  # what is paid for is not lost with who asked for it
        return Answer(call.message, call.usage, self._cost(call))

    async def drain(self) -> None:
        """Let paid calls under way come to their end, for a while; what is then known of them is on record."""
        under_way = list(self._paying.items())
        for key, paying in under_way:
            if key not in self._sent:
                paying.cancel()
        if under_way:
            _, late = await asyncio.wait([paying for _, paying in under_way], timeout=DRAIN_S)
            for paying in late:
                paying.cancel()

    def _cost(self, call: Call) -> int:
        return cost(self.price, call.usage) if call.cost is None else call.cost

    async def _patiently(self, key: str, item: str, sent: Json, model: str, worst: int) -> Call:
        until: float | None = None
        while True:
            await self._reserve(worst)
            try:
                return await self._pay(key, item, sent, model, worst)
            except ApiError as e:
                if not passing(e):
                    raise
                if until is None:
                    log.warning("the large model does not answer, and is waited for: %s", e.message)
                    until = time.monotonic() + self.settings.large.timeout_s
                elif time.monotonic() > until:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def _reserve(self, worst: int) -> None:
        async with self._settled:
            while self.limit is not None and self.spent + self._reserved + worst > self.limit:
                if not self._reserved:
                    raise NoBudgetError(f"the run may spend {format_usd(self.limit)} USD")
                await self._settled.wait()
            self._reserved += worst

    async def _pay(self, key: str, item: str, sent: Json, model: str, worst: int) -> Call:
        id_, known = uuid.uuid4().hex, worst
        self._sent.add(key)
        self.record.owe(id_, worst)
        try:
            call = await self._ask(key, item, sent, model)
            self.record.add(call)
            known = self._cost(call)
            self.record.owe(id_, 0)
            return call
        except ApiError as e:
            if not e.billed:
                known = 0
                self.record.owe(id_, 0)
            raise
        finally:
            self._sent.discard(key)
            self._reserved -= worst
            self.spent += known
            async with self._settled:
                self._settled.notify_all()

    def _ended(self, key: str, paying: asyncio.Task[Call]) -> None:
        del self._paying[key]
        if not paying.cancelled():
            paying.exception()  # has been seen, though who asked may have gone

    async def _ask(self, key: str, item: str, sent: Json, model: str) -> Call:
        began = time.monotonic()
        deadline = began + self.settings.large.timeout_s
        try:
            async with self.upstream.post("/chat/completions", sent, deadline) as response:
                answer = msgspec.json.decode(await response.read())
            choice = answer["choices"][0]
            said = choice["message"].get("content") or ""
            usage = usage_from(answer["usage"]) if answer.get("usage") else None
        except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError, AttributeError) as e:
            raise upstream_invalid() from e
        usage = usage or Usage(
            prompt_tokens=prompt_bound(model, sent), completion_tokens=count_text(model, said)
        )
        return Call(
            key=key,
            item=item,
            tier="large",
            message=dict(with_calls(choice["message"], sent.get("tools"))),
            finish_reason=choice.get("finish_reason") or "stop",
            usage=usage,
            ms=round((time.monotonic() - began) * 1000),
            cost=cost(self.price, usage),
        )


def passing(e: ApiError) -> bool:
    """Whether an error speaks of the upstream's present state: the same call may do better later, and nothing was paid."""
    refused = e.headers.get("x-should-retry") == NO_RETRY["x-should-retry"] or e.code == "insufficient_quota"
    return e.status in _PASSING and not refused and not e.billed


@dataclass
class Sampler:
    """The cascade's `SmallTier`, and its `LargePlanner`, for one item."""

    tiers: Tiers
    item: str
    plan_cost: int = 0
    """Of the guidelines so far, in nano-USD."""
    small_cost: dict[Stage, int] = field(default_factory=dict)
    """Of the small model's calls so far, in nano-USD, by stage."""

    async def generate(self, request: SmallRequest) -> Sample:
        """Generate one answer; see `proxy.cascade.protocols.SmallTier`."""
        pool, record = self.tiers.small, self.tiers.record
        body = request.body
        if request.role == "executor":
            body = {**body, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        key = key_of("small", pool.model, body, request.index)
        call = record.find(key)
        if call is None:
            # A long run outlives a restart of the engine.
            await pool.wait_available(self.tiers.settings.small.timeout_s)
            into, began = Accumulator(), time.monotonic()
            await pool.stream(body, into)
            sample = sample_of(request, into)
            call = Call(
                key=key,
                item=self.item,
                tier="small",
                message=dict(sample.message),
                finish_reason=sample.finish_reason,
                usage=sample.usage,
                ms=round((time.monotonic() - began) * 1000),
                logprob=sample.logprob,
                tokens=[_peaked(token) for token in into.logprobs] if request.role == "executor" else [],
            )
            record.add(call)
        paid = cost(self.tiers.small_price, call.usage)
        self.small_cost[request.stage] = self.small_cost.get(request.stage, 0) + paid
        return Sample(
            index=request.index,
            message=call.message,
            finish_reason=call.finish_reason,
            logprob=call.logprob,
            usage=call.usage,
            lowest_logprob=lowest_run([logprob for logprob, _ in call.tokens]),
        )

    async def guideline(self, body: Json) -> Guideline:
        """Pay for one guideline; see `proxy.cascade.protocols.LargePlanner`."""
        settings = self.tiers.settings
        model = settings.large_models[settings.large.model].id
        asked, limit = plan_request(model, body, settings.cascade.plan_max_tokens)
        answer = await self.tiers.ask(self.item, asked, limit)
        self.plan_cost += answer.cost
        return prompts.plan_in(answer.text) or NO_GUIDELINE_NEEDED


def _peaked(token: Json) -> tuple[float, float]:
    likeliest = [t["logprob"] for t in token.get("top_logprobs") or ()] or [token["logprob"]]
    return round(token["logprob"], 4), round(-sum(likeliest) / len(likeliest), 4)


@asynccontextmanager
async def open_tiers(
    settings: Settings, record: Record, runner: Runner | None, limit: int | None
) -> AsyncIterator[Tiers]:
    """Open both tiers as the settings have them.

    Raises:
        ConfigError: the large model has no price, or its key is not set.
    """
    api = upstream_apis(settings)[settings.large_models[settings.large.model].upstream]
    price = resolve_prices(settings)[settings.large.model]
    small = settings.small
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)  # as in `service.gateway`
    # Each tier has its own limits; aiohttp's of five minutes would cut long answers off.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.large.connect_timeout_s)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=True) as session:
        pool = SmallPool.of(session, small)
        await pool.probe()
        watching = asyncio.create_task(pool.watch())
        tiers = Tiers(
            settings, pool, Upstream(session, api), price, small_price(settings), record, runner, limit
        )
        try:
            yield tiers
        finally:
            await tiers.drain()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
