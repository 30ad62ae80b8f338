"""The large tier: paid calls to OpenAI-compatible upstreams.

Bytes pass through; the official SDK's rules for retries hold, `x-should-retry` and Retry-After included, without its
cost per request. What may have been billed is not retried here: one reservation pays for one call.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from proxy.backends.breaker import Breaker
from proxy.errors import NO_RETRY, ApiError, unavailable

RETRIED = frozenset({408, 409, 429, 500, 502, 503})
"""Statuses after which nothing was generated; 504 may come from somebody on the way while the model goes on."""
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 8.0
LONGEST_RETRY_AFTER_S = 60.0
_PASSED_ON = ("retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "openai-processing-ms")
_FAILING = frozenset({500, 502, 503, 504, 524, 529})
"""Statuses that speak of the upstream's own state and not of the request; they count for the breaker."""


@dataclass(frozen=True, slots=True)
class Account:
    """How one upstream is reached.

    With an `api_version` the paths are Azure's: a deployment named after the model, the version in the query.
    """

    base_url: str
    api_key: str
    api_version: str | None
    timeout_s: float
    connect_timeout_s: float
    read_timeout_s: float
    max_retries: int
    breaker_failures: int
    breaker_cooldown_s: float

    def url(self, path: str, model: str) -> str:
        """Return where to send a request for a model, `path` being that of OpenAI's API below /v1."""
        base = self.base_url.rstrip("/")
        if self.api_version is None:
            return base + path
        # Azure serves responses at one place for all deployments.
        place = "/openai" if path == "/responses" else f"/openai/deployments/{quote(model, safe='')}"
        return f"{base}{place}{path}?api-version={quote(self.api_version)}"

    def headers(self) -> dict[str, str]:
        """Return the headers of a request."""
        secret = (
            {"authorization": f"Bearer {self.api_key}"}
            if self.api_version is None
            else {"api-key": self.api_key}
        )
        return {"content-type": "application/json", **secret}


class Upstream:
    """One upstream: its account, and a breaker that leaves it alone while it is down."""

    def __init__(self, session: aiohttp.ClientSession, account: Account) -> None:
        self._session = session
        self._account = account
        self._timeout = aiohttp.ClientTimeout(
            total=account.timeout_s,
            sock_connect=account.connect_timeout_s,
            sock_read=account.read_timeout_s,
        )
        self.breaker = Breaker(account.breaker_failures, account.breaker_cooldown_s)

    @asynccontextmanager
    async def post(
        self, path: str, body: Mapping[str, Any], deadline: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and yield its successful response, retrying before the first byte only.

        Args:
            path: the endpoint below the base URL, such as "/chat/completions".
            body: what is sent; its `model` is the upstream's own name for it.
            deadline: when the client's patience ends (`time.monotonic`); no pause before a retry goes past it.

        Raises:
            ApiError: what the client should see: the upstream's own error, or 502/503/504 when it is away.
        """
        payload = msgspec.json.encode(body)
        account = self._account
        url, headers = account.url(path, str(body["model"])), account.headers()
        for attempt in range(account.max_retries + 1):
            self._admit()
            try:
                response = await self._session.post(url, data=payload, headers=headers, timeout=self._timeout)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as e:
                self.breaker.failed()
                if await self._again(attempt, None, deadline):
                    continue
                raise _gone(502, "cannot be reached", "upstream_unreachable") from e
            # From here on the request is out and may be billed. A repetition would need a reservation of its own.
            except TimeoutError as e:
                self.breaker.failed()
                raise _gone(504, "did not answer in time", "upstream_timeout") from e
            except (aiohttp.ClientError, OSError) as e:
                self.breaker.failed()
                raise _gone(502, "broke off", "upstream_broken") from e
            if response.status in _FAILING:
                self.breaker.failed()
            else:
                self.breaker.succeeded()
            try:
                if response.status < 400:
                    yield response
                    return
                if _retry(response) and await self._again(attempt, response, deadline):
                    continue
                raise self._client_error(response, await response.read())
            finally:
                # An answer that was not read to its end closes its connection, which tells the upstream.
                response.close()

    def _admit(self) -> None:
        wait = self.breaker.wait_s()
        if wait is not None:
            raise unavailable(
                "The large model's server fails at present and is left alone for a while.",
                code="upstream_unavailable",
                retry_after_s=math.ceil(wait),
            )

    async def _again(self, attempt: int, response: aiohttp.ClientResponse | None, deadline: float) -> bool:
        """Pause before the next attempt; `False`, at once, when there is none or the deadline comes first."""
        if attempt == self._account.max_retries:
            return False
        pause = _backoff(attempt, None if response is None else response.headers)
        if time.monotonic() + pause > deadline:
            return False
        if response is not None:
            response.release()
        await asyncio.sleep(pause)
        return True

    def _client_error(self, response: aiohttp.ClientResponse, raw: bytes) -> ApiError:
        if response.status in (401, 403):
            # Not the client's key: the client must not be told to change its own, nor see ours.
            return ApiError(
                502,
                f"The upstream refused the proxy's own credentials ({response.status}).",
                type="server_error",
                code="upstream_authentication",
                headers=dict(NO_RETRY),
            )
        error: dict[str, Any] = {}
        try:
            decoded = msgspec.json.decode(raw)
            if isinstance(decoded, dict) and isinstance(decoded.get("error"), dict):
                error = decoded["error"]
        except msgspec.DecodeError:
            pass
        message = str(error.get("message") or f"The upstream answered {response.status}.")
        param, code = error.get("param"), error.get("code")
        return ApiError(
            response.status,
            message.replace(self._account.api_key, "***"),
            type=str(
                error.get("type") or ("server_error" if response.status >= 500 else "invalid_request_error")
            ),
            code=None if code is None else str(code),
            param=None if param is None else str(param),
            headers=passed_on(response),
        )


def passed_on(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the headers of an upstream's response that its client should see."""
    named = ((k.lower(), v) for k, v in response.headers.items())
    return {k: v for k, v in named if k in _PASSED_ON or k.startswith("x-ratelimit-")}


def _gone(status: int, what: str, code: str) -> ApiError:
    # A request that never went out is for an SDK to try again; one that may be billed is not.
    headers = {} if code == "upstream_unreachable" else dict(NO_RETRY)
    return ApiError(
        status, f"The large model's server {what}.", type="server_error", code=code, headers=headers
    )


def _retry(response: aiohttp.ClientResponse) -> bool:
    told = response.headers.get("x-should-retry")
    if told in ("true", "false"):
        return told == "true"
    return response.status in RETRIED


def _backoff(attempt: int, headers: Mapping[str, str] | None) -> float:
    """Return the pause in seconds: the server's own wish, else full jitter on an exponential step."""
    if headers is not None and (wish := _retry_after(headers)) is not None:
        return min(wish, LONGEST_RETRY_AFTER_S)
    return random.uniform(0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**attempt))  # noqa: S311


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        text = headers.get("retry-after")
        return None if text is None else max(0.0, float(text))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(headers["retry-after"])
        return max(0.0, (at - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
