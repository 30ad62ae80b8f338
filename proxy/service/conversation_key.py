"""The conversation that a request belongs to, as a digest: the turns of one go to one server of the small tier."""

from hashlib import sha256

from proxy.cascade.types import Task
from proxy.formats.lenient import encode
from proxy.formats.prompt_cache import KEY
from proxy.service.exchange import Exchange


def conversation_of(exchange: Exchange, task: Task) -> str:
    """Return the digest of a request's conversation.

    A session is one, and so are the requests with the same `prompt_cache_key`. Without both, a conversation is known by
    its first messages, up to the first one of the user. A conversation that continues a response has them too, because it
    is filled in. The request itself is the last resort.
    """
    request = exchange.request
    session, cache_key = request.controls.session, exchange.body.get(KEY)
    if session is not None:
        return conversation_digest((request.key_id,), "session", session)
    owner = request.key_id, request.user
    if isinstance(cache_key, str) and cache_key:
        return conversation_digest(owner, KEY, cache_key)
    messages = task.body["messages"]
    first = next((i for i, message in enumerate(messages) if message["role"] == "user"), None)
    if first is None:
        return conversation_digest(owner, "request", request.id)
    return conversation_digest(owner, "opening", messages[: first + 1])


def conversation_digest(owner: tuple[str | None, ...], kind: str, name: object) -> str:
    """Return a digest that shows neither the owner nor a text. Those of different owners are never equal."""
    return f"cope-{sha256(encode((owner, kind, name))).hexdigest()[:32]}"
