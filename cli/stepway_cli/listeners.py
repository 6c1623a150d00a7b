"""Who listens to what inside Stepway: the handlers of every service, as each declares them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from stepway_care import consumers as care
from stepway_chassis.deliveries import Handler
from stepway_chassis.rpc.client import Peers
from stepway_family import consumers as family
from stepway_intake import consumers as intake
from stepway_notifications import consumers as notifications
from stepway_scheduling import consumers as scheduling


def handlers(peers: Peers | None = None) -> Mapping[str, Sequence[Handler[Any]]]:
    """By service; `peers` is whom they would ask, and may be left out where they are only listed."""
    asked = cast(Peers, peers)
    return {
        "intake": intake.handlers(asked),
        "scheduling": scheduling.handlers(asked),
        "care": care.handlers(),
        "family": family.handlers(),
        "notifications": notifications.handlers(asked),
    }


def wanted(type: str) -> Iterator[tuple[str, str]]:
    """The service and name of each handler of this type of event."""
    for service, known in handlers().items():
        yield from ((service, each.name) for each in known if each.event.DESCRIPTOR.full_name == type)
