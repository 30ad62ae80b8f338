"""Alerts in a test: the config of one, and the rows that proxies have stored."""

import json
import re

from tests.support.processes import ROOT
from tests.support.receiver import SECRET

ENV = {"HOOK_SECRET": SECRET}


def alerting(receiver, *alerts, **webhook):
    """Return the settings and the environment of a proxy that sends alerts to a receiver."""
    hook = {"url": receiver.url, "secret_env": "HOOK_SECRET", "timeout_s": 5, **webhook}
    tables = [{"name": a["on"], "targets": ["hook"], "every_s": 1, **a} for a in alerts]
    return {"alerts": tables, "webhooks": {"hook": hook}, "env": dict(ENV)}


def documented():
    """Return the payload that docs/alerts.md shows."""
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    return json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])


def stored(proxy):
    """Return the alerts of a proxy's SQLite file with their deliveries."""
    return proxy.rows(
        "SELECT a.alert, a.subject, a.window, a.level, a.title, d.target, d.state, d.attempts, d.error "
        "FROM alerts a LEFT JOIN alert_deliveries d ON d.alert_id = a.id ORDER BY a.created_at, a.level"
    )
