"""OpenAI's API, and that of every compatible server. Request and response bodies pass through as bytes."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from proxy.config.schema import Upstream as UpstreamSettings
from proxy.errors import ApiError, upstream_authentication
from proxy.formats import sse

_FORWARDED = frozenset(
    {"retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "openai-processing-ms"}
)
_GATEWAY_TIMEOUTS = frozenset({504, 524})
"""A server between us and the model gave up. The model may have gone on generating, and may bill it."""


@dataclass(frozen=True, slots=True)
class OpenAI:
    """See `proxy.backends.apis.Api`."""

    settings: UpstreamSettings
    key: str

    def url(self, path: str, model: str) -> str:
        """Return the path below the base URL."""
        return self.settings.base_url.rstrip("/") + path

    def headers(self) -> dict[str, str]:
        """Return the key as a bearer token."""
        return {"content-type": "application/json", "authorization": f"Bearer {self.key}"}

    def encode(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Return the body as it is."""
        return msgspec.json.encode(body)

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """Return the upstream's own bytes."""
        return await response.read()

    def events(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Yield the upstream's own payloads."""
        return sse.events(response.content.iter_any())

    def response_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers about retries, rate limits and the upstream's request."""
        lower = ((name.lower(), value) for name, value in headers.items())
        return {n: v for n, v in lower if n in _FORWARDED or n.startswith("x-ratelimit-")}

    def error(self, status: int, headers: Mapping[str, str], raw: bytes) -> ApiError:
        """Return the upstream's error with its status, without the proxy's key in the message."""
        if status in (401, 403):
            return upstream_authentication(status)
        error = _error_object(raw)
        message = str(error.get("message") or f"The upstream answered {status}.")
        kind = error.get("type") or ("server_error" if status >= 500 else "invalid_request_error")
        code, param = error.get("code"), error.get("param")
        return ApiError(
            status,
            message.replace(self.key, "***"),
            type=str(kind),
            code=None if code is None else str(code),
            param=None if param is None else str(param),
            headers=self.response_headers(headers),
            billed=status in _GATEWAY_TIMEOUTS,
        )


def _error_object(raw: bytes) -> dict[str, Any]:
    """Return the `error` member of a response, or {} if there is none."""
    try:
        decoded = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    error = decoded.get("error") if isinstance(decoded, dict) else None
    return error if isinstance(error, dict) else {}
