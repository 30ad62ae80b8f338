"""Traces of requests: what the tracer needs of the settings and of a finished request."""

from contextlib import AbstractAsyncContextManager

from yarl import URL

from proxy.config.schema import Settings
from proxy.service.finished import Finished, plan_records
from proxy.tracing.setup import tracing
from proxy.tracing.spans import ModelServer
from proxy.tracing.trace import Content, EndedRequest, Tracer


def open_tracer(settings: Settings) -> AbstractAsyncContextManager[Tracer | None]:
    """Open the tracer of this process; see `proxy.tracing.setup.tracing`."""
    return tracing(
        enabled=settings.tracing.enabled, semconv=settings.tracing.semconv, servers=model_servers(settings)
    )


def model_servers(settings: Settings) -> dict[str, ModelServer]:
    """Return the server of each large model, by the model's name for clients."""
    upstreams = {"": settings.large, **settings.upstreams}
    servers = {}
    for name, upstream in upstreams.items():
        url = URL(upstream.base_url)
        provider = "openai" if upstream.api_version is None else "azure.ai.openai"
        servers[name] = ModelServer(provider=provider, address=url.host, port=url.port)
    return {model.name: servers[model.upstream] for model in settings.large_models.values()}


def end_trace(finished: Finished, *, with_content: bool) -> None:
    """Emit the spans of a finished request, if it is traced."""
    request = finished.request
    if request.trace is None:
        return
    content = None
    if with_content:
        content = Content(
            prompt=request.format.prompt(request.body), answer=finished.answer, plans=plan_records(finished)
        )
    request.trace.end(
        EndedRequest(path=request.format.path, record=finished.record, calls=finished.calls, content=content)
    )
