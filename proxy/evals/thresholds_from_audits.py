"""Thresholds from audits of real traffic: how often local answers agree with the large model, and the cost of requests."""

import statistics
from collections.abc import Sequence

import msgspec

from proxy.config.policy import NEVER
from proxy.ledger.audits import NO_ANSWER, Evidence
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
        frontier: the effect of each possible threshold, cheapest first. Without audits it is empty.
    """

    task: str
    stage: int
    chosen: float
    certified: bool
    estimated: int
    frontier: list[AuditLevel]


def from_audits(
    found: Sequence[Evidence], quality: float, *, risk: float, seed: int = 0
) -> tuple[AuditChoice, AuditChoice]:
    """Choose the lowest threshold of each stage whose accepted answers agree with the large model's often enough.

    As in `calibrate`, one half of the audits orders the thresholds and the other half tests them. An answer that differs
    counts as a loss, although it may be as good. Stage 2 is tested on the requests that the chosen stage 1 escalates.

    Args:
        found: audits of one task kind, of accepted and rejected answers.
        quality: the share of answers that has to agree, 0..1.
        risk: the chance that a certified threshold misses the quality, for each stage, 0..1.
        seed: for the random halves of the audits.
    """
    task = found[0].task
    at_first = [a for a in found if a.stage == 1]
    first = _least(at_first, quality, risk, seed)
    at_second = _let_through(found, first)
    second = _least(at_second, quality, risk, seed)
    return (
        _audit_choice(task, 1, at_first, first, certified=True),
        _audit_choice(task, 2, at_second, second, certified=True),
    )


def cost_from_audits(found: Sequence[Evidence], limit: float, *, risk: float, seed: int = 0) -> AuditChoice:
    """Choose the highest threshold of stage 1 with a mean cost of at most `limit` a request.

    The large model answers the rest, without a guideline. One half of the audits names thresholds and the other half
    tests them, from the cheapest one up. If none passes, every valid answer is accepted, because nothing costs less.

    Args:
        found: audits of stage 1 and one task kind, as `priced` returns them.
        limit: the mean cost of a request in nano-USD.
        risk: the chance that a certified threshold exceeds the limit, 0..1.
        seed: for the random halves of the audits.
    """
    most = dearest((_cost(a, NEVER) for a in found), limit)
    picking, testing = halves(found, seed)
    held = passing(
        [0.0, *_confidences(picking), NEVER],
        lambda t: p_value((1 - min(1.0, _cost(a, t) / most) for a in testing), 1 - limit / most),
        risk,
    )
    chosen = max(held, default=0.0)
    return _audit_choice(found[0].task, 1, found, chosen, certified=bool(held))


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


def _least(audits: Sequence[Evidence], quality: float, risk: float, seed: int) -> float:
    def p(threshold: float, some: Sequence[Evidence]) -> float:
        return p_value((float(bool(a.agreed)) for a in some if a.confidence >= threshold), quality)

    picking, testing = halves([a for a in audits if a.agreed is not None], seed)
    ranked = sorted({a.confidence for a in picking}, key=lambda t: p(t, picking))[:MOST_TESTED]
    return min(passing(ranked, lambda t: p(t, testing), risk), default=NEVER)


def _audit_choice(
    task: str, stage: int, audits: Sequence[Evidence], chosen: float, *, certified: bool
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
        frontier=frontier,
    )


def _confidences(audits: Sequence[Evidence]) -> list[float]:
    return levels([a.confidence for a in audits if a.confidence > NO_ANSWER])


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
