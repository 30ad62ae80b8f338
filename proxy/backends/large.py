"""The large tier: paid calls to an OpenAI-compatible upstream.

Bytes pass through; the official SDK's rules for retries hold, `x-should-retry` and Retry-After included, without its
cost per request. What may have been billed is not retried here: one reservation pays for one call.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec

from proxy.errors import NO_RETRY, ApiError

RETRIED = frozenset({408, 409, 429, 500, 502, 503})
"""Statuses after which nothing was generated; 504 may come from somebody on the way while the model goes on."""
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 8.0
LONGEST_RETRY_AFTER_S = 60.0
_PASSED_ON = ("retry-after", "retry-after-ms", "x-should-retry")


class LargeUpstream:
    """One upstream, its key and its timeouts."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float,
        connect_timeout_s: float,
        max_retries: int,
    ) -> None:
        self._session = session
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._key = api_key
        self._headers = {"content-type": "application/json", "authorization": f"Bearer {api_key}"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_timeout_s)
        self._max_retries = max_retries

    @asynccontextmanager
    async def post(self, body: Mapping[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a chat completion and yield its successful response, retrying before the first byte only.

        Raises:
            ApiError: what the client should see: the upstream's own error, or 502/504 when it is away.
        """
        payload = msgspec.json.encode(body)
        for attempt in range(self._max_retries + 1):
            last = attempt == self._max_retries
            try:
                response = await self._session.post(
                    self._url, data=payload, headers=self._headers, timeout=self._timeout
                )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as e:
                if not last:
                    await asyncio.sleep(_backoff(attempt, None))
                    continue
                raise ApiError(
                    502,
                    "The large model's server cannot be reached.",
                    type="server_error",
                    code="upstream_unreachable",
                ) from e
            # From here on the request is out and may be billed. A repetition would need a reservation of its own,
            # so it is left to the client's SDK.
            except TimeoutError as e:
                raise ApiError(
                    504,
                    "The large model's server did not answer in time.",
                    type="server_error",
                    code="upstream_timeout",
                ) from e
            except (aiohttp.ClientError, OSError) as e:
                raise ApiError(
                    502,
                    "The large model's server broke off.",
                    type="server_error",
                    code="upstream_broken",
                ) from e
            try:
                if response.status < 400:
                    yield response
                    return
                if not last and _retry(response):
                    pause = _backoff(attempt, response.headers)
                    response.release()
                    await asyncio.sleep(pause)
                    continue
                raise self._client_error(response, await response.read())
            finally:
                # An answer that was not read to its end closes its connection, which tells the upstream.
                response.close()

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
            message.replace(self._key, "***"),
            type=str(
                error.get("type") or ("server_error" if response.status >= 500 else "invalid_request_error")
            ),
            code=None if code is None else str(code),
            param=None if param is None else str(param),
            headers={k: v for k, v in response.headers.items() if _passes(k.lower())},
        )


def _passes(name: str) -> bool:
    return name in _PASSED_ON or name.startswith("x-ratelimit-")


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
