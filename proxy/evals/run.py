"""A run: all items through both tiers, some at a time, until they are done or the money is."""

import asyncio
from collections.abc import Callable, Sequence

from proxy.cascade.types import MissingLogprobsError
from proxy.errors import ApiError, NoBudgetError, SmallRefusedError, SmallUnavailableError
from proxy.evals import trial
from proxy.evals.grading import Graders
from proxy.evals.items import Item
from proxy.evals.tiers import Tiers, passing
from proxy.evals.trial import Trial

Told = Callable[[Item, str | None], None]
"""Is told of each item that is done, and of its problem if it has failed."""


async def collect(
    items: Sequence[Item],
    tiers: Tiers,
    done: dict[str, Trial],
    *,
    samples: int | None,
    at_once: int,
    told: Told,
) -> bool:
    """Put a trial into `done`, by its id, for each item that both tiers answered; so it is kept when this is cancelled.

    An item that fails is reported and left out; one that no money is left for ends the run, and so does a
    large model that stays away.

    Returns:
        Whether it stayed.
    """
    graders = Graders(tiers)
    slots = asyncio.Semaphore(at_once)
    broke, away = asyncio.Event(), asyncio.Event()

    async def one(item: Item) -> None:
        async with slots:
            if broke.is_set() or away.is_set():
                return
            problem = None
            try:
                done[item.id] = await trial.run(item, tiers, graders.grade, samples)
            except* NoBudgetError as group:
                broke.set()
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
                    away.set()
            told(item, problem)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))
    return not away.is_set()
