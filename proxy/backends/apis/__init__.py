"""How to speak to an upstream: one file an API.

`openai.py` is the reference: the proxy's own request and response bodies have OpenAI's format, so it passes the
bytes on. An adapter for another API translates in `encode`, `read` and `splitter`. `api_of` chooses the adapter.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from proxy.backends.apis.azure import Azure
from proxy.backends.apis.openai import OpenAI
from proxy.backends.error_bodies import VendorError
from proxy.config.schema import Upstream as UpstreamSettings
from proxy.errors import ApiError
from proxy.formats.sse import EventSplitter


class Api(Protocol):
    """One upstream's API: its settings, its key, and how requests and responses look there."""

    @property
    def settings(self) -> UpstreamSettings:
        """The upstream's table of the config."""
        ...

    @property
    def key(self) -> str:
        """The key for this upstream."""
        ...

    def url(self, path: str, model: str) -> str:
        """Return the address of an endpoint; `path` is its path below OpenAI's /v1."""
        ...

    def headers(self) -> dict[str, str]:
        """Return the headers of a request, the key among them."""
        ...

    def encode(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Return the bytes to send for a body in OpenAI's format."""
        ...

    def read(self, raw: bytes) -> bytes:
        """Return a complete answer in OpenAI's format."""
        ...

    def splitter(self) -> EventSplitter:
        """Return what cuts a streamed answer into payloads in OpenAI's format."""
        ...

    def response_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a response that the client should see."""
        ...

    def error(self, status: int, headers: Mapping[str, str], raw: bytes) -> ApiError:
        """Return the client's error for a response with an error status, without the key in any member."""
        ...

    def error_inside(
        self, found: VendorError, headers: Mapping[str, str], *, billed: bool = False
    ) -> ApiError:
        """Return the client's error for an error in a successful response, without the key in any member."""
        ...

    def hidden(self, value: Any) -> Any:
        """Return a JSON value without the key in any of its texts."""
        ...


def api_of(settings: UpstreamSettings, key: str) -> Api:
    """Return the adapter for an upstream: Azure's if `api_version` is set, else OpenAI's."""
    return OpenAI(settings, key) if settings.api_version is None else Azure(settings, key)
