"""/v1/models and /v1/models/{id}, in OpenAI's format."""

from litestar import delete, get

from proxy.errors import forbidden, not_found
from proxy.http.auth import Caller
from proxy.service.access import usable_names
from proxy.service.state import AppState


def _names(app: AppState, caller: Caller) -> list[str]:
    return usable_names(app.settings, None if caller.key is None else caller.key.rules)


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "cope-proxy"}


@get("/v1/models", sync_to_thread=False)
def list_models(app: AppState, caller: Caller) -> dict[str, object]:
    """List every name that a request of the caller may give as its model."""
    return {"object": "list", "data": [_model(n) for n in _names(app, caller)]}


@get("/v1/models/{name:path}", sync_to_thread=False)
def get_model(app: AppState, caller: Caller, name: str) -> dict[str, object]:
    """Describe one model. A model that the caller may not use does not exist for it."""
    name = name.lstrip("/")
    if name not in _names(app, caller):
        raise not_found(
            f"The model {name[:100]!r} does not exist here.", code="model_not_found", param="model"
        )
    return _model(name)


@delete("/v1/models/{name:path}", status_code=200, sync_to_thread=False)
def delete_model(caller: Caller, name: str) -> dict[str, object]:  # noqa: ARG001  (it checks the key)
    """Refuse: all clients share the upstream's models, and the proxy's key owns them."""
    raise forbidden(
        f"The model {name.lstrip('/')[:100]!r} cannot be deleted through this proxy. Delete it at its upstream.",
        code="model_not_deletable",
        param="model",
    )
