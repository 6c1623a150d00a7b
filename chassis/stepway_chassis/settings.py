"""What a process reads from its environment: once, into one frozen dataclass."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

PREFIX = "STEPWAY_"
T = TypeVar("T")


class SettingsError(Exception):
    """The environment names something unknown, lacks something, or cannot be read."""


@dataclass(frozen=True)
class Settings:
    """Settings of every service; the name in the environment is STEPWAY_ and the field in capitals."""

    database_url: str
    relay_database_url: str
    keeper_database_url: str
    nats_url: str
    nats_user: str
    nats_password: str
    jwks_file: Path
    service_key_file: Path
    issuer: str
    peers: Mapping[str, str]
    audience: str = "stepway"
    listen: str = "127.0.0.1:0"
    cell: str = "shared"
    reflection: bool = False
    trace_file: Path | None = None
    otlp_endpoint: str | None = None
    trace_ratio: float = 1.0
    metrics_listen: str | None = None
    counts_seconds: float = 5.0
    pool_size: int = 10
    site_pace: float = 40.0
    sites_seconds: float = 5.0
    seal_seconds: float = 10.0
    relay_poll_seconds: float = 2.0
    publish_seconds: float = 5.0
    ack_wait_seconds: float = 30.0
    fetch_seconds: float = 120.0
    retry_seconds: float = 1.0
    max_failures: int = 5
    drain_seconds: float = 6.0


def read(environ: Mapping[str, str], *shapes: type[Any]) -> tuple[Any, ...]:
    """One instance of each dataclass in `shapes`.

    A secret may lie in a file: where STEPWAY_X is known, STEPWAY_X_FILE names a file that holds its value.
    Raises SettingsError naming every STEPWAY_ variable that no shape knows, that is missing, or that does not parse.
    """
    known = {PREFIX + item.name.upper() for shape in shapes for item in fields(shape)}
    environ = _with_files(environ, known)
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return tuple(_instance(environ, shape) for shape in shapes)


def _with_files(environ: Mapping[str, str], known: set[str]) -> dict[str, str]:
    told = dict(environ)
    for name in environ:
        value_of = name.removesuffix("_FILE")
        if name not in known and value_of in known and value_of != name:
            told[value_of] = _content(name, Path(told.pop(name)))
    return told


def _content(name: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"cannot read the file that {name} names") from None


def _instance(environ: Mapping[str, str], shape: type[T]) -> T:
    hints = get_type_hints(shape)
    given: dict[str, Any] = {}
    for item in fields(shape):  # type: ignore[arg-type]
        name = PREFIX + item.name.upper()
        if environ.get(name, "") != "":
            given[item.name] = _parsed(name, environ[name], hints[item.name])
        elif item.default is MISSING:
            raise SettingsError(f"missing: {name}")
    return shape(**given)


def _parsed(name: str, text: str, hint: Any) -> Any:
    try:
        return _PARSERS.get(hint, str)(text)
    except (ValueError, KeyError) as error:
        raise SettingsError(f"cannot read {name}: it has to be {_NAMES.get(hint, 'a text')}") from error


def _pairs(text: str) -> Mapping[str, str]:
    return dict(_pair(part) for part in text.split(",") if part)


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    if not name or not value:
        raise ValueError
    return name, value


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_PARSERS: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    bool: _flag,
    Path: Path,
    Path | None: Path,
    Mapping[str, str]: _pairs,
}
_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Mapping[str, str]: "name=value pairs, comma-separated",
}
