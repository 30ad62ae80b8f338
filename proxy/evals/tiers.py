"""The two tiers as a run asks them: through the record, so that nothing is asked or paid twice."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec

from proxy.backends.large import Upstream
from proxy.backends.small import SmallPool
from proxy.backends.sse import Accumulator
from proxy.cascade import prompts
from proxy.cascade.confidence.open import lowest_run
from proxy.cascade.toolcalls import with_calls
from proxy.cascade.types import Json, Runner, Sample, SmallRequest
from proxy.config import Settings
from proxy.errors import ApiError, NoBudget
from proxy.evals.record import Call, Record, key_of
from proxy.pricing.money import format_usd
from proxy.pricing.prices import Price, Usage, cost, worst_case
from proxy.pricing.tokens import count_text, prompt_bound, usage_from
from proxy.service.gateway import accounts, resolve_prices
from proxy.service.large import plan_request
from proxy.service.small import sample_of

TOP_LOGPROBS = 10


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
    record: Record
    runner: Runner | None = None
    limit: int | None = None
    """Most that the run may spend, in nano-USD."""
    spent: int = field(init=False)
    _reserved: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Count what the record says was paid."""
        self.spent = sum(cost(self.price, call.usage) for call in self.record if call.tier == "large")

    async def ask(self, item: str, body: Json, max_tokens: int) -> Answer:
        """Ask the large model.

        Raises:
            NoBudget: the worst case of the call does not fit into what the run may spend.
            ApiError: it did not answer.
        """
        model = self.settings.large_models[self.settings.large.model]
        sent = {**body, "model": model.id, "max_completion_tokens": max_tokens}
        key = key_of("large", model.id, sent)
        call = self.record.find(key)
        if call is None:
            worst = worst_case(self.price, prompt_bound(model.id, sent), max_tokens)
            if self.limit is not None and self.spent + self._reserved + worst > self.limit:
                raise NoBudget(f"the run may spend {format_usd(self.limit)} USD")
            self._reserved += worst
            try:
                call = await self._ask(key, item, sent, model.id)
            finally:
                self._reserved -= worst
            self.record.add(call)
            self.spent += cost(self.price, call.usage)
        return Answer(call.message, call.usage, cost(self.price, call.usage))

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
            raise ApiError(
                502, f"its answer is broken ({type(e).__name__})", "server_error", "upstream_invalid"
            ) from e
        return Call(
            key=key,
            item=item,
            tier="large",
            message=dict(with_calls(choice["message"], sent.get("tools"))),
            finish_reason=choice.get("finish_reason") or "stop",
            usage=usage or Usage(prompt_bound(model, sent), count_text(model, said)),
            ms=round((time.monotonic() - began) * 1000),
        )


@dataclass
class Sampler:
    """The cascade's `SmallTier`, and its `LargePlanner`, for one item."""

    tiers: Tiers
    item: str
    plan_cost: int = 0
    """Of the guidelines so far, in nano-USD."""

    async def generate(self, request: SmallRequest) -> Sample:
        """Generate one answer; see `proxy.cascade.types.SmallTier`."""
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
        return Sample(
            request.index,
            call.message,
            call.finish_reason,
            call.logprob,
            call.usage,
            lowest_logprob=lowest_run([logprob for logprob, _ in call.tokens]),
        )

    async def guideline(self, body: Json) -> str | None:
        """Pay for one guideline; see `proxy.cascade.types.LargePlanner`."""
        settings = self.tiers.settings
        asked, limit = plan_request(settings.large.model, body, settings.cascade.plan_max_tokens)
        answer = await self.tiers.ask(self.item, asked, limit)
        self.plan_cost += answer.cost
        return prompts.plan_in(answer.text) or ""


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
    account = accounts(settings)[settings.large_models[settings.large.model].upstream]
    price = resolve_prices(settings)[settings.large.model]
    small = settings.small
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)  # as in `service.gateway`
    # Each tier has its own limits; aiohttp's of five minutes would cut long answers off.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.large.connect_timeout_s)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=True) as session:
        pool = SmallPool.of(session, small)
        await pool.probe()
        watching = asyncio.create_task(pool.watch())
        try:
            yield Tiers(settings, pool, Upstream(session, account), price, record, runner, limit)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
