"""Settings that contradict each other."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from proxy.config.schema import BUNDLED_MODEL, Settings


def _contradictions(s: Settings) -> list[str]:
    out = []
    if s.small.base_url is not None and s.small.vllm is not None:
        out.append("small: base_url and [small.vllm] exclude each other; remove one of them")
    if s.small.base_url is None and s.small.vllm is None:
        out.append(
            'small: no model server; set small.base_url = "http://127.0.0.1:8000/v1" for a running vLLM, '
            "or add a [small.vllm] table to have one started"
        )
    if s.small.base_url is not None and s.small.model == BUNDLED_MODEL:
        out.append("small.model: name the model that the server at small.base_url serves")
    # Thresholds that were certified for n samples say nothing of fewer.
    counts = {f"cascade.thresholds.{kind}": t.samples or 0 for kind, t in s.cascade.thresholds.items()}
    out += [
        f"{section}.samples: {count} is more than cascade.max_samples ({s.cascade.max_samples})"
        for section, count in {"cascade": s.cascade.samples, **counts}.items()
        if count > s.cascade.max_samples
    ]
    if s.cascade.calibration and not s.cascade.accept_at_threshold:
        out.append(
            "cascade.accept_at_threshold: what a calibration certified accepts at its thresholds; leave this true, or "
            "cascade.calibration out"
        )
    names = {"small", *s.cascade.aliases} & set(s.large_models)
    if names:
        taken = ", ".join(sorted(names))
        out.append(f"large.model: {taken!r} is also 'small' or in cascade.aliases; rename the alias")
    out += [
        f"large.fallbacks: {name!r} is none of the large models ({', '.join(s.large_models)})"
        for name in s.large.fallbacks
        if name not in s.large_models
    ]
    out += [
        f"upstreams.{name}.models: name the models that this upstream serves"
        for name, upstream in s.upstreams.items()
        if not upstream.models
    ]
    for section, url in [
        ("large.base_url", s.large.base_url),
        *((f"upstreams.{name}.base_url", u.base_url) for name, u in s.upstreams.items()),
        *(("small.base_url", u) for u in s.small.base_urls),
    ]:
        if not url.startswith(("http://", "https://")):
            out.append(f"{section}: {url!r} is no URL; it has to start with http:// or https://")
    try:
        ZoneInfo(s.budgets.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        out.append(
            f"budgets.timezone: {s.budgets.timezone!r} is no time zone; use a name such as Europe/Berlin, or UTC"
        )
    if not s.database.url.startswith(("sqlite+aiosqlite://", "postgresql+asyncpg://")):
        out.append(
            f"database.url: {s.database.url.split('://')[0]!r} is not supported; "
            "use sqlite+aiosqlite:///FILE or postgresql+asyncpg://user@host/db"
        )
    return out
