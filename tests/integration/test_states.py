"""Consents and admissions through their states, in any order: nothing illegal, each step audited and announced once."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from stepway.intake.v1.consent_service_pb2 import GrantConsentResponse, RevokeConsentRequest
from stepway.intake.v1.hand_off_service_pb2 import ConfirmHandOffRequest, StartHandOffResponse
from stepway.intake.v1.referral_service_pb2 import CloseReferralRequest, ReferAgainRequest, ReferAgainResponse
from stepway.scheduling.v1.enrollment_service_pb2 import EndEnrollmentRequest
from stepway_cli.sites import apply, read_sites
from tests.calls import Answer
from tests.cases import a_consent, a_hand_off, a_track, an_admission
from tests.data import REPOSITORY
from tests.desk import FEW, Desk, soon
from tests.network import Network


@dataclass(frozen=True)
class Given:
    """A consent as it has to be: how it has ended, if it has."""

    id: str
    ending: str = ""


RUN_OUT = """
    UPDATE consent SET expires_at = now(), due_at = now() WHERE id = '{id}';
    INSERT INTO work (site, loop, due_at) VALUES ('northside', 'expiring', now())
     ON CONFLICT (loop, site) DO UPDATE SET due_at = now()"""
ENDED_BY = {
    "revoked": "ConsentRevoked",
    "superseded": "ConsentSuperseded",
    "expired": "ConsentExpired",
}
REASONS = {ending: f"CONSENT_ALREADY_{ending.upper()}" for ending in ENDED_BY}


class Consents(RuleBasedStateMachine):
    """One patient, to one uncle: granted, revoked, run out, another in their place."""

    network: Network

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(self.network)
        self.patient, _ = self.desk.refer()
        self.given: list[Given] = []
        self.uncle = ""
        self.done = Counter[tuple[str, str]]()
        self.before = self.desk.audited(self.patient)

    def grant(self, **changes: Any) -> Answer:
        who = {"family_member_id": self.uncle} if self.uncle else {}
        request = a_consent(self.patient, **who, **changes)
        answer = self.desk.ask("ConsentService/GrantConsent", request)
        self.done["GrantConsent", "DONE" if answer.code == "OK" else "REFUSED"] += 1
        if answer.code == "OK":
            consent = GrantConsentResponse.FromString(answer.body).consent
            self.uncle = consent.family_member_id
            self.given.append(Given(consent.id))
        return answer

    @rule()
    def give(self) -> None:
        assert self.grant().code == "OK"

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        consent = data.draw(st.sampled_from(self.given))
        request = RevokeConsentRequest(request_id=str(uuid4()), consent_id=consent.id)
        self.ends(consent, self.desk.ask("ConsentService/RevokeConsent", request), "RevokeConsent", "revoked")

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def supersede(self, data: st.DataObject) -> None:
        consent = data.draw(st.sampled_from(self.given))
        answer = self.grant(supersedes_consent_id=consent.id)
        self.done["GrantConsent", "DONE" if answer.code == "OK" else "REFUSED"] -= 1
        self.ends(consent, answer, "GrantConsent", "superseded")

    def ends(self, consent: Given, answer: Answer, method: str, ending: str) -> None:
        """Once; whoever comes later hears how it has ended."""
        self.done[method, "REFUSED" if consent.ending else "DONE"] += 1
        if consent.ending:
            assert answer.refusal == ("FAILED_PRECONDITION", REASONS[consent.ending])
        else:
            assert answer.code == "OK"
            self.given[self.given.index(consent)] = replace(consent, ending=ending)

    @precondition(lambda self: any(not each.ending for each in self.given))
    @rule(data=st.data())
    def run_out(self, data: st.DataObject) -> None:
        consent = data.draw(st.sampled_from([each for each in self.given if not each.ending]))
        self.network.platform.postgres.run_sql(RUN_OUT.format(id=consent.id), database="stepway_intake")
        soon(lambda: len(self.desk.events("consent", consent.id)) == 2)
        self.done["expiring", "DONE"] += 1
        self.given[self.given.index(consent)] = replace(consent, ending="expired")

    def teardown(self) -> None:
        for consent in self.given:
            ended = [ENDED_BY[consent.ending]] if consent.ending else []
            assert self.desk.events("consent", consent.id) == ["ConsentGranted", *ended]
        now = self.desk.audited(self.patient)
        methods = {method for method, _ in self.done}
        assert Counter({key: n for key, n in (now - self.before).items() if key[0] in methods}) == +self.done


def test_a_consent_is_granted_and_ended_once_however_that_is_tried(network: Network) -> None:
    run_state_machine_as_test(type("OfNetwork", (Consents,), {"network": network}), settings=FEW)


@dataclass
class Stay:
    """An admission as it has to be; how scheduling stands is asked of scheduling.

    `elsewhere` is where the referral stands once it does not follow the seat any more.
    """

    id: str
    patient: str
    referral: str
    ended: bool = False
    elsewhere: str = ""
    again: list[str] = field(default_factory=list)


STATUS = {"waitlisted": "waitlisted", "confirmed": "enrolled", "ended": "ended"}
STEPS = {
    "waitlisted": [["PatientAdmitted", "AdmissionWaitlisted"]],
    "enrolled": [
        ["PatientAdmitted", "AdmissionEnrolled"],
        ["PatientAdmitted", "AdmissionWaitlisted", "AdmissionEnrolled"],
    ],
    "ended": [
        ["PatientAdmitted", *steps, "AdmissionEnded"]
        for steps in ([], ["AdmissionWaitlisted"], ["AdmissionEnrolled"], ["AdmissionWaitlisted", "AdmissionEnrolled"])
    ],
}
SEAT = "SELECT id, status FROM enrollment WHERE admission_id = '{id}'"


class Admissions(RuleBasedStateMachine):
    """People who are admitted, wait, get a seat, leave, and come back."""

    network: Network
    site: str

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(self.network, self.site)
        self.stays: list[Stay] = []

    def admit(self, referral: str) -> Answer:
        return self.desk.ask("AdmissionService/AdmitPatient", an_admission(referral))

    @rule(seats=st.integers(0, 1))
    def come(self, seats: int) -> None:
        """Somebody new; perhaps there is a seat for them, or for whoever waits."""
        if seats:
            self.desk.ask("TrackService/CreateTrack", a_track(seats=1), "scheduling")
        patient, referral = self.desk.refer()
        self.stays.append(self.admitted(patient, referral))

    def admitted(self, patient: str, referral: str) -> Stay:
        assert self.admit(referral).code == "OK"
        rows = self.network.rows("intake", f"SELECT id FROM admission WHERE referral_id = '{referral}'")
        stay = Stay(rows[0]["id"], patient, referral)
        soon(lambda: self.network.rows("scheduling", SEAT.format(id=stay.id)))
        return stay

    @precondition(lambda self: self.stays)
    @rule(data=st.data())
    def admit_again(self, data: st.DataObject) -> None:
        stay = data.draw(st.sampled_from(self.stays))
        assert self.admit(stay.referral).refusal == ("FAILED_PRECONDITION", "ALREADY_ADMITTED")

    @precondition(lambda self: self.stays)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        stay = data.draw(st.sampled_from(self.stays))
        seat = self.network.rows("scheduling", SEAT.format(id=stay.id))[0]["id"]
        request = EndEnrollmentRequest(request_id=str(uuid4()), enrollment_id=seat)
        answer = self.desk.ask("EnrollmentService/EndEnrollment", request, "scheduling")
        assert (answer.code == "OK") is not stay.ended
        stay.ended = True
        soon(lambda: self.stored(stay)["status"] == "ended")

    @precondition(lambda self: any(not stay.elsewhere for stay in self.stays))
    @rule(data=st.data(), helped=st.booleans())
    def go_elsewhere(self, data: st.DataObject, helped: bool) -> None:
        """Whoever declines, or is in care elsewhere, leaves the line, or has left it; nobody who has or had a seat."""
        stay = data.draw(st.sampled_from([each for each in self.stays if not each.elsewhere]))
        soon(lambda: self.is_as_its_seat(stay))
        waits = not self.stored(stay)["enrolled_at"]
        answer = self.help_elsewhere(stay) if helped else self.decline(stay)
        if not waits:
            assert answer.refusal == ("FAILED_PRECONDITION", "ALREADY_ADMITTED")
            return
        assert answer.code == "OK"
        stay.ended, stay.elsewhere = True, "referred_out" if helped else "declined"
        soon(lambda: self.is_as_its_seat(stay))

    def decline(self, stay: Stay) -> Answer:
        outcome = "REFERRAL_STATUS_DECLINED"
        request = CloseReferralRequest(request_id=str(uuid4()), referral_id=stay.referral, outcome=outcome)
        return self.desk.ask("ReferralService/CloseReferral", request)

    def help_elsewhere(self, stay: Stay) -> Answer:
        answer = self.desk.ask("HandOffService/StartHandOff", a_hand_off(stay.referral))
        if answer.code != "OK":
            return answer
        hand_off = StartHandOffResponse.FromString(answer.body).hand_off.id
        request = ConfirmHandOffRequest(request_id=str(uuid4()), hand_off_id=hand_off, confirmed_with="the nurse there")
        return self.desk.ask("HandOffService/ConfirmHandOff", request)

    def stored(self, stay: Stay) -> dict[str, Any]:
        return self.network.rows("intake", f"SELECT * FROM admission WHERE id = '{stay.id}'")[0]

    @precondition(lambda self: self.stays)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """By another referral: once the patient has left, and then linked to the stay before."""
        patient = data.draw(st.sampled_from(self.stays)).patient
        last = [each for each in self.stays if each.patient == patient][-1]
        request = ReferAgainRequest(request_id=str(uuid4()), patient_id=patient)
        referral = ReferAgainResponse.FromString(self.desk.ask("ReferralService/ReferAgain", request).body).referral.id
        self.desk.decide(referral)
        if not last.ended:
            assert self.admit(referral).refusal == ("FAILED_PRECONDITION", "PATIENT_ALREADY_ADMITTED")
            return
        stay = self.admitted(patient, referral)
        assert self.stored(stay)["earlier_admission_id"] == last.id
        self.stays.append(stay)

    def teardown(self) -> None:
        for stay in self.stays:
            soon(lambda stay=stay: self.is_as_its_seat(stay))
            steps, seated = self.desk.events("admission", stay.id), bool(self.stored(stay)["enrolled_at"])
            assert steps in STEPS[self.stored(stay)["status"]]
            waited = "AdmissionWaitlisted" in steps or not seated
            moves = 3 + waited + (waited and (seated or bool(stay.elsewhere)))  # screened, decided, admitted
            assert self.desk.events("referral", stay.referral) == ["ReferralReceived", *["ReferralMoved"] * moves]
            followed = Counter(
                {what: n for what, n in self.desk.audited(stay.patient).items() if what[0] == "AdmitPatient"}
            )
            assert followed["AdmitPatient", "DONE"] == sum(each.patient == stay.patient for each in self.stays)

    def is_as_its_seat(self, stay: Stay) -> bool:
        """The admission, and the referral that has led to it: whoever leaves the line stays waitlisted."""
        seat, stored = self.network.rows("scheduling", SEAT.format(id=stay.id))[0]["status"], self.stored(stay)
        referral = self.network.rows("intake", f"SELECT status FROM referral WHERE id = '{stay.referral}'")[0]["status"]
        follows = "admitted" if stored["enrolled_at"] else "waitlisted"
        return stored["status"] == STATUS[seat] and referral == (stay.elsewhere or follows)


async def test_an_admission_follows_its_seat_whatever_becomes_of_it(network: Network) -> None:
    site = f"seats-{uuid4().hex[:8]}"
    northside = read_sites([REPOSITORY / "deploy" / "sites" / "1-northside.yaml"])[0]
    record = replace(northside, site=site, revision=1)
    for service in network.platform.services:
        await apply(network.platform.database_url(service, "registrar"), [record])
    run_state_machine_as_test(type("OfNetwork", (Admissions,), {"network": network, "site": site}), settings=FEW)
