"""A service of no clinic, for the chassis to run: accounts that are noted and closed, with a database of its own."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import asyncpg
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_tools import protoc

from stepway_chassis import contracts, schema
from stepway_chassis.app import App, Runtime, Wiring
from stepway_chassis.call import Call, Caller, Kind, Scope, current
from stepway_chassis.database import Database
from stepway_chassis.deliveries import Handler
from stepway_chassis.loops import Loop
from stepway_chassis.transaction import Tx
from stepway_cli.services import SERVICES
from stepway_cli.tokens import AUDIENCE
from tests.data import REPOSITORY
from tests.network import Network

SITE, OTHER_SITE, FAR_SITE = "harbour", "meadow", "island"
FAR_CELL = "overseas"
NOTE = "stepway.ledger.v1.LedgerService/Note"
LOOK = "stepway.ledger.v1.LedgerService/Look"
SERVICE = "stepway.ledger.v1.LedgerService"
Decide = Callable[[Tx, Any], Awaitable[Any]]

_PROTO = """
syntax = "proto3";
package stepway.ledger.v1;
import "google/protobuf/timestamp.proto";
import "stepway/access/v1/access.proto";
import "stepway/events/v1/events.proto";
import "stepway/privacy/v1/privacy.proto";

service LedgerService {
  rpc Note(NoteRequest) returns (NoteResponse) {
    option (stepway.access.v1.rpc) = {
      effect: EFFECT_WRITE grants: { roles: [ROLE_CLINICIAN] scope: SCOPE_SITE }
    };
  }
  rpc Look(NoteRequest) returns (NoteResponse) {
    option (stepway.access.v1.rpc) = {
      effect: EFFECT_READ grants: { roles: [ROLE_CLINICIAN] scope: SCOPE_SITE } services: ["care"]
    };
  }
}
message NoteRequest {
  string request_id = 1 [(stepway.privacy.v1.public) = PUBLIC_ID];
}
message NoteResponse {
  string said = 1 [(stepway.privacy.v1.public) = PUBLIC_CODE];
}
message Noted {
  option (stepway.events.v1.event) = {
    noun: "account" id_field: "account_id" lane: LANE_NORMAL dataref: "stepway.ledger.v1.LedgerService/Look"
  };
  string account_id = 1 [(stepway.privacy.v1.public) = PUBLIC_ID];
  google.protobuf.Timestamp noted_at = 2;
  int64 line = 3;
}
message Counted {
  option (stepway.events.v1.event) = {
    noun: "account" id_field: "account_id" lane: LANE_NORMAL dataref: "stepway.ledger.v1.LedgerService/Look"
  };
  string account_id = 1 [(stepway.privacy.v1.public) = PUBLIC_ID];
}
message Closed {
  option (stepway.events.v1.event) = {
    noun: "account" id_field: "account_id" lane: LANE_URGENT dataref: "stepway.ledger.v1.LedgerService/Look"
  };
  string account_id = 1 [(stepway.privacy.v1.public) = PUBLIC_ID];
}
"""


@cache
def message(name: str) -> type[Message]:
    """A message of the ledger's contract, which is compiled when it is first needed."""
    _compiled()
    found = descriptor_pool.Default().FindMessageTypeByName(f"stepway.ledger.v1.{name}")
    return message_factory.GetMessageClass(found)


@cache
def _compiled() -> None:
    assert contracts  # what it imports is in the pool already
    with TemporaryDirectory() as folder:
        Path(folder, "ledger.proto").write_text(_PROTO)
        paths = [f"--proto_path={path}" for path in (folder, REPOSITORY / "protos", files("grpc_tools") / "_proto")]
        assert protoc.main(["protoc", *paths, f"--descriptor_set_out={folder}/ledger.binpb", "ledger.proto"]) == 0
        found = descriptor_pb2.FileDescriptorSet.FromString(Path(folder, "ledger.binpb").read_bytes())
    descriptor_pool.Default().AddSerializedFile(found.file[0].SerializeToString())


def a_note(**changes: Any) -> Any:
    return message("NoteRequest")(**{"request_id": str(uuid4()), **changes})


def said(word: str = "") -> Any:
    return message("NoteResponse")(said=word)


def noted(account: Any, line: int = 0) -> Any:
    return message("Noted")(account_id=str(account), line=line)


def counted(account: Any) -> Any:
    return message("Counted")(account_id=str(account))


def closed(account: Any) -> Any:
    return message("Closed")(account_id=str(account))


class LedgerService:
    """Does what the test decides."""

    SERVICE = SERVICE

    def __init__(self, database: Database, decide: Decide) -> None:
        self._database = database
        self._decide = decide

    async def Note(self, request: Any, _: object) -> Any:
        return await self._database.command(request, message("NoteResponse"), self._decide)

    async def Look(self, request: Any, _: object) -> Any:
        return await self._database.query(request, self._decide)


def an_app(
    decide: Decide,
    loops: Callable[[Runtime], Iterable[Loop]] = lambda _: (),
    handlers: Sequence[Handler[Any]] = (),
) -> App:
    def wire(runtime: Runtime, _: None) -> Wiring:
        servicers = [LedgerService(runtime.database, decide)]
        return Wiring(servicers=servicers, loops=list(loops(runtime)), handlers=handlers)

    _compiled()
    return App("ledger", wire)


@dataclass
class Ledger:
    """The ledger's database, on the server that the platform runs."""

    network: Network
    _open: list[Database] = field(default_factory=list)

    async def create(self) -> None:
        self.network.platform.postgres.provision("ledger")
        self.network.platform.keys.create((*SERVICES, "ledger"))
        owner = await asyncpg.connect(self.url("owner"))
        for statement in (*_versions(), *_accounts()):
            await owner.execute(statement)
        await owner.close()
        rows = [(SITE, "shared"), (OTHER_SITE, "shared"), (FAR_SITE, FAR_CELL)]
        values = ", ".join(f"('{site}', 'America/New_York', '{{}}', 1, '{cell}')" for site, cell in rows)
        self.sql(f"INSERT INTO site (site, zone, settings, revision, cell) VALUES {values}")

    def url(self, role: str) -> str:
        return self.network.platform.database_url("ledger", role)

    def sql(self, statement: str) -> str:
        return self.network.platform.postgres.run_sql(statement, database="stepway_ledger")

    def rows(self, query: str) -> list[dict[str, Any]]:
        return self.network.rows("ledger", query)

    def environment(self, **changes: str) -> dict[str, str]:
        """What a ledger is told that runs inside the test."""
        told = self.network.platform.environment("care")
        del told["STEPWAY_TRACE_FILE"]
        address, user, password = self.network.platform.nats_admin
        changes = {
            "listen": "127.0.0.1:0",
            "metrics_listen": "127.0.0.1:0",
            "database_url": self.url("app"),
            "relay_database_url": self.url("relay"),
            "keeper_database_url": self.url("keeper"),
            "nats_url": address,
            "nats_user": user,
            "nats_password": password,
            "service_key_file": str(self.network.platform.keys.service_key_file("ledger")),
            "audience": AUDIENCE,
            "drain_seconds": "2",
            **changes,
        }
        return told | {f"STEPWAY_{name.upper()}": value for name, value in changes.items()}

    def database(self, **changes: Any) -> Database:
        given: Mapping[str, Any] = {"url": self.url("app"), "service": "ledger", "cell": "shared", **changes}
        self._open.append(Database(**given))
        return self._open[-1]

    async def close(self) -> None:
        while self._open:
            await self._open.pop().close()

    @asynccontextmanager
    async def transaction(self, database: Database, site: str = SITE) -> AsyncIterator[Tx]:
        async with database.transaction(site, "test") as tx:
            yield tx


def _versions() -> Iterable[str]:
    """The chassis's tables as a service has them by now."""
    for version in (schema.version_1, schema.version_2, schema.version_3, schema.version_4, schema.version_5):
        yield from version("ledger")


def _accounts() -> Iterable[str]:
    yield """
        CREATE TABLE account (
            site text NOT NULL,
            id uuid NOT NULL,
            colour text NOT NULL,
            note text,
            entered_by text NOT NULL,
            PRIMARY KEY (site, id)
        )"""
    yield from schema.protect("ledger", "account", "SELECT, INSERT, UPDATE")


@contextmanager
def a_call(*, seconds: float = 10.0, site: str = SITE, rpc: str = NOTE) -> Any:
    """As if the server had let this call in."""
    caller = Caller("tester", Kind.STAFF, {site: frozenset({"clinician"})})
    token = current.set(Call(rpc, site, caller, Scope.SITE, time.monotonic() + seconds))
    try:
        yield
    finally:
        current.reset(token)
