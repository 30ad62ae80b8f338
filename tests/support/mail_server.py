"""A real SMTP server that keeps the mails it gets."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.support.wait import LOCALHOST, free_port, wait_until


class _Inbox:
    def __init__(self, *, login):
        self.raw = []
        self._login = login

    async def handle_DATA(self, server, session, envelope):
        if self._login and not session.authenticated:
            return "530 5.7.0 Authentication required"
        self.raw.append((envelope.rcpt_tos, envelope.content))
        return "250 OK"


class MailServer:
    """An SMTP server in a thread. With a password it takes mail only after a login."""

    def __init__(self, user: str | None = None, password: str | None = None) -> None:
        self._inbox = _Inbox(login=user is not None)
        self._given = (user, password)
        self.port = free_port()
        options = {} if user is None else {"authenticator": self._check, "auth_require_tls": False}
        self._controller = Controller(self._inbox, hostname=LOCALHOST, port=self.port, **options)

    def _check(self, server, session, envelope, mechanism, data):
        right = (
            isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == self._given
        )
        return AuthResult(success=right, handled=False)

    def __enter__(self):
        self._controller.start()
        return self

    def __exit__(self, *_):
        self._controller.stop()

    def wait(self, count: int) -> list[EmailMessage]:
        """Wait until so many mails have come, and return them parsed."""
        wait_until(lambda: len(self._inbox.raw) >= count, f"{count} mails", 30)
        return [message_from_bytes(raw, policy=default) for _, raw in self._inbox.raw]

    @property
    def recipients(self) -> list[list[str]]:
        """The recipients of each mail."""
        return [to for to, _ in self._inbox.raw]
