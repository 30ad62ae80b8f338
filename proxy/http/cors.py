"""Which web pages may call the proxy from a browser, and which response headers they see."""

from functools import cache

from litestar.config.cors import CORSConfig

from proxy.service.facts import FINAL_HEADERS, HEADERS

_OTHERS = (
    *("retry-after", "x-request-id", "x-should-retry"),
    *(
        f"x-ratelimit-{what}-{unit}"
        for what in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens")
    ),
)


@cache
def cors(origins: tuple[str, ...]) -> CORSConfig:
    """Return the rules for pages of these origins. A `*` in an origin stands for any text.

    Pages may send any header. Cookies are not used, so a page can only do what its key may do.
    """
    return CORSConfig(allow_origins=list(origins), expose_headers=[*HEADERS, *FINAL_HEADERS, *_OTHERS])
