"""The client of one upstream: paid calls with retries and a circuit breaker.

A call that may have been billed is not retried here, because one reservation pays for one call. stamina would add
79 µs to each call that succeeds at once, and deadline, breaker and billing would still need code of their own.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from proxy.backends.answers import UpstreamResponse, open_complete, open_stream, open_unchecked
from proxy.backends.apis import Api
from proxy.backends.breaker import Breaker
from proxy.backends.delivery import deliver
from proxy.backends.output_limit import OutputLimitName
from proxy.backends.proxies import proxy_for
from proxy.backends.retry import RetryPolicy
from proxy.backends.session import Delivery
from proxy.errors import ApiError, upstream_broken, upstream_unavailable
from proxy.tracing.trace import NO_HEADERS

log = logging.getLogger(__name__)

MOST_ERROR_BYTES = 64 * 2**10


class Upstream:
    """Send requests to one upstream. Its state is the circuit breaker, and what was learned of `output_limit`."""

    def __init__(self, session: aiohttp.ClientSession, api: Api) -> None:
        self._session = session
        self._api = api
        settings = api.settings
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout_s,
            sock_connect=settings.connect_timeout_s,
            sock_read=settings.read_timeout_s,
        )
        self._proxy = proxy_for(settings.base_url)
        self._output_limit = OutputLimitName(settings)
        self._policy = RetryPolicy(max_retries=settings.max_retries)
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_cooldown_s)

    @asynccontextmanager
    async def post(
        self,
        path: str,
        body: Mapping[str, Any],
        deadline: float,
        delivery: Delivery,
        *,
        streamed: bool,
        trace_headers: Mapping[str, str] = NO_HEADERS,
    ) -> AsyncIterator[UpstreamResponse]:
        """Send a request and yield its successful response. Retry while nothing was generated.

        An error inside a successful response counts like an error status. So does one that begins a stream.

        Args:
            path: the endpoint below OpenAI's /v1, such as "/chat/completions".
            body: the request in OpenAI's format. `model` is the upstream's own name of the model.
            deadline: the end of the client's request (`time.monotonic`). No pause before a retry exceeds it.
            streamed: whether the caller reads events. An answer in the other form is converted.
            delivery: is told at any time whether the request is out.
            trace_headers: headers about the request's trace.

        Raises:
            ApiError: the upstream's own error, or 502, 503 or 504 if it is unavailable.
        """
        sent = self._output_limit.applied(path, body)
        url = self._api.url(path, str(body["model"]))
        attempt = -1
        refusal: ApiError | None = None  # of the name of the output limit
        while True:
            attempt += 1
            self._check_breaker()
            async with AsyncExitStack() as open_until:
                try:
                    response = await deliver(
                        self._session,
                        open_until,
                        delivery,
                        url,
                        data=self._api.encode(path, sent),
                        headers={**self._api.headers(), **trace_headers},
                        timeout=self._timeout,
                        proxy=self._proxy,
                    )
                    answer = await self._opened(path, streamed, response)
                except ApiError as e:
                    self._count(e)
                    other = self._output_limit.renamed_after(path, sent, e)
                    if other is not None:
                        if refusal is not None:
                            raise refusal from e  # both names are refused, and the first error says more
                        refusal, sent, attempt = e, other, attempt - 1
                        delivery.sent = False
                        continue
                    if (pause := self._pause_s(attempt, e, deadline)) is None:
                        log.warning("%s: %d %s", URL(url).origin(), e.status, e.word)
                        raise
                else:
                    self.breaker.succeeded()
                    self._output_limit.accepted(sent, after_refusal=refusal is not None)
                    yield answer
                    return
            delivery.sent = False
            await asyncio.sleep(pause)

    async def _opened(self, path: str, streamed: bool, response: aiohttp.ClientResponse) -> UpstreamResponse:
        """Return the answer in a response.

        Raises:
            ApiError: the response has an error status, contains an error, or breaks off.
        """
        if response.status >= 300:
            status = response.status if 400 <= response.status < 600 else 502
            raise self._api.error(status, response.headers, await _error_body(response))
        try:
            if streamed:
                return await open_stream(self._api, path, response, self._count_status)
            return await open_complete(self._api, path, response)
        except (aiohttp.ClientError, OSError, ValueError) as e:
            raise upstream_broken() from e

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
        async with AsyncExitStack() as open_until:
            try:
                response = await deliver(
                    self._session,
                    open_until,
                    Delivery(),
                    url,
                    method=method,
                    data=payload,
                    headers=self._api.headers(),
                    timeout=self._timeout,
                    proxy=self._proxy,
                )
                if response.status >= 300:
                    raise self._api.error(response.status, response.headers, await _error_body(response))
                answer = await open_unchecked(self._api, response)
            except ApiError as e:
                self._count(e)
                raise
            except (aiohttp.ClientError, OSError) as e:
                raise upstream_broken() from e
            self.breaker.succeeded()
            yield answer

    def _check_breaker(self) -> None:
        wait = self.breaker.wait_s()
        if wait is not None:
            raise upstream_unavailable(math.ceil(wait))

    def _count(self, e: ApiError) -> None:
        # A key that is refused says nothing about the upstream's state, although its client sees a 502.
        self._count_status(401 if e.code == "upstream_authentication" else e.status)

    def _count_status(self, status: int) -> None:
        """Count statuses that describe the upstream's own state and not the request."""
        if status >= 500 and status not in (501, 505):
            self.breaker.failed()
        else:
            self.breaker.succeeded()

    def _pause_s(self, attempt: int, e: ApiError, deadline: float) -> float | None:
        """Return the pause before the next attempt, or None if there is none or it would be too late."""
        if e.billed or not (e.code == "upstream_unreachable" or self._policy.retries(e.status, e.headers)):
            return None
        pause = self._policy.pause_s(attempt, e.headers)
        return None if pause is None or time.monotonic() + pause > deadline else pause


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    """Return the beginning of an error's body. An error stays this error if its body breaks off."""
    raw = b""
    try:
        while len(raw) < MOST_ERROR_BYTES and (piece := await response.content.readany()):
            raw += piece
    except (aiohttp.ClientError, OSError):
        pass
    return raw[:MOST_ERROR_BYTES]
