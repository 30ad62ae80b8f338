"""What early stopping saves: `python benchmarks/sampling.py RUN DATA...`.

RUN is a folder of `cope-proxy eval`, which draws all n samples; DATA are its data sets. Each ballot is held again at the
usual threshold of its stage, its samples coming in their order: all of them, stopped when the verdict is certain, and
stopped by odds. Printed are samples and tokens as shares of drawing all, and how many verdicts differ.
"""

import asyncio
import sys
from collections import defaultdict
from pathlib import Path

from proxy.cascade import detection
from proxy.cascade.kinds import estimator_for
from proxy.cascade.protocols import Estimator
from proxy.cascade.sampling import draw
from proxy.cascade.types import Sample
from proxy.evals import trial
from proxy.evals.items import load
from proxy.pricing.prices import Usage

RULES = {
    "all n": {"early_stop": False},
    "when certain": {"early_stop": True},
    "by odds, 5 %": {"early_stop": True, "stop_error": 0.05},
}


class Replayed:
    """An estimator whose votes are known already; the rest is the real one's."""

    def __init__(self, real: Estimator, votes: list[str | None]) -> None:
        self.standing, self.needed, self.wanted = real.standing, real.needed, real.wanted
        self._votes = votes

    async def vote(self, task, sample, groups):
        return self._votes[sample.index]


async def main() -> None:
    run, *data = map(Path, sys.argv[1:])
    items = {item.id: item for item in load(data)}
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for one in trial.read(run):
        task = detection.with_kind(detection.detect(items[one.item].request()), items[one.item].task)
        # Nothing is run here: that there is a sandbox only tells which estimator held the ballot.
        able = [estimator_for(task, runner) for runner in (object(), None)]  # type: ignore[arg-type]
        real = next(estimator for estimator in able if estimator.default_thresholds == one.usual)
        for name, stage in (("plain", 0), ("first", 0), ("second", 1)):
            if (vote := getattr(one, name)) is None:
                continue
            drawn = vote.samples

            async def sample(index: int, drawn=drawn) -> Sample:
                usage = Usage(completion_tokens=drawn[index].tokens)
                return Sample(
                    index=index,
                    message={"content": ""},
                    finish_reason="stop",
                    logprob=drawn[index].logprob,
                    usage=usage,
                )

            verdicts = {
                rule: await draw(
                    task, Replayed(real, [d.vote for d in drawn]), sample=sample,
                    total=len(drawn), threshold=one.usual[stage], inclusive=True, **how,
                )
                for rule, how in RULES.items()
            }  # fmt: skip
            for rule, verdict in verdicts.items():
                found = verdict.ballot.samples
                tokens = sum(s.usage.completion_tokens for s in found)
                differs = verdict.accepted != verdicts["all n"].accepted
                for i, value in enumerate((1, len(found), tokens, differs)):
                    sums[one.task, name, rule][i] += value
    print(
        "| task | ballot | rule | ballots | samples | tokens | other verdict |\n| --- | --- | --- | ---: | ---: | ---: | ---: |"
    )
    for (kind, name, rule), (count, found, tokens, differ) in sums.items():
        _, most, all_tokens, _ = sums[kind, name, "all n"]
        shares = f"{100 * found / most:.0f} % | {100 * tokens / all_tokens:.0f} %"
        print(f"| {kind} | {name} | {rule} | {count} | {shares} | {differ} |")


if __name__ == "__main__":
    asyncio.run(main())
