"""A target that takes an HTTP POST, as JSON or in the shape of Slack."""

import asyncio
import time
from collections.abc import Sequence
from typing import Literal

import aiohttp
import msgspec

from proxy import __version__
from proxy.alerts.targets.signature import signed_headers
from proxy.alerts.targets.target import DeliveryError
from proxy.backends.proxies import proxy_for
from proxy.ledger.alerts import AlertMessage


class WebhookTarget:
    """Post messages to one URL. The URL is in no log and no error: its path may be a secret."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        shape: Literal["json", "slack"],
        keys: Sequence[bytes],
        timeout_s: float,
    ) -> None:
        self._session = session
        self._url = url
        self._proxy = proxy_for(url)
        self._body = {"json": json_body, "slack": slack_body}[shape]
        self._keys = keys
        self._timeout_s = timeout_s

    @property
    def longest_s(self) -> float:
        """The longest time of one attempt in seconds."""
        return self._timeout_s

    async def send(self, message: AlertMessage) -> None:
        """Post a message. The body of the answer is not read, and a redirect is not followed.

        Raises:
            DeliveryError: the receiver does not answer in time, or with another status than 2xx.
        """
        body = self._body(message)
        headers = {
            "content-type": "application/json",
            "user-agent": f"cope-proxy/{__version__}",
            **signed_headers(self._keys, message.id, int(time.time()), body),
        }
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.post(
                    self._url, data=body, headers=headers, proxy=self._proxy, allow_redirects=False
                ) as response,
            ):
                status = response.status
                response.close()
        except TimeoutError:
            raise DeliveryError(f"the receiver did not answer in {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as e:
            # Not the words of the error, which may have the URL.
            raise DeliveryError(f"the receiver cannot be reached ({type(e).__name__})") from None
        if 300 <= status < 400:
            raise DeliveryError(f"the receiver answered {status}, and redirects are not followed")
        if not 200 <= status < 300:
            raise DeliveryError(f"the receiver answered {status}")


def json_body(message: AlertMessage) -> bytes:
    """Return the payload: type, time and data, as Standard Webhooks advises."""
    data = {
        "id": message.id,
        "alert": message.alert,
        "level": message.level or None,
        "title": message.title,
        "text": message.text,
        **message.facts,
    }
    return msgspec.json.encode(
        {"type": f"alert.{message.kind}", "timestamp": message.created_at.isoformat(), "data": data}
    )


def slack_body(message: AlertMessage) -> bytes:
    """Return a message for Slack, in which names of clients are no mark-up, mentions or links."""
    text = f"{message.title}\n{message.text}"
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    return msgspec.json.encode(
        {"text": text, "mrkdwn": False, "link_names": False, "unfurl_links": False, "unfurl_media": False}
    )
