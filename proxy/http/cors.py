"""Which web pages may call the proxy from a browser, and which response headers they see."""

import re
from functools import cache

from litestar.config.cors import CORSConfig

from proxy.service.facts import FINAL_HEADERS, HEADERS

EVERY_PAGE = "*"
NO_PAGE = r"(?!)"
"""Matches no origin. An empty expression would match an empty one."""
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
    """Return the rules for pages of these origins. A `*` stands for any port, or for any part of a host name.

    Pages may send any header. Cookies are not used, so a page can only do what its key may do.
    """
    named = [_pattern(origin) for origin in origins if origin != EVERY_PAGE]
    return CORSConfig(
        allow_origins=[EVERY_PAGE] if EVERY_PAGE in origins else [],
        allow_origin_regex="|".join(named) or NO_PAGE,
        expose_headers=[*HEADERS, *FINAL_HEADERS, *_OTHERS],
    )


def _pattern(origin: str) -> str:
    """Return an origin as a regular expression. A wildcard never reaches into the next part of an origin."""
    scheme, mark, rest = origin.partition("://")
    host = re.escape(rest.removesuffix(":*")).replace(r"\*", "[a-z0-9.-]*")
    port = ":[0-9]+" if rest.endswith(":*") else ""
    return re.escape(scheme + mark) + host + port
