"""Find settings of alerts that contradict each other."""

import re
from collections.abc import Iterator

from yarl import URL

from proxy.config.alerts import Mail, Webhook
from proxy.config.schema import Settings

_ADDRESS = re.compile(r'[^\s@<>",;:()\\]{1,128}@[^\s@<>",;:()\\]{1,253}')
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def alert_contradictions(settings: Settings) -> Iterator[str]:
    """Yield one line for each contradiction, with its key and a remedy. No line has a URL: it may be secret."""
    targets = [*settings.webhooks, *settings.mail]
    names = [alert.name for alert in settings.alerts]
    for i, alert in enumerate(settings.alerts):
        if alert.name in names[:i]:
            yield f"alerts[{i}].name: {alert.name!r} is the name of two alerts; rename one of them"
        for target in alert.targets:
            if target not in targets:
                known = ", ".join(targets) or "none"
                yield f"alerts[{i}].targets: {target!r} is no target ({known}); add [webhooks.{target}] or [mail.{target}]"
    for name in settings.webhooks.keys() & settings.mail.keys():
        yield f"mail.{name}: it is also the name of a webhook; rename one of them"
    for kind, tables in (("webhooks", settings.webhooks), ("mail", settings.mail)):
        for name in tables:
            if not _NAME.fullmatch(name):
                yield f"{kind}: {name!r} is not a name; use up to 64 letters, digits, _ and -"
    for name, webhook in settings.webhooks.items():
        yield from _webhook(f"webhooks.{name}", webhook)
    for name, mail in settings.mail.items():
        yield from _mail(f"mail.{name}", mail)


def is_web_url(text: str) -> bool:
    """Return True if a text is a URL of a web server."""
    try:
        url = URL(text)
        return (
            url.scheme in ("http", "https")
            and bool(url.host)
            and url.port is not None
            and text.split() == [text]
        )
    except ValueError:
        return False


def _webhook(key: str, webhook: Webhook) -> Iterator[str]:
    if (webhook.url is None) == (webhook.url_env is None):
        yield f"{key}.url: set either url or url_env"
    if webhook.url is not None and not is_web_url(webhook.url):
        yield f"{key}.url: it is not the URL of a web server; use one such as https://example.com/hook"


def _mail(key: str, mail: Mail) -> Iterator[str]:
    for field, addresses in (("sender", (mail.sender,)), ("to", mail.to)):
        for address in addresses:
            if not _ADDRESS.fullmatch(address):
                yield f"{key}.{field}: {address!r} is not an address; use one such as ops@example.com"
    if (mail.username is None) != (mail.password_env is None):
        yield f"{key}: username and password_env belong together; set both or none"
    if mail.password_env is not None and mail.security == "none" and mail.host not in _LOOPBACK:
        yield f'{key}.security: "none" would send the password in clear; use "starttls" or "tls"'
