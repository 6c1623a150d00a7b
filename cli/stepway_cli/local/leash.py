"""A script that becomes another program, as another user if asked, which the kernel ends when the supervisor dies."""

import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG = 1


def leashed(argv: list[str], *, user: str | None, death_signal: signal.Signals) -> list[str]:
    """The command that runs argv on the leash of this process; argv[0] is an absolute path.

    A script between the two, because code in a forked child (preexec_fn) is unsafe beside the threads of gRPC.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(death_signal)), user or "", *argv]


def _become(user: str) -> None:
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def _die_with(parent: int, death_signal: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")


def main(parent: str, death_signal: str, user: str, *argv: str) -> None:
    if user:
        _become(user)  # before the leash, which a change of user clears
    _die_with(int(parent), int(death_signal))
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])
