"""Texts as files in a folder: what a clinic without an SMS gateway, a test or a demo reads."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from stepway_notifications.channels.channel import Ask, Busy, Leave, Outgoing


class FileChannel:
    """One file per message, <folder>/<site>/<message id>.txt; a message that is there already is not written again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def hand_over(self, message: Outgoing, ask: Ask) -> None:
        leave = await ask()
        try:
            await asyncio.to_thread(self._write, message, leave)
        except OSError as error:
            raise Busy from error

    def _write(self, message: Outgoing, leave: Leave) -> None:
        folder = self._folder / message.site
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=folder, prefix=".", suffix=".draft", encoding="utf-8") as draft:
            draft.write(f"To: {message.address}\n\n{message.body}\n")
            draft.flush()
            os.fsync(draft.fileno())
            leave.check()
            with suppress(FileExistsError):
                os.link(draft.name, folder / f"{message.id}.txt")
