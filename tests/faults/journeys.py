"""What callers remember of people, so that each command asks for what has not been asked for."""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from stepway.intake.v1.level_of_care_pb2 import LEVEL_OF_CARE_INTENSIVE_OUTPATIENT
from tests.faults.history import Command, Kind


@dataclass
class Journeys:
    """Of one site; what is taken from a list is not there for another caller."""

    patients: dict[str, str] = field(default_factory=dict)  # by referral
    members: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # by patient
    undecided: list[str] = field(default_factory=list)  # referrals that were screened
    unadmitted: list[str] = field(default_factory=list)  # referrals for which the programme is right
    consents: list[str] = field(default_factory=list)  # that nobody has revoked
    asked: set[tuple[Kind, str]] = field(default_factory=set)

    def heard_of(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self.hear(command)

    def hear(self, command: Command) -> None:
        """A command was sent; of what had no answer nothing more is asked."""
        self.asked.add((command.kind, command.about))
        if command.done:
            self._learn(command)

    def _learn(self, command: Command) -> None:
        match command.kind:
            case Kind.RECEIVE:
                self.patients[command.ids["id"]] = command.ids["patient"]
            case Kind.ASSESS:
                self.undecided.append(command.about)
            case Kind.DECIDE if command.request.level == LEVEL_OF_CARE_INTENSIVE_OUTPATIENT:
                self.unadmitted.append(command.about)
            case Kind.GRANT:
                self.consents.append(command.ids["id"])
                self.members[command.about].append(command.ids["family_member"])

    def take_undecided(self, rng: random.Random) -> str | None:
        return self._unasked(self.undecided, Kind.DECIDE, rng)

    def take_unadmitted(self, rng: random.Random) -> str | None:
        return self._unasked(self.unadmitted, Kind.ADMIT, rng)

    def take_consent(self, rng: random.Random) -> str | None:
        return self._unasked(self.consents, Kind.REVOKE, rng)

    def _unasked(self, waiting: list[str], kind: Kind, rng: random.Random) -> str | None:
        while waiting:
            taken = waiting.pop(rng.randrange(len(waiting)))
            if (kind, taken) not in self.asked:
                self.asked.add((kind, taken))
                return taken
        return None

    def somebody(self, rng: random.Random) -> str | None:
        """A referral, more often one of the newest."""
        known = [*self.patients]
        return rng.choice(known[-30:]) if known else None

    def patient(self, rng: random.Random) -> str | None:
        referral = self.somebody(rng)
        return self.patients[referral] if referral else None
