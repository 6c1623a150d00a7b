"""What a file says, followed as the file changes: keys that are rotated while the service runs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from stepway_chassis.logs import log

T = TypeVar("T")
LOOK_SECONDS = 1.0  # how often the file is looked at, while somebody asks


class Watched(Generic[T]):
    """What a file holds, read again when the file is another one; a file that cannot be read changes nothing."""

    def __init__(self, file: Path, read: Callable[[str], T]) -> None:
        self._file = file
        self._read = read
        self._seen = self._state()
        self._held = read(file.read_text())
        self._looked_at = time.monotonic()

    def now(self) -> T:
        if time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._look()
        return self._held

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        try:
            state = self._state()
            if state != self._seen:
                self._held, self._seen = self._read(self._file.read_text()), state
                log.info("file.changed")
        except Exception as error:
            log.error("file.unread", error_type=type(error).__name__)

    def _state(self) -> tuple[int, int, int]:
        status = self._file.stat()
        return status.st_mtime_ns, status.st_ino, status.st_size
