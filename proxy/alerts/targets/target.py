"""The port of a target."""

from dataclasses import dataclass
from typing import Protocol

from proxy.ledger.alerts import AlertMessage


@dataclass(eq=False)
class DeliveryError(Exception):
    """An attempt has failed. The reason has no secret, no URL and no text of the receiver."""

    reason: str


class Target(Protocol):
    """A receiver of alerts."""

    @property
    def longest_s(self) -> float:
        """The longest time of one attempt in seconds."""

    async def send(self, message: AlertMessage) -> None:
        """Deliver a message once.

        Raises:
            DeliveryError: the receiver has not taken it, or it is not known whether it has.
        """
