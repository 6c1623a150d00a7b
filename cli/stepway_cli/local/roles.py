"""The database and the roles of one service, as SQL that may run again and again."""

import re
from collections.abc import Mapping
from string import Template

ROLES = ("owner", "app", "relay", "keeper", "registrar")

_KEEPALIVES = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}
_SHORT_TRANSACTIONS = {"idle_in_transaction_session_timeout": "10s", "transaction_timeout": "30s"}

# A stopped process must hold nobody up: its locks go within seconds, and the relay's shards with its session.
_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "app": _SHORT_TRANSACTIONS | _KEEPALIVES,
    "keeper": _SHORT_TRANSACTIONS | _KEEPALIVES,
    "relay": {"idle_session_timeout": "10s"} | _KEEPALIVES,
}

_ROLE = Template(r"""
SELECT 'CREATE ROLE $role' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$role') \gexec
ALTER ROLE $role LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION PASSWORD '$password';
""")

_DATABASE = Template(r"""
SELECT 'CREATE DATABASE $database OWNER $owner'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '$database') \gexec
REVOKE ALL ON DATABASE $database FROM PUBLIC;
GRANT CONNECT ON DATABASE $database TO $roles;
""")


def database_of(service: str) -> str:
    return f"stepway_{service}"


def role_of(service: str, role: str) -> str:
    return f"{service}_{role}"


def roles_sql(service: str, passwords: Mapping[str, str]) -> str:
    """For psql (it uses \\gexec), as an administrator; `passwords` has one for each of ROLES."""
    _refuse_quoting(service, *passwords.values())
    return "".join([*(_role_sql(service, role, passwords[role]) for role in ROLES), _database_sql(service)])


def _role_sql(service: str, role: str, password: str) -> str:
    name = role_of(service, role)
    settings = (f"ALTER ROLE {name} SET {key} = '{value}';\n" for key, value in _SETTINGS.get(role, {}).items())
    return _ROLE.substitute(role=name, password=password) + "".join(settings)


def _database_sql(service: str) -> str:
    roles = ", ".join(role_of(service, role) for role in ROLES)
    return _DATABASE.substitute(database=database_of(service), owner=role_of(service, "owner"), roles=roles)


def _refuse_quoting(*words: str) -> None:
    for word in words:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", word):
            raise ValueError("a service name or password holds a character that SQL would have to quote")
