"""A run: all items through both tiers, a few at a time, until they are done or the money is spent."""

import asyncio
from collections.abc import Callable, Sequence

from proxy.cascade.types import MissingLogprobsError
from proxy.errors import ApiError, NoBudgetError, SmallRefusedError, SmallUnavailableError
from proxy.evals import trial
from proxy.evals.grading import Graders
from proxy.evals.items import Item
from proxy.evals.tiers import Tiers, passing
from proxy.evals.trial import Trial

Report = Callable[[Item, str | None], None]
"""Is called for each finished item, with its problem if it has failed."""


async def collect(
    items: Sequence[Item],
    tiers: Tiers,
    done: dict[str, Trial],
    *,
    samples: int | None,
    at_once: int,
    report: Report,
) -> bool:
    """Put the trial of each item into `done`, by the item's id. It stays there if this coroutine is cancelled.

    An item that fails is reported and skipped. The run ends if the money is spent or the large model stays unavailable.

    Returns:
        Whether the large model was available.
    """
    graders = Graders(tiers)
    slots = asyncio.Semaphore(at_once)
    spent, unavailable = asyncio.Event(), asyncio.Event()

    async def one(item: Item) -> None:
        async with slots:
            if spent.is_set() or unavailable.is_set():
                return
            problem = None
            try:
                done[item.id] = await trial.run(item, tiers, graders.grade, samples)
            except* NoBudgetError as group:
                spent.set()
                problem = str(group.exceptions[0])
            except* (
                ApiError,
                SmallRefusedError,
                SmallUnavailableError,
                MissingLogprobsError,
                ValueError,
            ) as group:
                problem = "; ".join(f"{type(e).__name__}: {e}" for e in group.exceptions)
                if any(isinstance(e, ApiError) and passing(e) for e in group.exceptions):
                    unavailable.set()
            report(item, problem)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))
    return not unavailable.is_set()
