"""The whole wiring of family."""

from stepway_chassis.app import App, Runtime, Wiring
from stepway_family.consumers import handlers
from stepway_family.inviting import inviting
from stepway_family.service import FamilyGroupService, InvitationService


def wire(runtime: Runtime, _: None) -> Wiring:
    return Wiring(
        servicers=[FamilyGroupService(runtime.database), InvitationService(runtime.database, runtime.peers)],
        handlers=handlers(),
        loops=[inviting(runtime.database, runtime.peers, runtime.telemetry)],
    )


APP = App("family", wire)
