"""The small tier: running vLLM (or any OpenAI-compatible) servers. Each request stays at one of them."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import aiohttp
import msgspec

from proxy.backends.affinity import Place, Server
from proxy.backends.proxies import proxy_for
from proxy.config.schema import Small
from proxy.errors import SmallRefusedError, SmallTimeoutError, SmallUnavailableError
from proxy.formats.sse import DONE, MAX_EVENT_BYTES, Accumulator, events
from proxy.tracing.trace import NO_HEADERS
from proxy.vllm.launch import served_name

_BOM = b"\xef\xbb\xbf"
_MOST_ERROR_BYTES = 2**16
_UNFINISHED = frozenset({"abort", "aborted", "cancelled", "error"})
"""Finish reasons of answers that a server has given up."""
PROBE_EVERY_S = 2.0
PROBE_TIMEOUT_S = 2.0
MISSED_PROBES = 3
"""A server is unhealthy after this many unanswered probes in a row. A busy one misses a few."""


class SmallPool:
    """Send all generations of a request, and the turns of its conversation, to one healthy server."""

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
        self._servers = tuple(
            Server(url, proxy_for(url)) for url in dict.fromkeys(u.rstrip("/") for u in urls)
        )
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
                proxy=server.proxy,
                allow_redirects=False,
            ) as response:
                moved = 300 <= response.status < 400
                server.healthy, server.missed = response.status < 500 and not moved, 0
        except TimeoutError:
            server.missed += 1
            server.healthy = server.healthy and server.missed < MISSED_PROBES
        except (aiohttp.ClientError, OSError):
            server.healthy = False

    @contextmanager
    def placed(self, key: str) -> Iterator[Place]:
        """Give a request of a conversation its place. It counts as load of its server until the context ends."""
        place = Place(key, self._servers)
        try:
            yield place
        finally:
            place.leave()

    async def stream(
        self,
        server: Server,
        body: Mapping[str, Any],
        into: Accumulator,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """Generate one answer into an accumulator. Cancelling closes the connection, which aborts it in vLLM.

        Raises:
            SmallRefusedError: the model rejects this request.
            SmallTimeoutError: the answer takes too long.
            SmallUnavailableError: the server does not answer, or its answer is an error, incomplete or empty.
        """
        payload = self._payload(body)
        ended = False
        started = time.monotonic()
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                await self._post(server, payload, headers) as response,
            ):
                if response.status >= 300:
                    await self._refuse(response)
                async for data in _payloads(response.content):
                    if data == DONE:
                        ended = True
                        break
                    into.add(data)
        except aiohttp.ClientConnectionError as e:
            raise _lost(server, e) from e
        except TimeoutError:
            spent = time.monotonic() - started
            raise SmallTimeoutError(f"the small model gave no complete answer in {spent:.0f} s") from None
        except OSError as e:
            raise _lost(server, e) from e
        except (aiohttp.ClientError, ValueError) as e:
            raise SmallUnavailableError(f"the small model's answer is broken ({type(e).__name__})") from e
        if into.error is not None:
            raise SmallUnavailableError(f"the small model's server sent an error: {_words(into.error)}")
        if into.finish_reason in _UNFINISHED:
            raise SmallUnavailableError(
                f"the small model's server ended its answer early ({into.finish_reason})"
            )
        something = bool(into.text or into.tool_calls)
        # Some servers give no finish reason. The answer is complete if its stream was ended.
        if into.finish_reason is None and not (ended and something):
            raise SmallUnavailableError("the small model's answer is incomplete")
        # A model may say nothing, but then its server reports the tokens.
        if not something and not into.generated and into.usage is None:
            raise SmallUnavailableError("the small model's answer has no message")

    def _payload(self, body: Mapping[str, Any]) -> bytes:
        asked = {
            **body,
            "messages": [_known_role(m) for m in body["messages"]],
            "model": self.model,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        try:
            return msgspec.json.encode(asked)
        except (ValueError, TypeError, OverflowError, RecursionError) as e:
            raise SmallRefusedError(f"the request cannot be written as JSON ({type(e).__name__})") from e

    async def _post(
        self, server: Server, payload: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Send a request, and send it again if the server closed the connection before its first byte.

        A server may close an idle connection at the moment it is used again. This is no sign of a problem.
        A redirect is not followed: it could take the key and the prompt to another machine.
        """
        url = f"{server.url}/chat/completions"
        headers = {**self._headers, **headers}
        try:
            return await self._session.post(
                url, data=payload, headers=headers, proxy=server.proxy, allow_redirects=False
            )
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await self._session.post(
                url, data=payload, headers=headers, proxy=server.proxy, allow_redirects=False
            )

    async def _refuse(self, response: aiohttp.ClientResponse) -> None:
        # Not `response.text`: the server may name an encoding that does not exist.
        text = (await response.content.read(_MOST_ERROR_BYTES)).decode("utf-8", "replace")
        if response.status in (400, 404, 413, 422):
            raise SmallRefusedError(f"small model: {_message(text)}")
        raise SmallUnavailableError(f"the small model's server answered {response.status}")


def _lost(server: Server, e: Exception) -> SmallUnavailableError:
    """Send nothing to a server until it answers a probe again, and return the error for this generation."""
    server.healthy = False
    return SmallUnavailableError(f"the small model's server closed the connection ({type(e).__name__})")


def _known_role(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a developer message as a system message: open models' chat templates lack the role."""
    return {**message, "role": "system"} if message["role"] == "developer" else message


async def _payloads(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the events of a stream. A server that sends one JSON object instead gives one event, and its end.

    Raises:
        ValueError: the object or one event is larger than 16 MiB.
    """
    pieces = content.iter_any()
    begun = b""
    async for piece in pieces:
        begun += piece
        if begun.removeprefix(_BOM).strip():
            break
    if not begun.removeprefix(_BOM).lstrip().startswith(b"{"):
        async for data in events(_chained(begun, pieces)):
            yield data
        return
    parts, size = [begun], len(begun)
    async for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size > MAX_EVENT_BYTES:
            raise ValueError("the answer is larger than 16 MiB")
    yield b"".join(parts).removeprefix(_BOM).strip()
    yield DONE


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _message(text: str) -> str:
    """Return the words of an error body, in OpenAI's form or another one."""
    try:
        error = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text[:200]
    return _words(error) or text[:200]


def _words(error: object) -> str:
    """Return the words of an error, which may be an object that holds it under "error", "message" or "detail"."""
    for _ in range(3):
        if not isinstance(error, Mapping):
            break
        error = next((error[k] for k in ("error", "message", "detail") if error.get(k)), "")
    return error[:200] if isinstance(error, str) else str(error)[:200]
