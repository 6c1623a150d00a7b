"""Who begins in the line, who sits, and who has left."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from stepway_chassis.errors import Conflict
from stepway_scheduling.domain import Admission, Daypart, Enrollment, Status, confirm, end, queue

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ENROLLMENT, ADMISSION, PATIENT, TRACK = (UUID(int=number) for number in range(1, 5))


def an_enrollment(**changes: Any) -> Enrollment:
    admission = Admission(ADMISSION, PATIENT, (Daypart.EVENING, Daypart.WEEKEND), NOON)
    return replace(queue(admission, id=ENROLLMENT), **changes)


def test_whoever_is_admitted_begins_in_the_line_from_the_moment_of_their_admission() -> None:
    waiting = an_enrollment()
    assert (waiting.status, waiting.admitted_at, waiting.track_id) == (Status.WAITLISTED, NOON, None)
    assert waiting.availability == (Daypart.EVENING, Daypart.WEEKEND)


def test_a_seat_is_in_a_track_and_has_a_time() -> None:
    seated = confirm(an_enrollment(), track_id=TRACK, at=NOON)
    assert (seated.status, seated.track_id, seated.confirmed_at) == (Status.CONFIRMED, TRACK, NOON)


@pytest.mark.parametrize("status", [Status.WAITLISTED, Status.CONFIRMED])
def test_a_seat_or_a_place_in_the_line_is_given_back_once(status: Status) -> None:
    later = NOON + timedelta(days=1)
    ended = end(an_enrollment(status=status), at=later)
    assert (ended.status, ended.ended_at) == (Status.ENDED, later)
    with pytest.raises(Conflict) as refused:
        end(ended, at=later)
    assert refused.value.reason == "ENROLLMENT_ALREADY_ENDED"
