"""The targets of alerts, opened from the settings. Their secrets come from the environment."""

import os
from collections.abc import Mapping

import aiohttp

from proxy.alerts.targets.mail import MailTarget
from proxy.alerts.targets.signature import signing_keys
from proxy.alerts.targets.target import Target
from proxy.alerts.targets.webhook import WebhookTarget
from proxy.config.alert_checks import is_web_url
from proxy.config.schema import Settings
from proxy.errors import ConfigError


def target_secrets(settings: Settings, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the values of the environment variables that targets name, by the names of the variables.

    Raises:
        ConfigError: a variable is not set or has no usable value. The message does not have the value.
    """
    found: dict[str, str] = {}
    problems = []
    for key, variable in _variables(settings):
        if value := env.get(variable, "").strip():
            found[variable] = value
        else:
            problems.append(f"{key}: the environment variable {variable} is not set; export the secret in it")
    for name, webhook in settings.webhooks.items():
        if (url := found.get(webhook.url_env or "")) and not is_web_url(url):
            problems.append(f"webhooks.{name}.url_env: {webhook.url_env} has no URL of a web server")
        if (secret := found.get(webhook.secret_env or "")) and not signing_keys(secret):
            problems.append(
                f"webhooks.{name}.secret_env: {webhook.secret_env} has no secret after whsec_; it must be base64"
            )
    if problems:
        raise ConfigError(problems)
    return found


def _variables(settings: Settings) -> list[tuple[str, str]]:
    """Return the environment variables that targets name, each with its config key."""
    named = [
        *((f"webhooks.{n}.url_env", webhook.url_env) for n, webhook in settings.webhooks.items()),
        *((f"webhooks.{n}.secret_env", webhook.secret_env) for n, webhook in settings.webhooks.items()),
        *((f"mail.{n}.password_env", mail.password_env) for n, mail in settings.mail.items()),
    ]
    return [(key, variable) for key, variable in named if variable is not None]


def open_targets(
    settings: Settings, session: aiohttp.ClientSession, secrets: Mapping[str, str]
) -> dict[str, Target]:
    """Return the targets by their names."""
    targets: dict[str, Target] = {}
    for name, webhook in settings.webhooks.items():
        url = webhook.url or secrets[webhook.url_env or ""]
        keys = signing_keys(secrets[webhook.secret_env]) if webhook.secret_env else ()
        targets[name] = WebhookTarget(session, url, webhook.shape, keys, webhook.timeout_s)
    for name, mail in settings.mail.items():
        targets[name] = MailTarget(mail, secrets[mail.password_env] if mail.password_env else None)
    return targets
