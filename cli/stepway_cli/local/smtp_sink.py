"""A mail server that delivers to a folder: `python -m stepway_cli.local.smtp_sink --port 2525 --directory mails`.

Each accepted mail becomes one file `<number>-<hash of its Message-ID>.eml`, complete from the moment it has that name,
with a Delivered-To line per recipient on top; the same mail sent twice is two files with the same hash.
A recipient whose local part is `refused` gets 550 (never), `busy` gets 451 (try again later).
"""

import argparse
import asyncio
import hashlib
from email import message_from_bytes, policy
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

_REPLIES = {"refused": "550 5.1.1 No such mailbox", "busy": "451 4.7.1 Try again later"}


class MailFolder:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = max((int(mail.name.split("-")[0]) for mail in directory.glob("*.eml")), default=0)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = _REPLIES.get(address.split("@")[0])
        if reply is not None:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self._keep(envelope.original_content or b"", envelope.rcpt_tos)
        return "250 OK"

    def _keep(self, content: bytes, recipients: list[str]) -> None:
        self._count += 1
        mail = self._directory / f"{self._count:06}-{_hash_of_message_id(content)}.eml"
        new = mail.with_suffix(".part")
        new.write_bytes("".join(f"Delivered-To: {address}\r\n" for address in recipients).encode() + content)
        new.rename(mail)


def _hash_of_message_id(content: bytes) -> str:
    message_id = message_from_bytes(content, policy=policy.default)["Message-ID"] or ""
    return hashlib.sha256(str(message_id).strip().encode()).hexdigest()[:16]


async def serve(port: int, directory: Path) -> None:
    mails = MailFolder(directory)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(mails, hostname="localhost", enable_SMTPUTF8=True, loop=loop), "127.0.0.1", port
    )
    await server.serve_forever()


def main() -> None:
    arguments = argparse.ArgumentParser(description="Deliver mail to a folder.")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--directory", type=Path, required=True)
    given = arguments.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(given.port, given.directory))


if __name__ == "__main__":
    main()
