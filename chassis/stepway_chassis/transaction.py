"""An open transaction inside one site: where it is, for whom it works, and what it leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from stepway_chassis.call import Caller, Scope
from stepway_chassis.errors import Denied
from stepway_chassis.statements import Statements


@dataclass(frozen=True)
class Site:
    """The site that a transaction has entered: its IANA zone and its registered settings."""

    name: str
    zone: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """What a transaction takes as it enters its site, in the same round trip: a row, unless it is there, or a lock.

    `statement` selects from `entered` and returns a row if it got it; $1 is the site, `values` are $3 and so on.
    """

    statement: str
    values: tuple[Any, ...] = ()


@dataclass
class Tx:
    """An open transaction inside one site.

    `correlation` and `causation` are what the events announced in it will carry; a consumer's transaction takes them
    from the event that it handles.
    """

    connection: AsyncConnection
    driver: Any
    statements: Statements
    service: str
    site: Site
    caller: Caller
    scope: Scope
    action: str
    purpose: str
    now: datetime
    claimed: bool  # whether the claim got what it is for; true where nothing was claimed
    correlation: str = ""
    causation: str = ""
    stands_for: str = ""  # by which id the caller's own records are kept, where they were merged into others
    people: list[UUID] = field(default_factory=list)
    # Events that are not stored yet, by noun and id of what they are about.
    announced: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    sought: list[UUID] = field(default_factory=list)  # whose record was found, whether or not it may be told of
    concerned: bool = False
    work_left: set[str] = field(default_factory=set)  # who has something to do after the commit: loops, the relay
    audited: bool = False  # the sealer has something to do after the commit

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    async def run(self, statement: str, *values: Any) -> Any:
        """What the chassis itself does at every call and every event; its first row, if it returns any.

        It goes straight to the driver, which costs a third of `execute`.
        """
        with self.statements.span(statement):
            return await self.driver.fetchrow(statement, *values)

    def concerns(self, *people: UUID, held_by: str | None = None) -> None:
        """Say whose records this call touches, for the audit and for the reach of the caller's role.

        `held_by` is the subject whom the record was given to (ASSIGNED) or is about (SELF); left out, it is the person.
        Raises Denied when the record lies outside the caller's scope; a handler turns that into its own NOT_FOUND by
        calling `within` first.
        """
        self.concerned = True
        self.people.extend(people)
        holders = [held_by] if held_by is not None else [str(person) for person in people]
        if not all(self.within(holder) for holder in holders):
            raise Denied("OUT_OF_SCOPE", "The record is not the caller's.")

    def reaches(self, person: UUID, *, held_by: str | None = None) -> bool:
        """Whether a record about this person lies inside the caller's scope; if not, the audit knows who sought it."""
        self.sought.append(person)
        return self.within(str(person) if held_by is None else held_by)

    def within(self, holder: str) -> bool:
        """Whether a record of this holder lies inside the caller's scope."""
        return self.scope is Scope.SITE or holder in (self.caller.subject, self.stands_for)
