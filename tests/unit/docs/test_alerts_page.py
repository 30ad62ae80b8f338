"""The page on alerts: its examples are valid, its code verifies a real signature, and its payload is real."""

import json
import re
import time
from datetime import UTC, datetime

import pytest

from proxy.alerts.targets.signature import signed_headers, signing_keys
from proxy.alerts.targets.webhook import json_body
from proxy.config.loading import load
from proxy.ledger.alerts import AlertMessage
from tests.support.processes import ROOT
from tests.support.receiver import SECRET

PAGE = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
BASE = '[small]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
OPS = '[webhooks.ops]\nurl = "https://ops.example.com/hook"\n'


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", blocks("toml"))
def test_examples_are_valid(example, tmp_path):
    """Each example is a part of a config that loads."""
    path = tmp_path / "cope.toml"
    path.write_text(BASE + example + ("" if "[webhooks.ops]" in example else OPS))
    settings = load(path, {})
    assert settings.alerts or settings.mail or len(settings.webhooks) == 2


def test_every_kind_has_an_example():
    """The kinds of the table are those of the examples."""
    table = re.findall(
        r"^\| `(\w+)` \| [^|]*\| [^|]*\|$", PAGE.partition("\n| --- |")[2].partition("### ")[0], re.MULTILINE
    )
    assert set(re.findall(r'^on = "(\w+)"', PAGE, re.MULTILINE)) == set(table)


@pytest.mark.parametrize("secret", [SECRET, "plain-text"])
def test_verification_code(secret):
    """The code on the page takes a signed request, and refuses a changed, an old and a foreign one."""
    (code,) = blocks("python")
    page = {}
    exec(code, page)
    is_genuine = page["is_genuine"]
    now, body = int(time.time()), b'{"type": "alert.test"}'
    headers = signed_headers(signing_keys(f"{secret} another"), "alert_1", now, body)
    assert is_genuine(headers, body, secret)
    assert is_genuine(headers, body, "another")
    assert not is_genuine(headers, body + b" ", secret)
    assert not is_genuine(headers, body, "wrong")
    old = signed_headers(signing_keys(secret), "alert_1", now - 3600, body)
    assert not is_genuine(old, body, secret)


def test_payload_is_real():
    """The payload on the page has the form of a real one."""
    (payload,) = (json.loads(block) for block in blocks("json"))
    data = payload["data"]
    fixed = {name: data.pop(name) for name in ("id", "alert", "level", "title", "text")}
    message = AlertMessage(kind="budget", created_at=datetime.now(UTC), facts=data, **fixed)
    real = json.loads(json_body(message))
    assert real["data"] == fixed | data
    assert real.keys() == payload.keys()
    assert real["type"] == payload["type"]
