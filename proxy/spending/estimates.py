"""What a call has used at most if its client left before the upstream reported anything."""

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

from proxy.pricing.prices import Usage
from proxy.pricing.tokens import count_text
from proxy.spending.paid import PaidCall

TOKENS_PER_S = 1000
"""The output of one choice, in tokens a second. Hosted models of 2026 write 30 to 300, and the fastest about 1000."""


async def used_by_now(call: PaidCall, body: Mapping[str, Any], *, seen: int = 0) -> Usage:
    """Return the most that a call has used which its client has left: its prompt, and the output that fits into its time.

    Closing the connection stops the upstream. The output is at least the `seen` tokens and at most the reserved ones.
    A request that is not out, or that was refused and waits for a retry, has used nothing.
    """
    if not call.delivery.sent:
        return Usage()
    passed_s = time.monotonic() - call.began
    output = max(seen, call.choices * math.ceil(passed_s * TOKENS_PER_S))
    return Usage(prompt_tokens=await count_prompt(call, body), completion_tokens=min(output, call.output))


async def count_prompt(call: PaidCall, body: Mapping[str, Any]) -> int:
    """Count a prompt whose usage was not reported. The reserved limit is the most it can be."""
    return min(call.prompt_limit, await asyncio.to_thread(call.format.count, call.model.id, body))


async def count_output(call: PaidCall, generated: str) -> int:
    """Count the tokens of a generated text in a thread: a long one takes too much time for the event loop."""
    return await asyncio.to_thread(count_text, call.model.id, generated)
