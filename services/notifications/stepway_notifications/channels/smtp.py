"""Emails over SMTP."""

from email.message import EmailMessage
from email.utils import formataddr
from typing import Any
from urllib.parse import urlsplit

import aiosmtplib

from stepway_notifications.channels.channel import Ask, Busy, Leave, Outgoing, Refused

SECONDS = 10.0
START_INPUT, COMPLETED = 354, 250


class SmtpChannel:
    """Hands over to one server. A repeat carries the same Message-ID, by which mail systems know it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "smtp" or not parts.hostname:
            raise ValueError("STEPWAY_SMTP_URL has to be smtp://host:port")
        self._host = parts.hostname
        self._port = parts.port or 25

    async def hand_over(self, message: Outgoing, ask: Ask) -> None:
        """Nothing of the message, nor whom it goes to, is said before it has leave to go."""
        server = _Server(self._host, self._port)
        try:
            async with server:
                server.leave = await ask()
                await server.send_message(_email(message))
        except aiosmtplib.SMTPRecipientsRefused as error:
            permanent = all(500 <= refused.code < 600 for refused in error.recipients)
            raise (Refused if permanent else Busy) from None
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
            raise (Refused if 500 <= error.code < 600 else Busy) from None
        except (aiosmtplib.SMTPException, OSError):
            raise Busy from None


class _Server(aiosmtplib.SMTP):
    """Checks the leave once more when the server has said that it will take the content, however long that took."""

    leave: Leave

    def __init__(self, host: str, port: int) -> None:
        super().__init__(hostname=host, port=port, timeout=SECONDS)

    async def data(self, message: str | bytes, /, **_: Any) -> aiosmtplib.SMTPResponse:
        ready = await self.execute_command(b"DATA")
        if ready.code != START_INPUT:
            raise aiosmtplib.SMTPDataError(ready.code, ready.message)
        try:
            self.leave.check()
            return await self._take(_content(message))
        except (Busy, aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError):
            self.close()  # whatever is said now would be taken for content
            raise

    async def _take(self, content: bytes) -> aiosmtplib.SMTPResponse:
        assert self.protocol is not None
        self.protocol.write(content)
        taken = await self.protocol.read_response(timeout=SECONDS)
        if taken.code != COMPLETED:
            raise aiosmtplib.SMTPDataError(taken.code, taken.message)
        return taken


def _content(message: str | bytes) -> bytes:
    """Its lines as they go over the wire (RFC 5321, 4.5.2), and the line that ends them."""
    lines = (message.encode() if isinstance(message, str) else message).splitlines()
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


def _email(message: Outgoing) -> EmailMessage:
    email = EmailMessage()
    email["From"] = formataddr((message.sender, message.sender_address))
    email["To"] = message.address
    email["Subject"] = message.sender
    email["Message-ID"] = f"<{message.id}@{message.sender_address.rpartition('@')[2]}>"
    email.set_content(message.body)
    return email
