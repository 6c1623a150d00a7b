"""What a deployment on one host has to keep secret: made once, into a folder that only its owner may enter."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from stepway_cli.local.nats import configuration
from stepway_cli.local.roles import ROLES, database_of, role_of, roles_sql
from stepway_cli.services import SERVICES
from stepway_cli.tokens import KeyFolder

POSTGRES, NATS, NATS_STORE = "postgres:5432", "0.0.0.0:4222", Path("/data")


class SecretsExist(Exception):
    """The folder holds secrets; they are never overwritten."""


def make(folder: Path) -> None:
    """Passwords and keys of every service, and what the two servers read at their first start. Raises SecretsExist.

    The folder is closed to others (0700); the files in it are readable (0644), since each container runs as a user of
    its own and sees only the files that are mounted into it.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SecretsExist(f"{folder} is not empty: keep what is there, or name another folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    KeyFolder(folder / "keys").create(SERVICES)
    _write(folder / "postgres" / "password", _password())
    _write(folder / "postgres" / "provision.sql", "".join(_provision(folder, service) for service in SERVICES))
    passwords = {user: _password() for user in ("admin", *SERVICES)}
    for user, password in passwords.items():
        _write(folder / "nats" / user, password)
    _write(folder / "nats" / "nats.conf", configuration(NATS, NATS_STORE, passwords))
    for file in (folder / "keys").iterdir():
        file.chmod(0o644)
    (folder / "keys").chmod(0o755)


def _provision(folder: Path, service: str) -> str:
    """The SQL that makes a service's roles and database; their addresses are left beside it."""
    passwords: Mapping[str, str] = {role: _password() for role in ROLES}
    for role, password in passwords.items():
        url = f"postgresql://{role_of(service, role)}:{password}@{POSTGRES}/{database_of(service)}"
        _write(folder / service / f"{role}_url", url)
    return roles_sql(service, passwords)


def _password() -> str:
    return secrets.token_urlsafe(24)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o755, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)
