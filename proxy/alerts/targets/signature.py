"""Signatures of webhooks as Standard Webhooks defines them (https://www.standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"


def signing_keys(text: str) -> tuple[bytes, ...]:
    """Read the secrets of a webhook, separated by spaces. Several are for a rotation: each of them signs.

    After `whsec_` a secret is in base64. Another one is used as its bytes in UTF-8. An unusable one is left out.
    """
    keys = []
    for secret in text.split():
        if not secret.startswith(_PREFIX):
            keys.append(secret.encode())
            continue
        try:
            keys.append(base64.b64decode(secret.removeprefix(_PREFIX), validate=True))
        except (binascii.Error, ValueError):
            continue
    return tuple(key for key in keys if key)


def signed_headers(keys: Sequence[bytes], id_: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a webhook. Without keys there is no signature.

    Args:
        keys: the signing keys.
        id_: the id of the message. It is the same in each attempt.
        timestamp: the time of this attempt in seconds since 1970.
        body: the body as it is sent.
    """
    headers = {"webhook-id": id_, "webhook-timestamp": str(timestamp)}
    signed = b".".join((id_.encode(), str(timestamp).encode(), body))
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return headers | ({"webhook-signature": " ".join(f"v1,{s}" for s in signatures)} if signatures else {})
