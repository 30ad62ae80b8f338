"""The client of one upstream: paid calls with retries and a circuit breaker.

A call that may have been billed is not retried here, because one reservation pays for one call. stamina would add
79 µs to each call that succeeds at once, and deadline, breaker and billing would still need code of their own.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from proxy.backends.apis import Api
from proxy.backends.breaker import Breaker
from proxy.backends.retry import RetryPolicy
from proxy.errors import (
    upstream_broken,
    upstream_timeout,
    upstream_unavailable,
    upstream_unreachable,
)

_FAILURES = frozenset({500, 502, 503, 504, 524, 529})
"""Statuses that describe the upstream's own state and not the request. The breaker counts them."""


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A successful response, in OpenAI's format whatever the upstream's API is."""

    api: Api
    response: aiohttp.ClientResponse

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the client should see."""
        return self.api.response_headers(self.response.headers)

    async def read(self) -> bytes:
        """Return a complete answer."""
        return await self.api.read(self.response)

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.response.content_type == "text/event-stream"

    def events(self) -> AsyncIterator[bytes]:
        """Yield the payloads of a streamed answer."""
        return self.api.events(self.response)


class Upstream:
    """Send requests to one upstream. The circuit breaker is its only state."""

    def __init__(self, session: aiohttp.ClientSession, api: Api) -> None:
        self._session = session
        self._api = api
        settings = api.settings
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout_s,
            sock_connect=settings.connect_timeout_s,
            sock_read=settings.read_timeout_s,
        )
        self._policy = RetryPolicy(max_retries=settings.max_retries)
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_cooldown_s)

    @asynccontextmanager
    async def post(
        self, path: str, body: Mapping[str, Any], deadline: float
    ) -> AsyncIterator[UpstreamResponse]:
        """Send a request and yield its successful response. Retry before the first byte only.

        Args:
            path: the endpoint below OpenAI's /v1, such as "/chat/completions".
            body: the request in OpenAI's format. `model` is the upstream's own name of the model.
            deadline: the end of the client's request (`time.monotonic`). No pause before a retry exceeds it.

        Raises:
            ApiError: the upstream's own error, or 502, 503 or 504 if it is unavailable.
        """
        payload = self._api.encode(path, body)
        url, headers = self._api.url(path, str(body["model"])), self._api.headers()
        attempt = -1
        while True:
            attempt += 1
            self._check_breaker()
            try:
                response = await self._session.post(url, data=payload, headers=headers, timeout=self._timeout)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as e:
                self.breaker.failed()
                if await self._pause(attempt, None, deadline):
                    continue
                raise upstream_unreachable() from e
            # From here on the request is out and may be billed. A repetition would need its own reservation.
            except TimeoutError as e:
                self.breaker.failed()
                raise upstream_timeout() from e
            except (aiohttp.ClientError, OSError) as e:
                self.breaker.failed()
                raise upstream_broken() from e
            self._count(response.status)
            try:
                if response.status < 400:
                    yield UpstreamResponse(self._api, response)
                    return
                may_retry = self._policy.retries(response.status, response.headers)
                if may_retry and await self._pause(attempt, response, deadline):
                    continue
                raise self._api.error(response.status, response.headers, await response.read())
            finally:
                # Closing an answer that was not read to its end closes its connection, so the upstream stops.
                response.close()

    @asynccontextmanager
    async def send(
        self, method: str, path: str, model: str, query: str = "", body: Mapping[str, Any] | None = None
    ) -> AsyncIterator[UpstreamResponse]:
        """Send one request about a stored object, which costs nothing. It is not repeated: the client may do that.

        Args:
            method: GET, POST or DELETE.
            path: the object below OpenAI's /v1, such as "/responses/resp_1".
            model: the upstream's own name of the model that made the object.
            query: the encoded query, without the question mark.
            body: the request's body, if it has one.

        Raises:
            ApiError: the upstream's own error, or 502, 503 or 504 if it is unavailable.
        """
        url = self._api.url(path, model)
        if query:
            url += ("&" if "?" in url else "?") + query
        payload = None if body is None else self._api.encode(path, body)
        self._check_breaker()
        try:
            response = await self._session.request(
                method, url, data=payload, headers=self._api.headers(), timeout=self._timeout
            )
        except TimeoutError as e:
            self.breaker.failed()
            raise upstream_timeout() from e
        except (aiohttp.ClientError, OSError) as e:
            self.breaker.failed()
            raise upstream_unreachable() from e
        self._count(response.status)
        try:
            if response.status >= 400:
                raise self._api.error(response.status, response.headers, await response.read())
            yield UpstreamResponse(self._api, response)
        except (aiohttp.ClientError, OSError) as e:
            raise upstream_broken() from e
        finally:
            response.close()

    def _check_breaker(self) -> None:
        wait = self.breaker.wait_s()
        if wait is not None:
            raise upstream_unavailable(math.ceil(wait))

    def _count(self, status: int) -> None:
        if status in _FAILURES:
            self.breaker.failed()
        else:
            self.breaker.succeeded()

    async def _pause(self, attempt: int, response: aiohttp.ClientResponse | None, deadline: float) -> bool:
        """Pause before the next attempt. Return False at once if there is none or it would be too late."""
        pause = self._policy.pause_s(attempt, {} if response is None else response.headers)
        if pause is None or time.monotonic() + pause > deadline:
            return False
        if response is not None:
            response.release()
        await asyncio.sleep(pause)
        return True
