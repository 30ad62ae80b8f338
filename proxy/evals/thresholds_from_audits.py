"""Thresholds from audits of real traffic: how often local answers agree with the large model, and the cost of requests.

An accepted answer that the large model does not confirm counts as regret. This is an upper limit of the regret, because the
large model can be the wrong one.
"""

import math
import statistics
from collections.abc import Sequence

import msgspec

from proxy.config.policy import NEVER
from proxy.ledger.audits import NO_ANSWER, Evidence
from proxy.stats import shares
from proxy.stats.betting import p_value
from proxy.stats.certify import MOST_TESTED, dearest, halves, levels, passing


class AuditLevel(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of a threshold on the audited requests.

    Attributes:
        threshold: the confidence. `NEVER` accepts nothing.
        audits: the number of requests that reached the stage.
        accepted: the number of them that the stage would answer.
        judged: the number of those answers that were compared with the large model's.
        agreed: the number of compared answers that agree.
        cost: the mean cost of a request in nano-USD, if all samples are drawn and the large model answers the rest.
            `None` if no audit has it.
        large_cost: the mean cost of the large model's answer.
    """

    threshold: float
    audits: int
    accepted: int
    judged: int
    agreed: int
    cost: float | None
    large_cost: float | None

    @property
    def alike(self) -> float | None:
        """The share of requests with the large model's answer or an equal one. `None` if no audit has compared them."""
        if not self.accepted:
            return 1.0
        if not self.judged:
            return None
        return 1 - self.accepted / self.audits * (1 - self.agreed / self.judged)


class AuditChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The threshold of one task kind and stage, from audits.

    Attributes:
        task: the task kind.
        stage: the stage.
        chosen: the lowest accepted confidence.
        certified: whether a test has shown that the target is met.
        estimated: the number of audits without a billed cost of the large model's answer.
        needed: about how many audits show the limit of the regret, if the stage accepts nothing without them. `None` if
            none is known, or the regret has no limit.
        frontier: the effect of each possible threshold, cheapest first. Without audits it is empty.
    """

    task: str
    stage: int
    chosen: float
    certified: bool
    estimated: int
    needed: int | None
    frontier: list[AuditLevel]


def from_audits(
    found: Sequence[Evidence],
    quality: float | None,
    *,
    regret: float | None = None,
    risk: float,
    seed: int = 0,
) -> tuple[AuditChoice, AuditChoice]:
    """Choose the lowest threshold of each stage whose accepted answers agree with the large model's often enough.

    At least one of the two targets is given. As in `calibrate`, one half of the audits orders the thresholds and the
    other half tests them. An answer that differs counts as a loss, although it may be as good. Stage 2 is tested on the
    requests that the chosen stage 1 escalates.

    Args:
        found: audits of one task kind, of accepted and rejected answers.
        quality: the share of the clear verdicts that has to agree, 0..1.
        regret: the highest share of accepted answers that differ or have an unclear verdict, 0..1.
        risk: the chance that a certified threshold misses a target, for each stage, 0..1.
        seed: for the random halves of the audits.
    """
    task = found[0].task
    at_first = [a for a in found if a.stage == 1]
    first = _least(at_first, quality, regret, risk, seed)
    at_second = _let_through(found, first)
    second = _least(at_second, quality, regret, risk, seed)
    return (
        _audit_choice(
            task, 1, at_first, first, certified=True, needed=_needed(at_first, first, regret, risk)
        ),
        _audit_choice(
            task, 2, at_second, second, certified=True, needed=_needed(at_second, second, regret, risk)
        ),
    )


def cost_from_audits(
    found: Sequence[Evidence], limit: float, *, regret: float | None = None, risk: float, seed: int = 0
) -> AuditChoice:
    """Choose the highest threshold of stage 1 with a mean cost of at most `limit` a request.

    The large model answers the rest, without a guideline. One half of the audits names thresholds and the other half
    tests them, from the cheapest one up. If none passes, every valid answer is accepted, because nothing costs less.
    With a limit of the regret, the thresholds that meet both best are tested first. If none passes, nothing is accepted.

    Args:
        found: audits of stage 1 and one task kind, as `priced` returns them.
        limit: the mean cost of a request in nano-USD.
        regret: the highest share of accepted answers that differ or have an unclear verdict, 0..1.
        risk: the chance that a certified threshold exceeds a limit, 0..1.
        seed: for the random halves of the audits.
    """
    most = dearest((_cost(a, NEVER) for a in found), limit)
    picking, testing = halves(found, seed)

    def p(threshold: float, some: Sequence[Evidence]) -> float:
        cheap = p_value((1 - min(1.0, _cost(a, threshold) / most) for a in some), 1 - limit / most)
        return cheap if regret is None else max(cheap, _p_regret(threshold, some, regret))

    ranked = [0.0, *_confidences(picking), NEVER]
    if regret is not None:
        ranked = sorted(ranked, key=lambda t: p(t, picking))[:MOST_TESTED]
    held = passing(ranked, lambda t: p(t, testing), risk)
    chosen = max(held, default=0.0 if regret is None else NEVER)
    needed = None if held else _needed(found, chosen, regret, risk)
    return _audit_choice(found[0].task, 1, found, chosen, certified=bool(held), needed=needed)


def priced(found: Sequence[Evidence]) -> list[Evidence]:
    """Return the audits with a known cost of their stage. Give those without a baseline the highest one.

    An answer that the client never got has no known price, for example because a budget forbade it. If no audit has a
    price, return none.
    """
    known = [p for a in found for p in (a.large_nano, a.baseline_nano) if p is not None]
    return [
        msgspec.structs.replace(a, baseline_nano=max(known)) if a.baseline_nano is None else a
        for a in found
        if a.spent_nano is not None and known
    ]


def _let_through(found: Sequence[Evidence], stage1: float) -> list[Evidence]:
    """Return the audits of stage 2 for the requests that stage 1 escalates with this threshold.

    Return none if stage 1 accepted some of them at the time, because stage 2 has not seen those.
    """
    accepted = {a.request_id: a.accepted for a in found if a.stage == 1 and a.confidence < stage1}
    if any(accepted.values()):
        return []
    return [a for a in found if a.stage == 2 and a.request_id in accepted]


def _least(
    audits: Sequence[Evidence], quality: float | None, regret: float | None, risk: float, seed: int
) -> float:
    def p(threshold: float, some: Sequence[Evidence]) -> float:
        differed = [float(not a.agreed) for a in some if a.confidence >= threshold and a.agreed is not None]
        alike = 0.0 if quality is None else shares.p_below(differed, 1 - quality)
        return alike if regret is None else max(alike, _p_regret(threshold, some, regret))

    clear = [a for a in audits if a.agreed is not None]
    picking, testing = halves(clear if regret is None else _answered(audits), seed)
    ranked = sorted({a.confidence for a in picking}, key=lambda t: p(t, picking))[:MOST_TESTED]
    return min(passing(ranked, lambda t: p(t, testing), risk), default=NEVER)


def _p_regret(threshold: float, some: Sequence[Evidence], limit: float) -> float:
    """Return the p-value of the hypothesis that the regret is not below the limit."""
    if threshold > 1:
        return 0.0  # nothing is accepted, so nothing is regretted
    return shares.p_below([float(not a.agreed) for a in some if a.confidence >= threshold], limit)


def _needed(audits: Sequence[Evidence], chosen: float, regret: float | None, risk: float) -> int | None:
    """Return about how many audits show the limit of the regret, if nothing is accepted and the audits stay as they are."""
    if regret is None or chosen <= 1:
        return None
    counts = []
    for threshold in _confidences(audits):
        accepted = [a for a in audits if a.confidence >= threshold]
        count = shares.needed(sum(not a.agreed for a in accepted) / len(accepted), regret, risk)
        if count is not None:
            # Half of the audits are kept for the test, and only a part of them is accepted.
            counts.append(math.ceil(2 * count * len(audits) / len(accepted)))
    return min(counts, default=None)


def _audit_choice(
    task: str, stage: int, audits: Sequence[Evidence], chosen: float, *, certified: bool, needed: int | None
) -> AuditChoice:
    thresholds = sorted({*_confidences(audits), NEVER, chosen}) if audits else []
    bills = priced(audits)
    frontier = [_level(audits, bills, threshold) for threshold in thresholds]
    return AuditChoice(
        task=task,
        stage=stage,
        chosen=chosen,
        certified=certified,
        estimated=sum(a.large_nano is None for a in bills),
        needed=needed,
        frontier=frontier,
    )


def _answered(audits: Sequence[Evidence]) -> list[Evidence]:
    return [a for a in audits if a.confidence > NO_ANSWER]


def _confidences(audits: Sequence[Evidence]) -> list[float]:
    return levels([a.confidence for a in _answered(audits)])


def _level(audits: Sequence[Evidence], bills: Sequence[Evidence], threshold: float) -> AuditLevel:
    accepted = [a for a in audits if a.confidence >= threshold]
    judged = [a.agreed for a in accepted if a.agreed is not None]
    return AuditLevel(
        threshold=threshold,
        audits=len(audits),
        accepted=len(accepted),
        judged=len(judged),
        agreed=sum(judged),
        cost=statistics.fmean(_cost(a, threshold) for a in bills) if bills else None,
        large_cost=statistics.fmean(map(_large, bills)) if bills else None,
    )


def _cost(bill: Evidence, threshold: float) -> int:
    """Return the cost of a stage and the large model behind it, in nano-USD."""
    return (bill.spent_nano or 0) + (_large(bill) if bill.confidence < threshold else 0)


def _large(bill: Evidence) -> int:
    return (bill.baseline_nano or 0) if bill.large_nano is None else bill.large_nano
