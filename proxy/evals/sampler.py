"""The tiers of a run as the cascade's ports."""

from dataclasses import dataclass, field
from functools import partial

from proxy.backends.affinity import Place, Server, call_headers
from proxy.cascade import prompts
from proxy.cascade.confidence.open import lowest_run
from proxy.cascade.protocols import SmallRequest
from proxy.cascade.types import NO_GUIDELINE_NEEDED, Guideline, Json, Sample
from proxy.config.schema import LargeModel
from proxy.evals.record import Answer, key_of
from proxy.evals.tiers import Tiers
from proxy.formats.chat import Chat
from proxy.formats.sse import Accumulator
from proxy.ids import new_id
from proxy.pricing.prices import cost
from proxy.records import Stage
from proxy.service.small_sampler import sample_of
from proxy.spending.planner import plan_request

TOP_LOGPROBS = 10


@dataclass
class Sampler:
    """The cascade's `SmallTier` and `LargePlanner` for one item. It adds up their costs in nano-USD."""

    tiers: Tiers
    item: str
    body: Json
    """The item's request."""
    planner: LargeModel
    """The model that writes the guidelines."""
    place: Place
    """The small model's server for all calls of the item."""
    plan_cost: int = 0
    """Of the guidelines."""
    small_cost: dict[Stage, int] = field(default_factory=dict)
    """Of the small model's calls, by stage."""

    async def generate(self, request: SmallRequest) -> Sample:
        """Generate one answer. See `proxy.cascade.protocols.SmallTier`."""
        pool, record = self.tiers.small, self.tiers.record
        body = request.body
        if request.role == "executor":
            body = {**body, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        key = key_of("small", pool.model, body, request.index)
        answer = record.find(key)
        if answer is None:
            # A long run may see the engine restart.
            await pool.wait_available(self.tiers.settings.small.timeout_s)
            into = await self.place.call(partial(self._call, body))
            sample = sample_of(request, into)
            answer = Answer(
                key=key,
                item=self.item,
                tier="small",
                message=dict(sample.message),
                finish_reason=sample.finish_reason,
                usage=sample.usage,
                logprob=sample.logprob,
                tokens=[_peaked(t) for t in into.logprobs if t.get("logprob") is not None]
                if request.role == "executor"
                else [],
            )
            record.add(answer)
        price = cost(self.tiers.small_price, answer.usage)
        self.small_cost[request.stage] = self.small_cost.get(request.stage, 0) + price
        return Sample(
            index=request.index,
            message=answer.message,
            finish_reason=answer.finish_reason,
            logprob=answer.logprob,
            usage=answer.usage,
            lowest_logprob=lowest_run([logprob for logprob, _ in answer.tokens]),
        )

    async def _call(self, body: Json, server: Server) -> Accumulator:
        into = Accumulator()
        if priority := self.tiers.settings.small.eval_priority:
            body = {**body, "priority": priority}
        await self.tiers.small.stream(server, body, into, call_headers(self.place, new_id("call")))
        return into

    async def guideline(self) -> Guideline | None:
        """Pay for one guideline. See `proxy.cascade.protocols.LargePlanner`."""
        tiers, planner = self.tiers, self.planner
        request, limit = plan_request(
            planner.id,
            self.body,
            tiers.settings.cascade.plan_max_tokens,
            format_=Chat(),
            answers_too=planner == tiers.large,
        )
        answer = await tiers.call_large(self.item, request, limit, planner)
        self.plan_cost += answer.cost or 0
        return prompts.plan_in(answer.text) or NO_GUIDELINE_NEEDED


def _peaked(token: Json) -> tuple[float, float]:
    likeliest = [t["logprob"] for t in token.get("top_logprobs") or () if t.get("logprob") is not None] or [
        token["logprob"]
    ]
    return round(token["logprob"], 4), round(-sum(likeliest) / len(likeliest), 4)
