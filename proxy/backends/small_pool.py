"""The small tier: running vLLM (or any OpenAI-compatible) servers, balanced by load."""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import msgspec

from proxy.config.schema import Small
from proxy.errors import SmallRefusedError, SmallUnavailableError
from proxy.formats.sse import DONE, Accumulator, events
from proxy.vllm.launch import served_name

PROBE_EVERY_S = 2.0
PROBE_TIMEOUT_S = 2.0
MISSED_PROBES = 3
"""A server is unhealthy after this many unanswered probes in a row. A busy one misses a few."""


@dataclass
class Server:
    """One server of the small tier, its load and its health."""

    url: str
    in_flight: int = 0
    healthy: bool = False
    missed: int = 0


class SmallPool:
    """Send each generation to the healthy server with the fewest requests in flight."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: tuple[str, ...],
        model: str,
        api_key: str | None,
        timeout_s: float,
    ) -> None:
        self.model = model
        self._session = session
        self._servers = [Server(url.rstrip("/")) for url in urls]
        self._headers = {"content-type": "application/json"} | (
            {"authorization": f"Bearer {api_key}"} if api_key else {}
        )
        self._timeout_s = timeout_s
        self._change = asyncio.Event()

    @classmethod
    def of(cls, session: aiohttp.ClientSession, small: Small) -> Self:
        """Return the pool for the settings."""
        key = os.environ.get(small.api_key_env) if small.api_key_env else None
        return cls(session, small.base_urls, served_name(small), key, small.timeout_s)

    @property
    def available(self) -> bool:
        """Whether any server is healthy."""
        return any(s.healthy for s in self._servers)

    async def wait_available(self, timeout_s: float) -> bool:
        """Wait until a server is healthy. Return False if none is in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self.available:
                    self._change.clear()
                    await self._change.wait()
        except TimeoutError:
            return False
        return True

    async def watch(self) -> None:
        """Probe all servers until cancelled. An unhealthy server gets no requests until it answers again."""
        while True:
            await self.probe()
            await asyncio.sleep(PROBE_EVERY_S)

    async def probe(self) -> None:
        """Probe every server once."""
        await asyncio.gather(*(self._probe(s) for s in self._servers))
        self._change.set()

    async def _probe(self, server: Server) -> None:
        try:
            async with self._session.get(
                f"{server.url}/models",
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(PROBE_TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                moved = 300 <= response.status < 400
                server.healthy, server.missed = response.status < 500 and not moved, 0
        except TimeoutError:
            server.missed += 1
            server.healthy = server.healthy and server.missed < MISSED_PROBES
        except (aiohttp.ClientError, OSError):
            server.healthy = False

    async def stream(self, body: Mapping[str, Any], into: Accumulator) -> None:
        """Generate one answer into an accumulator. Cancelling closes the connection, which aborts it in vLLM.

        Raises:
            SmallRefusedError: the model rejects this request.
            SmallUnavailableError: no server answers, or its answer is incomplete.
        """
        server = min((s for s in self._servers if s.healthy), key=lambda s: s.in_flight, default=None)
        if server is None:
            raise SmallUnavailableError("no server of the small tier is available")
        payload = msgspec.json.encode(
            {
                **body,
                "messages": [_known_role(m) for m in body["messages"]],
                "model": self.model,
                "stream": True,
                "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            }
        )
        server.in_flight += 1
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s), await self._post(server, payload) as response:
                if response.status >= 300:
                    await self._refuse(response)
                async for data in events(response.content.iter_any()):
                    if data == DONE:
                        break
                    into.add(data)
        except TimeoutError:
            spent = time.monotonic() - started
            raise SmallUnavailableError(f"the small model gave no complete answer in {spent:.0f} s") from None
        except (aiohttp.ClientConnectionError, OSError) as e:
            server.healthy = False
            raise SmallUnavailableError(
                f"the small model's server closed the connection ({type(e).__name__})"
            ) from e
        except (aiohttp.ClientError, ValueError) as e:
            raise SmallUnavailableError(f"the small model's answer is broken ({type(e).__name__})") from e
        finally:
            server.in_flight -= 1
        if into.error is not None or into.finish_reason is None:
            raise SmallUnavailableError("the small model's answer is incomplete")

    async def _post(self, server: Server, payload: bytes) -> aiohttp.ClientResponse:
        """Send a request, and send it again if the server closed the connection before its first byte.

        A server may close an idle connection at the moment it is used again. This is no sign of a problem.
        A redirect is not followed: it could take the key and the prompt to another machine.
        """
        url = f"{server.url}/chat/completions"
        try:
            return await self._session.post(url, data=payload, headers=self._headers, allow_redirects=False)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await self._session.post(url, data=payload, headers=self._headers, allow_redirects=False)

    async def _refuse(self, response: aiohttp.ClientResponse) -> None:
        text = (await response.text())[:300]
        if response.status in (400, 404, 413, 422):
            raise SmallRefusedError(f"small model: {_message(text)}")
        raise SmallUnavailableError(f"the small model's server answered {response.status}")


def _known_role(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a developer message as a system message: open models' chat templates lack the role."""
    return {**message, "role": "system"} if message["role"] == "developer" else message


def _message(text: str) -> str:
    try:
        error = msgspec.json.decode(text)
        return str(error.get("message") or error["error"]["message"])[:200]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return text[:200]
