"""One good command of each kind, with a mark of its own in what it writes; which RPC it goes to, and who sends it."""

import random
from collections.abc import Sequence
from uuid import uuid4

from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_PLAN, CONSENT_CATEGORY_SCHEDULE
from stepway.intake.v1.consent_service_pb2 import RevokeConsentRequest
from stepway.intake.v1.level_of_care_pb2 import LEVEL_OF_CARE_INTENSIVE_OUTPATIENT, LEVEL_OF_CARE_OUTPATIENT
from stepway.notifications.v1.escalation_service_pb2 import AcknowledgeEscalationRequest
from stepway.scheduling.v1.enrollment_service_pb2 import EndEnrollmentRequest
from stepway.scheduling.v1.track_pb2 import DAYPART_EVENING, DAYPART_MORNING, Daypart
from stepway_chassis.times import to_proto
from tests.cases import ON_CALL, a_consent, a_decision, a_family_group, a_track, an_admission
from tests.faults.history import Command, History, Kind
from tests.network import a_referral, phq_9

RPCS = {
    Kind.OPEN_TRACK: ("stepway.scheduling.v1.TrackService/CreateTrack", "site_lead"),
    Kind.PLAN_GROUP: ("stepway.family.v1.FamilyGroupService/PlanFamilyGroup", "clinician"),
    Kind.RECEIVE: ("stepway.intake.v1.ReferralService/ReceiveReferral", "front_desk"),
    Kind.ASSESS: ("stepway.intake.v1.AssessmentService/RecordAssessment", "clinician"),
    Kind.DECIDE: ("stepway.intake.v1.LevelOfCareService/DecideLevelOfCare", "clinician"),
    Kind.GRANT: ("stepway.intake.v1.ConsentService/GrantConsent", "front_desk"),
    Kind.ADMIT: ("stepway.intake.v1.AdmissionService/AdmitPatient", "clinician"),
    Kind.REVOKE: ("stepway.intake.v1.ConsentService/RevokeConsent", "front_desk"),
    Kind.END: ("stepway.scheduling.v1.EnrollmentService/EndEnrollment", "front_desk"),
    Kind.ACKNOWLEDGE: ("stepway.notifications.v1.EscalationService/AcknowledgeEscalation", "clinician"),
}
_SUBJECTS = {"site_lead": "lead", "clinician": "assessor", "front_desk": "desk"}
EVENINGS = (DAYPART_EVENING,)
AVAILABLE: Sequence[Sequence[Daypart]] = (EVENINGS, EVENINGS, (DAYPART_MORNING,), (DAYPART_EVENING, DAYPART_MORNING))


class Commands:
    """Each is in the history before it is sent."""

    def __init__(self, history: History, rng: random.Random) -> None:
        self._history = history
        self._rng = rng

    def open_track(self, site: str, daypart: Daypart, seats: int) -> Command:
        name = str(uuid4())
        return self._add(Kind.OPEN_TRACK, site, a_track(name=name, daypart=daypart, seats=seats), mark=name)

    def plan_group(self, site: str, seats: int) -> Command:
        starts_at = self._history.starts_at()
        request = a_family_group(starts_at=to_proto(starts_at), seats=seats)
        return self._add(Kind.PLAN_GROUP, site, request, mark=starts_at.isoformat())

    def receive(self, site: str) -> Command:
        request_id, number = str(uuid4()), len(self._history.commands)
        points = [{"phone": f"+1212{number:07}"}, {"email": f"p{number}@example.org"}, {"phone": f"+1312{number:07}"}]
        person = {"given_name": "Quillan", "family_name": "Vexmoor"}
        person |= {"contact_points": self._rng.sample(points, self._rng.randint(1, 3))}  # type: ignore[dict-item]
        request = a_referral(request_id=request_id, person=person, reason=request_id)
        return self._add(Kind.RECEIVE, site, request, mark=request_id)

    def assess(self, site: str, referral: str, *, in_danger: bool | None = None) -> Command:
        """Somebody in danger, or not, or by chance."""
        answered_at = self._history.answered_at()
        last = self._rng.choice((0, 0, 1, 3)) if in_danger is None else 3 * in_danger
        values = [self._rng.randint(0, 3) for _ in range(8)] + [last]
        request = phq_9(referral, [*values], answered_at=to_proto(answered_at))
        return self._add(Kind.ASSESS, site, request, mark=answered_at.isoformat(), about=referral)

    def decide(self, site: str, referral: str, *, offered: bool = True) -> Command:
        level = LEVEL_OF_CARE_INTENSIVE_OUTPATIENT if offered else LEVEL_OF_CARE_OUTPATIENT
        rationale = str(uuid4())
        request = a_decision(referral, rationale=rationale, level=level)
        return self._add(Kind.DECIDE, site, request, mark=rationale, about=referral)

    def grant(self, site: str, patient: str, *, again_to: str = "", covers: bool = True) -> Command:
        """To somebody new with a telephone and an email address, or to whom an earlier consent names."""
        number, purpose = len(self._history.commands), str(uuid4())
        category = CONSENT_CATEGORY_SCHEDULE if covers else CONSENT_CATEGORY_PLAN
        points = [{"phone": f"+1718{number:07}"}, {"email": f"f{number}@example.org"}]
        uncle = {"given_name": "Corwin", "family_name": "Vexmoor", "contact_points": points}
        named = {"family_member_id": again_to} if again_to else {"family_member_id": None, "family_member": uncle}
        request = a_consent(patient, categories=[category], purpose=purpose, **named)
        return self._add(Kind.GRANT, site, request, mark=purpose, about=patient)

    def admit(self, site: str, referral: str, available: Sequence[Daypart] = ()) -> Command:
        request = an_admission(referral, availability=[*(available or self._rng.choice(AVAILABLE))])
        return self._add(Kind.ADMIT, site, request, mark=referral, about=referral)

    def revoke(self, site: str, consent: str) -> Command:
        request = RevokeConsentRequest(request_id=str(uuid4()), consent_id=consent)
        return self._add(Kind.REVOKE, site, request, mark=consent, about=consent)

    def end(self, site: str, enrollment: str) -> Command:
        request = EndEnrollmentRequest(request_id=str(uuid4()), enrollment_id=enrollment)
        return self._add(Kind.END, site, request, mark=enrollment, about=enrollment)

    def acknowledge(self, site: str, page: str) -> Command:
        request = AcknowledgeEscalationRequest(request_id=str(uuid4()), escalation_id=page)
        return self._add(Kind.ACKNOWLEDGE, site, request, subject=ON_CALL[site], mark=page, about=page)

    def _add(self, kind: Kind, site: str, request: object, *, mark: str, about: str = "", subject: str = "") -> Command:
        who = subject or _SUBJECTS[RPCS[kind][1]]
        return self._history.add(Command(kind, site, request, who, mark, about))
