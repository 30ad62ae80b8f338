"""Thresholds from audits of logged traffic: how many local answers agree with the large model's, and what requests cost."""

import statistics
from collections.abc import Sequence

import msgspec

from proxy.config.policy import NEVER
from proxy.ledger.audits import NO_ANSWER, Evidence
from proxy.stats.betting import p_value
from proxy.stats.certify import MOST_TESTED, dearest, halves, levels, passing


class AuditLevel(msgspec.Struct, frozen=True):
    """What accepting from a threshold on would come to, in audited requests.

    Attributes:
        threshold: the confidence; `NEVER` where nothing is accepted.
        audits: the requests that reached the stage.
        accepted: how many of them it would have answered.
        judged: how many of those answers were compared with the large model's.
        agreed: how many of these are the same.
        cost: of a request, in nano-USD, all samples drawn, where the large model answers all that is refused; `None`
            where no audit says.
        large_cost: of the large model's answer to one.
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
        """The share of requests answered as by the large model, itself included; `None` where no audit says."""
        if not self.accepted:
            return 1.0
        if not self.judged:
            return None
        return 1 - self.accepted / self.audits * (1 - self.agreed / self.judged)


class AuditChoice(msgspec.Struct, frozen=True):
    """What audits say of one task kind and stage.

    Attributes:
        task: the kind.
        stage: the stage.
        chosen: the threshold to accept from.
        certified: whether it was tested that the target holds.
        estimated: for how many audits the price of the large model's answer is not what it was billed.
        frontier: what the confidences to choose from would come to, cheapest first; none without audits.
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
    """Choose for each stage the lowest confidence from which a share of `quality` agrees with the large model's answers.

    As in `calibrate`, half of the audits say in which order thresholds are tested, and the other half tests them. An
    answer that differs counts as a loss, though it may be as good. Stage 2 is tested on the requests that the stage 1
    chosen here lets through.

    Args:
        found: audits of one task kind, of accepted and refused answers.
        quality: the share that has to agree, 0..1.
        risk: the chance, for each stage, of certifying a threshold that does not hold it, 0..1.
        seed: of the lot that halves the audits.
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
    """Choose the highest confidence from which stage 1 has to accept for a request to cost no more than `limit` on average.

    The large model answers all that is refused, without a guideline. Tested as in `calibrate`: from the cheapest threshold
    up, on the half of the audits that did not name them. Where none holds, every valid answer is accepted: nothing costs
    less.

    Args:
        found: audits of stage 1 and one task kind, as `priced` returns them.
        limit: nano-USD of a request.
        risk: the chance of certifying a threshold that does not hold it, 0..1.
        seed: of the lot that halves the audits.
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
    """Return the audits that say what their stage cost, each with a baseline: the dearest one where it has none.

    Nobody knows the price of an answer that the client never got, such as one that a budget forbade. Without any price there
    are none.
    """
    known = [p for a in found for p in (a.large_nano, a.baseline_nano) if p is not None]
    return [
        msgspec.structs.replace(a, baseline_nano=max(known)) if a.baseline_nano is None else a
        for a in found
        if a.spent_nano is not None and known
    ]


def _let_through(found: Sequence[Evidence], stage1: float) -> list[Evidence]:
    """Return stage 2's audits of the requests that such a stage 1 refuses; none when it used to accept some of them.

    What stage 2 would have made of those, nobody knows.
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
    return AuditChoice(task, stage, chosen, certified, sum(a.large_nano is None for a in bills), frontier)


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
    """Return what a stage, and the large model behind it, cost in nano-USD."""
    return (bill.spent_nano or 0) + (_large(bill) if bill.confidence < threshold else 0)


def _large(bill: Evidence) -> int:
    return (bill.baseline_nano or 0) if bill.large_nano is None else bill.large_nano
