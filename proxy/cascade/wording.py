"""An answer in words for a result that only programs have computed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proxy.cascade import prompts
from proxy.cascade.protocols import Estimator, SmallRequest, SmallTier
from proxy.cascade.sampling import Verdict
from proxy.cascade.types import Ballot, Policy, Sample, Task
from proxy.records import Stage


async def in_words(
    stage: Stage,
    verdict: Verdict,
    *,
    task: Task,
    policy: Policy,
    estimator: Estimator,
    small: SmallTier,
    fields: Mapping[str, Any],
) -> Verdict:
    """Return a verdict whose winner is an answer for a client. A winner in another form may only vote.

    If the verdict accepts such a winner, the small model words its result. The verdict is refused if the words state
    another result. The winner is then the best answer for a client among the samples. Its confidence is 0, because
    another result leads.

    A ballot that is always held in full, as for an audit, is judged at other thresholds later. Its winner is therefore
    worded in any case.
    """
    winner, ballot = verdict.standing.winner, verdict.ballot
    if winner is None or is_answer(estimator, winner):
        return verdict
    result = dict(zip((s.index for s in ballot.samples), ballot.votes, strict=True))[winner.index]
    if result is not None and (verdict.accepted or not policy.early_stop):
        prompt = prompts.appended(task.body["messages"], prompts.WORDED.format(result=result))
        body = {**fields, "messages": prompt, "temperature": policy.stages[stage - 1].temperature}
        worded = await small.generate(SmallRequest(stage, "executor", winner.index, body))
        if await estimator.vote(task, replace(worded, index=0), (result,)) == result:
            return replace(verdict, standing=replace(verdict.standing, winner=worded))
    pairs = [p for p in zip(ballot.samples, ballot.votes, strict=True) if is_answer(estimator, p[0])]
    answers = Ballot(tuple(sample for sample, _ in pairs), tuple(vote for _, vote in pairs))
    standing = estimator.standing(answers, policy.samples)
    return Verdict(False, ballot, replace(standing, low=0.0, high=0.0))


def is_answer(estimator: Estimator, sample: Sample) -> bool:
    """Return True if a sample has the first form, which is that of answers for clients."""
    return not estimator.forms or sample.index % len(estimator.forms) == 0
