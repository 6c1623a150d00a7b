"""One supervised process: started on a leash, logged to a file, stopped for certain."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from stepway_cli.local.errors import DidNotStart
from stepway_cli.local.leash import leashed

_POLL = 0.02


class Process:
    """A child in a process group of its own, so that Ctrl-C in a terminal reaches the supervisor only."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        log_file: Path,
        *,
        user: str | None = None,
        cwd: Path | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """`death_signal` is what the kernel sends when the supervisor is gone; `user` is another one only as root."""
        self.name = name
        self.log_file = log_file
        self._argv = list(argv)
        self._env = dict(env)
        self._user = user
        self._cwd = cwd
        self._death_signal = death_signal
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Of the running child, or of the last one; LookupError before the first start."""
        if self._child is None:
            raise LookupError(f"{self.name} was never started")
        return self._child.pid

    def start(self) -> None:
        if not self.alive:
            self._child = _spawner().submit(self._spawn).result()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, negative for a signal; TimeoutError when it still runs."""
        if self._child is None:
            raise LookupError(f"{self.name} was never started")
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout} s") from None

    def stop(self, *, timeout: float = 10.0, first: signal.Signals = signal.SIGTERM) -> None:
        """Ask, wait, then kill; a paused child is resumed so that it hears the question."""
        self.ask_to_stop(first)
        self.wait_or_kill(timeout)

    def ask_to_stop(self, first: signal.Signals = signal.SIGTERM) -> None:
        self._signal(first)
        self._signal(signal.SIGCONT)

    def wait_or_kill(self, timeout: float) -> None:
        if self.alive:
            try:
                self.wait(timeout)
            except TimeoutError:
                self.kill()

    def kill(self) -> None:
        """SIGKILL to the child and its process group; returns when the child is gone."""
        if self.alive:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def wait_until(self, ready: Callable[[], bool], *, timeout: float) -> None:
        """Poll `ready`; DidNotStart when the child ends first or the time is over."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.alive:
                raise DidNotStart(self.name, f"ended with code {self.wait()}", self.last_lines())
            if time.monotonic() > deadline:
                raise DidNotStart(self.name, f"was not ready after {timeout:g} s", self.last_lines())
            time.sleep(_POLL)

    def last_lines(self, count: int = 15) -> list[str]:
        """The end of what the child wrote since its last start."""
        with open(self.log_file, "rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace").splitlines()[-count:]

    def _spawn(self) -> subprocess.Popen[bytes]:
        with open(os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            self._log_start = log.seek(0, os.SEEK_END)
            return subprocess.Popen(
                leashed(self._argv, user=self._user, death_signal=self._death_signal),
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)


@cache
def _spawner() -> ThreadPoolExecutor:
    """The one thread that starts children: the kernel's leash is tied to the thread, and the caller's may end early."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
