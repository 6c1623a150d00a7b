"""A process that makes the load and measures: one task a line comes in, one result a line goes out."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Self

from tests.bench.callers import call
from tests.bench.floor.alone import publish, pull, read, transact
from tests.bench.importer import bare, imported
from tests.data import REPOSITORY

TASKS: dict[str, Callable[..., Awaitable[Any]]] = {
    "call": call,
    "transact": transact,
    "read": read,
    "publish": publish,
    "pull": pull,
    "bare": bare,
    "imported": imported,
}


class WorkerFailed(Exception):
    """The worker ended before it had answered; its own words are on stderr."""


class Worker:
    """The process as the bench sees it; it ends with its standard input."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.bench.worker"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    def do(self, task: str, **arguments: Any) -> Any:
        """Raises WorkerFailed."""
        self.begin(task, **arguments)
        return self.result()

    def begin(self, task: str, **arguments: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps([task, arguments]) + "\n")
        self._process.stdin.flush()

    def result(self) -> Any:
        """Of what was begun. Raises WorkerFailed."""
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            raise WorkerFailed
        return json.loads(answer)


async def _work() -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        task, arguments = json.loads(line)
        print(json.dumps(await TASKS[task](**arguments)), flush=True)


if __name__ == "__main__":
    asyncio.run(_work())
