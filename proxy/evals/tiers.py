"""The two tiers of a run. Every call goes through the record, so that none is made or paid twice."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from proxy.backends.session import open_session
from proxy.backends.small_pool import SmallPool
from proxy.backends.upstream import Upstream
from proxy.cascade.protocols import Runner
from proxy.cascade.toolcalls import with_calls
from proxy.cascade.types import Json
from proxy.config.prices import PriceBook, small_price
from proxy.config.schema import LargeModel, Settings
from proxy.errors import NO_RETRY, ApiError, upstream_invalid
from proxy.evals.record import Answer, Record, key_of
from proxy.evals.run_budget import RunBudget
from proxy.formats.base import CallLimits
from proxy.formats.chat import Chat
from proxy.formats.lenient import decode_object
from proxy.pricing.prices import Price
from proxy.pricing.tokens import hides_reasoning
from proxy.service.state import upstream_apis
from proxy.spending.calls import complete
from proxy.spending.limits import call_limits
from proxy.spending.paid import Spending, paid

log = logging.getLogger(__name__)

DRAIN_S = 30.0
"""How long paid calls may go on after their run is stopped. They are billed anyway, and would be paid again."""
_PASSING = frozenset({429, 502, 503, 529})
_PAUSE_S = 1.0


@dataclass(kw_only=True)
class Tiers:
    """Both models of a run, its record and its budget."""

    settings: Settings
    small: SmallPool
    small_price: Price
    spending: Spending
    """The parts that paid calls share. Each call gets its own item, deadline and list of records."""
    record: Record
    runner: Runner | None = None
    _paying: dict[str, asyncio.Task[Answer]] = field(default_factory=dict, init=False)
    """By key, so that a second call for the same answer waits for the first."""
    _sent: set[str] = field(default_factory=set, init=False)
    """The keys of calls that were sent and may be billed."""

    @property
    def large(self) -> LargeModel:
        """The large model."""
        return self.settings.large_models[self.settings.large.model]

    async def call_large(
        self, item: str, body: Json, max_tokens: int, model: LargeModel | None = None
    ) -> Answer:
        """Return the answer of the large model, or of another paid `model`, from the record if it is there.

        Wait through a short outage, and for money that other calls have reserved.

        Raises:
            NoBudgetError: the worst case of the call exceeds the budget of the run.
            ApiError: there is no answer. The error is `passing` after an outage longer than `large.timeout_s`.
        """
        model = model or self.large
        sent = {**body, "model": model.id, "max_completion_tokens": max_tokens}
        if hides_reasoning(model.id, sent):
            sent.pop("temperature", None)  # these models refuse one
        key = key_of("large", model.id if model == self.large else model.name, sent)
        answer = self.record.find(key)
        if answer is None:
            paying = self._paying.get(key)
            if paying is None:
                paying = asyncio.create_task(self._pay(key, item, model, sent, max_tokens))
                self._paying[key] = paying
                paying.add_done_callback(lambda ended: self._ended(key, ended))
            answer = await asyncio.shield(paying)  # a cancelled item does not lose a paid answer
        return answer

    async def drain(self) -> None:
        """Let the paid calls in progress finish, for at most `DRAIN_S` seconds."""
        in_progress = list(self._paying.items())
        for key, paying in in_progress:
            if key not in self._sent:
                paying.cancel()
        if in_progress:
            tasks = [paying for _, paying in in_progress]
            _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
            for paying in late:
                paying.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pay(self, key: str, item: str, model: LargeModel, sent: Json, max_tokens: int) -> Answer:
        """Pay for one answer. Retry while the upstream is unavailable, for at most `large.timeout_s` seconds."""
        limits = await call_limits(self.spending, model, Chat(), sent, default_output=max_tokens)
        # A cut answer would not compare with the others: the budget has to cover the complete one.
        limits = replace(limits, least=limits.asked)
        until: float | None = None
        while True:
            try:
                return await self._pay_once(key, item, model, sent, limits)
            except ApiError as e:
                if not passing(e):
                    raise
                if until is None:
                    log.warning("%s does not answer; the run waits for it: %s", model.name, e.message)
                    until = time.monotonic() + self.settings.large.timeout_s
                elif time.monotonic() > until:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def _pay_once(
        self, key: str, item: str, model: LargeModel, sent: Json, limits: CallLimits
    ) -> Answer:
        deadline = time.monotonic() + self.settings.large.timeout_s
        spending = replace(self.spending, request_id=item, deadline=deadline, calls=[])
        async with paid(
            spending, stage=3, role="executor", model=model, format_=Chat(), limits=limits
        ) as call:
            self._sent.add(key)
            try:
                choice = decode_object(await complete(call, limits.within(sent, limits.asked)))["choices"][0]
                message = dict(with_calls(choice["message"], sent.get("tools")))
            except (LookupError, TypeError, ValueError, AttributeError) as e:
                raise upstream_invalid() from e
            finally:
                self._sent.discard(key)
        (record,) = spending.calls
        answer = Answer(
            key=key,
            item=item,
            tier="large",
            message=message,
            finish_reason=record.finish_reason or "stop",
            usage=record.usage,
            cost=record.cost,
        )
        self.record.add(answer)
        self.record.set_unsettled(record.id, 0)
        return answer

    def _ended(self, key: str, paying: asyncio.Task[Answer]) -> None:
        del self._paying[key]
        if not paying.cancelled():
            paying.exception()  # otherwise asyncio warns if the item was cancelled meanwhile


def passing(e: ApiError) -> bool:
    """Return True if the same call may succeed later: the upstream is unavailable for now, and nothing was billed."""
    refused = e.headers.get("x-should-retry") == NO_RETRY["x-should-retry"] or e.code == "insufficient_quota"
    return e.status in _PASSING and not refused and not e.billed


@asynccontextmanager
async def open_tiers(
    settings: Settings, record: Record, runner: Runner | None, budget: RunBudget
) -> AsyncIterator[Tiers]:
    """Open both tiers of the settings.

    Raises:
        ConfigError: a large model has no price, or the key of an upstream is not set.
    """
    apis, prices = upstream_apis(settings), PriceBook(settings)
    async with open_session(settings.large.connect_timeout_s) as session:
        pool = SmallPool.of(session, settings.small)
        await pool.probe()
        watching = asyncio.create_task(pool.watch())
        spending = Spending(
            prices=prices,
            upstreams={name: Upstream(session, api) for name, api in apis.items()},
            budget=budget,
            request_id="",
            key_id=None,
            deadline=0.0,
        )
        tiers = Tiers(
            settings=settings,
            small=pool,
            small_price=small_price(settings),
            spending=spending,
            record=record,
            runner=runner,
        )
        try:
            yield tiers
        finally:
            await tiers.drain()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
