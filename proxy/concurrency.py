"""Small helpers for asyncio tasks."""

import asyncio
from typing import Any


async def reap(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks and wait until all of them have ended. Their results and exceptions are dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
