"""A NATS server of our own: JetStream that syncs every write, one user per service, least privilege."""

import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from sysconfig import get_path

from stepway_cli.local.folder import RunFolder, write_private
from stepway_cli.local.process import Process

_CONFIG = Template("""\
server_name: stepway
listen: "$listen"
jetstream { store_dir: "$store", sync_interval: always }
feature_flags { js_ack_fc_v2: false }
authorization {
  users: [
    { user: admin, password: "$admin_password" }
$service_users
  ]
}
""")

_SERVICE_USER = Template("""\
    { user: "$service", password: "$password", permissions: {
        publish: [$publish]
        subscribe: ["_INBOX_$service.>", "$$KV.SITES.$service.>", "committed.$service"]
    } }""")

# Both forms of an ack: with and without the domain and the account.
_FOR_EVERY_SERVICE = (
    "$JS.API.INFO",
    "$JS.API.CONSUMER.CREATE.EVENTS.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.>",
    "$JS.API.CONSUMER.INFO.EVENTS.>",
    "$JS.API.CONSUMER.MSG.NEXT.EVENTS.>",
    "$JS.ACK.EVENTS.>",
    "$JS.ACK.*.*.EVENTS.>",
)


def configuration(listen: str, store: Path, passwords: Mapping[str, str]) -> str:
    """Of a server with these users: `admin`, and services, each of which says and hears what is its own."""
    users = (_service_user(name, password) for name, password in passwords.items() if name != "admin")
    return _CONFIG.substitute(
        listen=listen, store=store, admin_password=passwords["admin"], service_users="\n".join(users)
    )


def _service_user(service: str, password: str) -> str:
    publish = (f"evt.v1.*.*.{service}.>", f"committed.{service}", *_FOR_EVERY_SERVICE)
    subjects = ", ".join(f'"{subject}"' for subject in publish)
    return _SERVICE_USER.substitute(service=service, password=password, publish=subjects)


class NatsServer:
    name = "nats"

    def __init__(self, folder: RunFolder, services: Sequence[str]) -> None:
        self._folder = folder
        self._services = tuple(services)
        self._store = folder.path / "nats"
        self._config = folder.path / "nats.conf"
        self.port = folder.port(self.name)
        self._process = Process(
            self.name,
            [str(Path(get_path("scripts"), "nats-server")), "--config", str(self._config)],
            {},
            folder.subfolder("logs") / "nats.log",
        )

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        return self._process.alive

    @property
    def pid(self) -> int:
        return self._process.pid

    def password(self, user: str) -> str:
        return self._folder.secret(f"nats_{user}")

    def start(self) -> None:
        """Write the configuration and wait until the server greets with JetStream on."""
        write_private(self._config, self._configuration())
        self._process.start()
        self._process.wait_until(self._greets, timeout=30)

    def stop(self, *, timeout: float = 5.0) -> None:
        self._process.stop(timeout=timeout)

    def kill(self) -> None:
        self._process.kill()

    def pause(self) -> None:
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def restart(self) -> None:
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Lose every stream and consumer; only while stopped."""
        if self.alive:
            raise RuntimeError("stop the NATS server before its store is wiped")
        shutil.rmtree(self._store, ignore_errors=True)

    def _configuration(self) -> str:
        passwords = {user: self.password(user) for user in ("admin", *self._services)}
        return configuration(f"127.0.0.1:{self.port}", self._store, passwords)

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return b'"jetstream":true' in connection.makefile("rb").readline()
        except OSError:
            return False
