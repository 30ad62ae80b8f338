"""Webhooks against a real server that misbehaves: each attempt is bounded, and no reason has the URL."""

import asyncio
import json
import time
import tracemalloc
from datetime import UTC, datetime

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from proxy.alerts.targets import target_secrets
from proxy.alerts.targets.signature import signed_headers, signing_keys
from proxy.alerts.targets.target import DeliveryError
from proxy.alerts.targets.webhook import WebhookTarget, json_body, slack_body
from proxy.backends.session import open_session
from proxy.config.alert_checks import alert_contradictions
from proxy.config.alerts import Webhook
from proxy.config.schema import Settings
from proxy.errors import ConfigError
from proxy.ledger.alerts import AlertMessage
from tests.support.receiver import SECRET, Receiver
from tests.support.talking import talking

PATIENT_S, SHORT_S = 30, 0.5
"""The second is for receivers that never answer, so that no timing decides a test."""


def message(**changes):
    given_ = {
        "id": "alert_1", "alert": "a", "kind": "budget", "level": "0.5", "created_at": datetime(2026, 11, 27, tzinfo=UTC),
        "title": "title", "text": "text", "facts": {"scope": "key"},
    }  # fmt: skip
    return AlertMessage(**{**given_, **changes})


def attempt(url, timeout_s=PATIENT_S):
    """Send once, and return the reason of the failure and the time that it took."""

    async def work():
        async with open_session(PATIENT_S, pooled=False) as session:
            target = WebhookTarget(session, url, "json", signing_keys(SECRET), timeout_s)
            try:
                await target.send(message())
            except DeliveryError as e:
                return e.reason
            return None

    started = time.monotonic()
    reason = asyncio.run(work())
    return reason, time.monotonic() - started


async def hang(_):
    await asyncio.sleep(60)


async def redirect(request):
    if request.path == "/elsewhere":
        return web.Response(status=204)
    raise web.HTTPTemporaryRedirect("/elsewhere")


async def close(request):
    request.transport.close()
    return web.Response()


async def drip(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(600):
        await response.write(b"x")
        await asyncio.sleep(0.1)
    return response


async def endless(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(4000):
        await response.write(b"x" * 2**16)
    return response


async def bomb(request):
    """A gzip that says it is one, and is not."""
    return web.Response(body=b"\x1f\x8b" + b"\0" * 100, headers={"content-encoding": "gzip"})


def status(code):
    async def answer(_):
        return web.Response(status=code, text="secret words of the receiver")

    return answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (hang, "the receiver did not answer in 0.5 s"),
        (redirect, "the receiver answered 307, and redirects are not followed"),
        (close, "the receiver cannot be reached (ServerDisconnectedError)"),
        (status(500), "the receiver answered 500"),
        (status(404), "the receiver answered 404"),
        (status(204), None),
        (drip, None),
        (endless, None),
        (bomb, None),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_odd_receivers(answer, reason):
    """Each attempt ends in time, whatever comes back, and only a status of 2xx is a success."""
    with Receiver(answer) as server:
        tracemalloc.start()
        found, took = attempt(server.url, SHORT_S if answer is hang else PATIENT_S)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found == reason
        assert took < 30
        assert peak < 64 * 2**20
        assert len(server.received) <= 1  # a redirect is not followed, and an attempt is one request


async def endless_headers(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for i in range(20_000):
        writer.write(b"x-%d: %s\r\n" % (i, b"y" * 4096))
        await writer.drain()


async def endless_line(_, writer):
    writer.write(b"HTTP/1.1 200 ")
    for _ in range(2000):
        writer.write(b"y" * 2**15)
        await writer.drain()


async def dripping_headers(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for i in range(200):
        writer.write(b"x-%d: y\r\n" % i)
        await asyncio.sleep(0.05)


async def informational(_, writer):
    for _ in range(200):
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0.05)


async def other_protocol(_, writer):
    writer.write(b"220 mail.example.com ESMTP hush-hush\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    "say",
    [endless_headers, endless_line, dripping_headers, informational, other_protocol],
    ids=lambda f: f.__name__,
)
def test_broken_http(say):
    """An answer that is no answer fails in time and in little memory, and its words are in no reason."""
    with talking(say) as port:
        tracemalloc.start()
        reason, took = attempt(f"http://127.0.0.1:{port}/hush-hush", SHORT_S)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert reason is not None
    assert reason.startswith("the receiver ")
    assert "hush" not in reason
    assert took < 20
    assert peak < 64 * 2**20


def test_nobody_listens():
    """The reason has no host, port or path."""
    server = Receiver()
    assert attempt(server.url)[0] == "the receiver cannot be reached (ClientConnectorError)"


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[::1",
        "http://x:99999/hush",
        "https://\udcff/",
        "ftp://x/hush",
        "hush",
        "http://a b/hush",
        "//x/hush",
    ],
)
def test_impossible_urls(url):
    """Such a URL is a problem of the config before it is used. No message shows it: it may be secret."""
    named = Settings(webhooks={"hook": Webhook(url_env="HOOK")})
    with pytest.raises(ConfigError) as e:
        target_secrets(named, {"HOOK": url})
    (problem,) = e.value.problems
    assert problem == "webhooks.hook.url_env: HOOK has no URL of a web server"
    (problem,) = alert_contradictions(Settings(webhooks={"hook": Webhook(url=url)}))
    assert problem.startswith("webhooks.hook.url: it is not the URL")
    assert "hush" not in problem


def test_signature_by_another_implementation():
    """The library of Standard Webhooks takes it. It refuses another body, time, id or secret."""
    with Receiver() as server:
        assert attempt(server.url)[0] is None
        (got,) = server.received
    assert got.verified()["data"]["id"] == "alert_1"
    for changed in (
        {"body": got.body + b" "},
        {"webhook-timestamp": str(int(got.headers["webhook-timestamp"]) + 1)},
        {"webhook-id": "alert_2"},
    ):
        body = changed.pop("body", got.body)
        with pytest.raises(WebhookVerificationError):
            Verifier(SECRET).verify(body, {**got.headers, **changed})
    with pytest.raises(WebhookVerificationError):
        got.verified("whsec_b3RoZXI=")


def test_rotation_of_secrets():
    """Two secrets sign both, so that the receiver may know either of them."""
    headers = signed_headers(signing_keys(f"{SECRET} whsec_b3RoZXI="), "alert_1", int(time.time()), b"{}")
    for secret in (SECRET, "whsec_b3RoZXI="):
        assert Verifier(secret).verify(b"{}", headers) == {}
    assert signing_keys("plain words") == (b"plain", b"words")
    assert signing_keys("whsec_ whsec_?") == ()


@given(title=st.text(max_size=300), text=st.text(max_size=300))
def test_slack_text_is_no_markup(title, text):
    """Whatever is in a text, Slack shows it: there is no tag, and unescaping gives the text back."""
    body = json.loads(slack_body(message(title=title, text=text)))
    shown = body["text"]
    assert "<" not in shown
    assert ">" not in shown
    assert body["mrkdwn"] is False
    assert shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == f"{title}\n{text}"


@given(name=st.text(max_size=3000))
def test_facts_are_json(name):
    """A name of any characters arrives as it is."""
    assert json.loads(json_body(message(facts={"name": name})))["data"]["name"] == name
