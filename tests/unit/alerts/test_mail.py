"""Mail against servers that misbehave, and headers that stay one line."""

import asyncio
import time
from email import message_from_bytes
from email.policy import SMTP, default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.alerts.targets.mail import MailTarget, email_of
from proxy.alerts.targets.target import DeliveryError
from proxy.alerts.wording import shown
from proxy.config.alerts import Mail
from tests.support.mail_server import MailServer
from tests.support.talking import talking
from tests.unit.alerts.test_webhooks import message

PATIENT_S, SHORT_S = 30, 0.5
"""The second is for servers that never answer, so that no timing decides a test."""
PASSWORD = "hush-hush-1"


def settings(port, **changes):
    given_ = {
        "host": "127.0.0.1", "port": port, "security": "none", "sender": "cope@example.com", "to": ("a@example.com",),
        "timeout_s": PATIENT_S,
    }  # fmt: skip
    return Mail(**{**given_, **changes})


def attempt(mail, password=None):
    """Send once, and return the reason of the failure and the time that it took."""

    async def work():
        try:
            await MailTarget(mail, password).send(message())
        except DeliveryError as e:
            return e.reason
        return None

    started = time.monotonic()
    return asyncio.run(work()), time.monotonic() - started


async def silent(reader, _):
    await reader.read(1)


async def closing(_reader, _writer):
    return


async def endless(_, writer):
    for _ in range(2000):
        writer.write(b"220-hello\r\n" * 4096)
        await writer.drain()


async def dripping(_, writer):
    for _ in range(100):
        writer.write(b"220-")
        await asyncio.sleep(0.2)


async def echoing(reader, writer):
    """Refuse the login, and repeat the password in the refusal."""
    writer.write(b"220 hi\r\n")
    while line := await reader.readline():
        if line.startswith(b"EHLO"):
            writer.write(b"250-me\r\n250 AUTH PLAIN LOGIN\r\n")
        else:
            writer.write(b"535 wrong: " + PASSWORD.encode() + b"\r\n")


@pytest.mark.parametrize("say", [silent, closing, endless, dripping, echoing], ids=lambda f: f.__name__)
def test_odd_servers(say):
    """Each attempt fails in time, and its reason has no word of the server."""
    with talking(say) as port:
        reason, took = attempt(settings(port, username="u", password_env="P", timeout_s=SHORT_S), PASSWORD)
    assert reason is not None
    assert reason.startswith("the mail server ")
    assert PASSWORD not in reason
    assert took < 20


def test_wrong_password():
    """A login that is refused is a reason with its status."""
    with MailServer("u", "right") as server:
        reason, _ = attempt(settings(server.port, username="u", password_env="P"), "wrong")
        assert reason == "the mail server answered 535 (SMTPAuthenticationError)"
        assert attempt(settings(server.port, username="u", password_env="P"), "right")[0] is None
        assert len(server.wait(1)) == 1


def test_no_server():
    """Nobody listens."""
    with talking(closing) as port:
        pass
    assert attempt(settings(port))[0] == "the mail server cannot be used (SMTPConnectError)"


def test_encryption_is_not_dropped():
    """A server that cannot encrypt gets no mail if the config wants it encrypted."""
    with MailServer() as server:
        reason, _ = attempt(settings(server.port, security="starttls"))
        assert reason is not None
        assert not server.recipients


ENDS_OF_LINES = "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@given(name=st.text(max_size=300) | st.text(alphabet=f"{ENDS_OF_LINES}Bcc: x@y", max_size=60))
def test_headers_cannot_be_injected(name):
    """Whatever the name of a budget is, the mail has the headers that it should have, and the subject is one line."""
    email = email_of(message(title=f"50 % of {shown(name)} is used"), settings(25))
    parsed = message_from_bytes(email.as_bytes(policy=SMTP), policy=default)
    assert set(parsed.keys()) == {
        "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "X-Cope-Alert", "Content-Type",
        "Content-Transfer-Encoding", "MIME-Version",
    }  # fmt: skip
    assert parsed["To"] == "a@example.com"
    assert len(str(parsed["Subject"]).splitlines()) == 1


@given(name=st.text(max_size=300))
def test_names_stay_short_and_on_one_line(name):
    """A name in a text has at most 80 characters, one line, and can be encoded."""
    text = shown(name)
    assert len(text) <= 80
    assert len(text.splitlines()) <= 1
    text.encode()
