"""Texts as files in a folder: what a clinic without an SMS gateway, a test or a demo reads."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from stepway_notifications.channels.channel import Busy, Outgoing


class FileChannel:
    """One file per message, <folder>/<site>/<message id>.txt; a message that is there already is not written again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def hand_over(self, message: Outgoing) -> None:
        try:
            await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise Busy from error

    def _write(self, message: Outgoing) -> None:
        folder = self._folder / message.site
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target, draft = folder / f"{message.id}.txt", folder / f".{message.id}.draft"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(f"To: {message.address}\n\n{message.body}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, target)
        draft.unlink()
