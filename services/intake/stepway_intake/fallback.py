"""The last way to a clinician: an email of intake's own to the site's emergency address, when no page goes out."""

from email.message import EmailMessage
from email.utils import formataddr
from urllib.parse import urlsplit
from uuid import UUID

import aiosmtplib

from stepway_chassis.transaction import Site
from stepway_intake.domain.site_rules import rules_of

SECONDS = 10.0
WORDS = "Somebody needs you now, and our pages are not going out. Sign in and take what is open."
"""No name, no clinical word: whoever reads the mailbox has to sign in to learn more."""


class Unsent(Exception):
    """Nobody took it; try again."""


class Fallback:
    """One mail server, apart from the one that notifications use if the site wants to be sure."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if url and (parts.scheme != "smtp" or not parts.hostname):
            raise ValueError("STEPWAY_SMTP_URL has to be smtp://host:port")
        self._host = parts.hostname or ""
        self._port = parts.port or 25

    async def warn(self, site: Site, id: UUID) -> None:
        """`id` is this warning's own. Raises Unsent, also where there is nobody, or no server, to send it to."""
        address = rules_of(site.settings).emergency_email
        if not address or not self._host:
            raise Unsent
        try:
            await aiosmtplib.send(_email(site, address, id), hostname=self._host, port=self._port, timeout=SECONDS)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Unsent from error


def _email(site: Site, address: str, id: UUID) -> EmailMessage:
    email = EmailMessage()
    name = str(site.settings.get("short_name", site.name))
    email["From"] = formataddr((name, str(site.settings.get("email", address))))
    email["To"] = address
    email["Subject"] = name
    email["Message-ID"] = f"<emergency-{id}@{address.rpartition('@')[2]}>"
    email.set_content(WORDS)
    return email
