"""Ask the small model for inputs of the function that a request asks for, if the request shows none.

Only the inputs are used, never a result: programs are compared by what they do with them.
"""

import asyncio

from proxy.cascade import prompts
from proxy.cascade.protocols import AsksInputs, Estimator, SmallRequest, SmallTier
from proxy.cascade.types import Policy, Task
from proxy.errors import SmallRefusedError, SmallUnavailableError

_MOST_TOKENS = 200


class InputsRequest:
    """One request for inputs, sent beside the first samples if the estimator needs it."""

    def __init__(self, small: SmallTier, task: Task, policy: Policy, estimator: Estimator) -> None:
        self._asked: asyncio.Task[str] | None = None
        if isinstance(estimator, AsksInputs) and estimator.asks_inputs:
            self._asked = asyncio.ensure_future(_ask(small, task, policy))

    async def result(self) -> str:
        """Return what the small model wrote, or "" if it was not asked or could not answer."""
        # A vote that is cancelled leaves the request to the other votes.
        return "" if self._asked is None else await asyncio.shield(self._asked)

    async def cancel(self) -> None:
        """Cancel the request if it is still running."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.gather(self._asked, return_exceptions=True)


async def _ask(small: SmallTier, task: Task, policy: Policy) -> str:
    body = {
        "messages": prompts.inputs_request(task.body["messages"]),
        "max_tokens": _MOST_TOKENS,
        "temperature": policy.plan_temperature,
    }
    try:
        # Its index is the one after the samples, because it serves all of them.
        return (await small.generate(SmallRequest(1, "planner", policy.samples, body))).text
    except (SmallRefusedError, SmallUnavailableError):
        return ""
