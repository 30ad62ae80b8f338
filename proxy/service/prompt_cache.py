"""How a request uses the prompt cache of the large model."""

from proxy.config.prompt_cache import prompt_cache_of
from proxy.config.schema import LargeModel, Upstream
from proxy.errors import ApiError
from proxy.formats.base import as_conversation
from proxy.formats.prompt_cache import KEY, MEMBER, OFF, OPTIONS, RETENTION, CacheUse, conversation_key
from proxy.records import PromptCache
from proxy.service.exchange import Exchange

REFUSALS = (400, 422)


def cache_use(exchange: Exchange, model: LargeModel) -> CacheUse:
    """Return the fields of the prompt cache for a request to a model, and the key of its conversation.

    A request that asks for the large model itself goes out as it came. So does one in a format without conversations.
    """
    format_ = as_conversation(exchange.request.format)
    if exchange.route.mode != "cascade" or format_ is None or format_.is_free:
        return OFF
    fields = _fields(exchange, model)
    if fields == "off":
        return OFF
    session = exchange.request.controls.session
    opening = [] if session is not None else format_.opening(exchange.body)
    owner = (exchange.request.key_id, exchange.request.user, session)
    return CacheUse(fields=fields, key=None if opening is None else conversation_key(owner, opening))


def _fields(exchange: Exchange, model: LargeModel) -> PromptCache:
    state = exchange.state
    settings = state.settings
    upstream: Upstream = settings.upstreams[model.upstream] if model.upstream else settings.large
    fields = state.prompt_cache_refused.get(model.name) or prompt_cache_of(upstream, model.id)
    if fields == "breakpoints" and (
        exchange.request.format.path == "/responses/compact" or not state.prices[model.name].writes_cache
    ):
        return "key"  # a budget covers no write at an unknown price
    return fields


def learn_refusal(exchange: Exchange, model: LargeModel, used: CacheUse, e: ApiError) -> bool:
    """Return True if a model refused a field of the prompt cache that the client had not sent. It gets less from now on."""
    said = f"{e.message} {e.param}"[:4096]
    if used.fields == "off" or e.status not in REFUSALS or "prompt_cache" not in said:
        return False
    format_, body = as_conversation(exchange.request.format), exchange.body
    own = {name for name in (KEY, OPTIONS, RETENTION) if body.get(name) is not None}
    if format_ is not None and format_.has_breakpoints(body):
        own.add(MEMBER)
    if any(name in said for name in own):
        return False  # a client's own mistake changes nothing for others
    exchange.state.prompt_cache_refused[model.name] = (
        "key" if used.fields == "breakpoints" and KEY not in said else "off"
    )
    return True
