"""A target that is sent by SMTP."""

import asyncio
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import aiosmtplib

from proxy.alerts.targets.target import DeliveryError
from proxy.config.alerts import Mail
from proxy.ledger.alerts import AlertMessage


class MailTarget:
    """Send messages to some addresses by one SMTP server, each on a connection of its own."""

    def __init__(self, settings: Mail, password: str | None) -> None:
        self._settings = settings
        self._password = password

    @property
    def longest_s(self) -> float:
        """The longest time of one attempt in seconds. The server has as much time again for the end of the connection."""
        return 2 * self._settings.timeout_s

    async def send(self, message: AlertMessage) -> None:
        """Send a message.

        Raises:
            DeliveryError: the server does not answer in time, or refuses the message or all recipients.
        """
        mail = self._settings
        try:
            async with asyncio.timeout(mail.timeout_s):
                await aiosmtplib.send(
                    email_of(message, mail),
                    hostname=mail.host,
                    port=mail.port,
                    username=mail.username,
                    password=self._password,
                    use_tls=mail.security == "tls",
                    start_tls=mail.security == "starttls",
                    timeout=mail.timeout_s,
                )
        except TimeoutError:
            raise DeliveryError(f"the mail server did not answer in {mail.timeout_s:g} s") from None
        except aiosmtplib.SMTPRecipientsRefused:
            raise DeliveryError("the mail server refused all recipients") from None
        except aiosmtplib.SMTPResponseException as e:
            # Not the words of the server, which may repeat the password.
            raise DeliveryError(f"the mail server answered {e.code} ({type(e).__name__})") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as e:
            raise DeliveryError(f"the mail server cannot be used ({type(e).__name__})") from None


def email_of(message: AlertMessage, mail: Mail) -> EmailMessage:
    """Return an e-mail. Its headers have one line each, whatever the names in its title are."""
    email = EmailMessage(policy=SMTP)
    email["Subject"] = " ".join(f"[cope-proxy] {message.title}".split())
    email["From"] = mail.sender
    email["To"] = ", ".join(mail.to)
    email["Date"] = format_datetime(message.created_at)
    # The same in each attempt, so that mail programs can drop the second one.
    email["Message-ID"] = f"<{message.id}@{mail.sender.rpartition('@')[2]}>"
    email["Auto-Submitted"] = "auto-generated"
    email["X-Cope-Alert"] = message.alert
    email.set_content(f"{message.title}\n\n{message.text}\n\nAlert {message.alert}, {message.id}\n")
    return email
