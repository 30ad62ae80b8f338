"""OpenAI's API, and that of every compatible server. Request and response bodies pass through as bytes."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.backends.error_bodies import VendorError, read_error
from proxy.backends.key_mask import masked
from proxy.backends.retry_hints import asked_s, reset_s
from proxy.config.schema import Upstream as UpstreamSettings
from proxy.errors import ApiError, upstream_authentication
from proxy.formats.sse import EventSplitter

_FORWARDED = frozenset(
    {"retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "openai-processing-ms"}
)
_PASSING = frozenset({429, 503, 529})
"""A server with too much to do. It may say when it will have less."""
_CONTROLS = re.compile("[\\x00-\\x1f\\x7f]")
"""Characters that some servers send in a header, and that none may send. An answer is not lost because of them."""
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

    def read(self, raw: bytes) -> bytes:
        """Return the upstream's own bytes."""
        return raw

    def splitter(self) -> EventSplitter:
        """Leave the upstream's own payloads as they are."""
        return EventSplitter()

    def response_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers about retries, rate limits and the upstream's request."""
        lower = ((name.lower(), value) for name, value in headers.items())
        return {n: _CONTROLS.sub(" ", v) for n, v in lower if n in _FORWARDED or n.startswith("x-ratelimit-")}

    def error(self, status: int, headers: Mapping[str, str], raw: bytes) -> ApiError:
        """Return the upstream's error with its status."""
        found = read_error(raw)
        return self._error(
            status,
            found,
            headers,
            otherwise=f"The upstream answered {status}.",
            billed=status in _GATEWAY_TIMEOUTS,
        )

    def error_inside(
        self, found: VendorError, headers: Mapping[str, str], *, billed: bool = False
    ) -> ApiError:
        """Return an error with the status that it names, or else 502. It is billed if it reports a usage."""
        error = self._error(
            found.status or 502,
            found,
            headers,
            otherwise="The upstream sent an empty answer.",
            billed=billed,
        )
        if found.status is None and found.code is None and found.type is None:
            error.code = "upstream_invalid"
        return error

    def hidden(self, value: Any) -> Any:
        """Return a JSON value without the key in any of its texts."""
        if isinstance(value, str):
            return masked(value, self.key)
        if isinstance(value, list):
            return [self.hidden(v) for v in value]
        return {k: self.hidden(v) for k, v in value.items()} if isinstance(value, dict) else value

    def _error(
        self,
        status: int,
        found: VendorError,
        headers: Mapping[str, str],
        *,
        otherwise: str,
        billed: bool,
    ) -> ApiError:
        if status in (401, 403):
            error = upstream_authentication(status)
        else:
            error = ApiError(
                status,
                self.hidden(found.message) or otherwise,
                type=self.hidden(found.type) or _kind(status),
                code=self.hidden(found.code),
                param=self.hidden(found.param),
                headers=self._error_headers(status, found, headers),
            )
        error.usage, error.billed = found.usage, billed or found.usage is not None
        return error

    def _error_headers(self, status: int, found: VendorError, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of an error. A wish to wait that has another form than Retry-After becomes one."""
        sent = self.response_headers(headers)
        if status not in _PASSING or asked_s(sent) is not None:
            return sent
        pause = found.retry_after_s
        if pause is None and status == 429:  # OpenAI tells the limits in every response
            pause = reset_s({name.lower(): value for name, value in headers.items()})
        if pause is None:
            return sent
        return sent | {"retry-after": str(math.ceil(pause)), "retry-after-ms": str(math.ceil(1000 * pause))}


def _kind(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
