"""Emails over SMTP."""

from email.message import EmailMessage
from email.utils import formataddr
from urllib.parse import urlsplit

import aiosmtplib

from stepway_notifications.channels.channel import Busy, Outgoing, Refused

SECONDS = 10.0


class SmtpChannel:
    """Hands over to one server. A repeat carries the same Message-ID, by which mail systems know it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "smtp" or not parts.hostname:
            raise ValueError("STEPWAY_SMTP_URL has to be smtp://host:port")
        self._host = parts.hostname
        self._port = parts.port or 25

    async def hand_over(self, message: Outgoing) -> None:
        try:
            await aiosmtplib.send(_email(message), hostname=self._host, port=self._port, timeout=SECONDS)
        except aiosmtplib.SMTPRecipientsRefused as error:
            permanent = all(500 <= refused.code < 600 for refused in error.recipients)
            raise (Refused if permanent else Busy) from None
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
            raise (Refused if 500 <= error.code < 600 else Busy) from None
        except (aiosmtplib.SMTPException, OSError):
            raise Busy from None


def _email(message: Outgoing) -> EmailMessage:
    email = EmailMessage()
    email["From"] = formataddr((message.sender, message.sender_address))
    email["To"] = message.address
    email["Subject"] = message.sender
    email["Message-ID"] = f"<{message.id}@{message.sender_address.rpartition('@')[2]}>"
    email.set_content(message.body)
    return email
