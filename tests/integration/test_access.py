"""Who may call what, where, about whom: the hand-written table against the running system."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.message import Message

from stepway.intake.v1.referral_service_pb2 import (
    GetReferralRequest,
    GetReferralResponse,
    ListReferralsRequest,
    ListReferralsResponse,
    ReceiveReferralResponse,
)
from stepway.notifications.v1.message_service_pb2 import StopMessagesRequest
from stepway_cli.place import KINDS
from stepway_cli.services import SERVICES
from tests.calls import Answer, every_rpc, send, service_token
from tests.cases import ON_CALL, Case, a_case
from tests.data import REPOSITORY
from tests.good_requests import ACKNOWLEDGE, LIST_REFERRALS, RECEIVE, REQUESTS, STOP, an_id
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral

PEOPLE = tuple(KINDS)
HOME, STRANGER, GUEST = "home", "without a role there", "with a role at both"
OWN, ANOTHERS = "own", "another's"


def table() -> list[dict[str, str]]:
    with (REPOSITORY / "tests" / "access.csv").open() as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Attempt:
    """One cell of the table, tried at one place about one record."""

    rpc: str
    caller: str
    cell: str
    place: str
    record: str

    def __str__(self) -> str:
        return f"{self.rpc.partition('/')[2]}, {self.caller}, {self.place}, {self.record}"

    @property
    def of_a_service(self) -> bool:
        return self.caller in SERVICES


def attempts() -> Iterator[Attempt]:
    for row in table():
        for role in PEOPLE:
            for place in (HOME, STRANGER, GUEST):
                yield Attempt(row["rpc"], role, row[role], place, OWN)
                yield Attempt(row["rpc"], role, row[role], place, ANOTHERS)
        for service in SERVICES:
            yield Attempt(row["rpc"], service, row[service], HOME, ANOTHERS)
            yield Attempt(row["rpc"], service, row[service], GUEST, ANOTHERS)


NOT_FOUND = {
    "GetReferral": "REFERRAL_NOT_FOUND",
    "GetPatientContact": "PATIENT_NOT_FOUND",
    "ReferAgain": "PATIENT_NOT_FOUND",
    "RecordContact": "REFERRAL_NOT_FOUND",
    "AssignReferral": "REFERRAL_NOT_FOUND",
    "CloseReferral": "REFERRAL_NOT_FOUND",
    "GetPerson": "PATIENT_NOT_FOUND",
    "FindDuplicates": "PATIENT_NOT_FOUND",
    "UpdatePerson": "PATIENT_NOT_FOUND",
    "MergePeople": "PATIENT_NOT_FOUND",
    "RecordAssessment": "REFERRAL_NOT_FOUND",
    "RecordCodedAssessment": "REFERRAL_NOT_FOUND",
    "GetAssessment": "ASSESSMENT_NOT_FOUND",
    "GetScore": "ASSESSMENT_NOT_FOUND",
    "StartWorkup": "REFERRAL_NOT_FOUND",
    "SaveWorkupAnswers": "WORKUP_NOT_FOUND",
    "SaveWorkupSection": "WORKUP_NOT_FOUND",
    "ExcuseWorkupPart": "WORKUP_NOT_FOUND",
    "CompleteWorkup": "WORKUP_NOT_FOUND",
    "GetWorkup": "WORKUP_NOT_FOUND",
    "AcknowledgeRiskFlag": "RISK_FLAG_NOT_FOUND",
    "RecordDisposition": "RISK_FLAG_NOT_FOUND",
    "DecideLevelOfCare": "REFERRAL_NOT_FOUND",
    "SuggestLevelOfCare": "REFERRAL_NOT_FOUND",
    "GetLevelOfCareSuggestion": "LEVEL_OF_CARE_SUGGESTION_NOT_FOUND",
    "GetLevelOfCareDecision": "LEVEL_OF_CARE_DECISION_NOT_FOUND",
    "StartHandOff": "REFERRAL_NOT_FOUND",
    "RecordHandOffAttempt": "HAND_OFF_NOT_FOUND",
    "ConfirmHandOff": "HAND_OFF_NOT_FOUND",
    "EndHandOff": "HAND_OFF_NOT_FOUND",
    "GetHandOff": "HAND_OFF_NOT_FOUND",
    "GrantConsent": "PATIENT_NOT_FOUND",
    "RevokeConsent": "CONSENT_NOT_FOUND",
    "GetConsent": "CONSENT_NOT_FOUND",
    "ListConsents": "PATIENT_NOT_FOUND",
    "AdmitPatient": "REFERRAL_NOT_FOUND",
    "GetAdmission": "ADMISSION_NOT_FOUND",
    "OfferTransfer": "ADMISSION_NOT_FOUND",
    **dict.fromkeys(
        (f"{each}Transfer" for each in ("Withdraw", "Accept", "Decline", "Get", "Release", "Close", "End")),
        "TRANSFER_NOT_FOUND",
    ),
    "GetEnrollment": "ENROLLMENT_NOT_FOUND",
    "EndEnrollment": "ENROLLMENT_NOT_FOUND",
    "GetTreatmentPlan": "TREATMENT_PLAN_NOT_FOUND",
    "GetInvitation": "INVITATION_NOT_FOUND",
    "StopMessages": "PATIENT_NOT_FOUND",
    "AcknowledgeEscalation": "ESCALATION_NOT_FOUND",
}
DONE_ALREADY = {
    "StartWorkup": "WORKUP_ALREADY_OPEN",
    "CompleteWorkup": "WORKUP_INCOMPLETE",
    "AcknowledgeRiskFlag": "RISK_FLAG_ALREADY_ACKNOWLEDGED",
    "RecordDisposition": "RISK_DISPOSITION_ALREADY_RECORDED",
    "RecordContact": "REFERRAL_CLOSED",
    "AssignReferral": "REFERRAL_CLOSED",
    "CloseReferral": "ALREADY_ADMITTED",
    "UpdatePerson": "PERSON_CHANGED",
    "MergePeople": "PATIENT_ALREADY_MERGED",
    "DecideLevelOfCare": "LEVEL_OF_CARE_ALREADY_DECIDED",
    "StartHandOff": "ALREADY_ADMITTED",
    "RecordHandOffAttempt": "HAND_OFF_ALREADY_CLOSED",
    "ConfirmHandOff": "HAND_OFF_ALREADY_CLOSED",
    "EndHandOff": "HAND_OFF_ALREADY_CLOSED",
    "RevokeConsent": "CONSENT_ALREADY_REVOKED",
    "AdmitPatient": "ALREADY_ADMITTED",
    "OfferTransfer": "TRANSFER_NOT_CONSENTED",
    **dict.fromkeys(
        (f"{each}Transfer" for each in ("Withdraw", "Accept", "Decline", "Release", "Close", "End")),
        "TRANSFER_NOT_OPEN",
    ),
    "EndEnrollment": "ENROLLMENT_ALREADY_ENDED",
}
"""What can be done once, not yet, or not at all to this case: whoever may do it hears that."""
LISTED: dict[str, Callable[[Any, Case], bool]] = {
    "ListReferrals": lambda answer, case: case.referral in {each.id for each in answer.referrals},
    "FindPeople": lambda answer, case: case.patient in {each.patient_id for each in answer.people},
    "ListWorkups": lambda answer, case: case.workup in {each.id for each in answer.workups},
    "ListRiskFlags": lambda answer, case: case.risk_flag in {each.id for each in answer.risk_flags},
    "ListHandOffs": lambda answer, case: case.hand_off in {each.id for each in answer.hand_offs},
    "ListEndingConsents": lambda answer, case: case.consent in {each.id for each in answer.consents},
    "ListTransfers": lambda answer, case: case.transfer in {each.id for each in answer.transfers},
    "ListTracks": lambda answer, case: case.track in {each.id for each in answer.tracks},
    "ListEnrollments": lambda answer, case: case.enrollment in {each.id for each in answer.enrollments},
    "ListTreatmentPlans": lambda answer, case: case.treatment_plan in {each.id for each in answer.treatment_plans},
    "ListFamilyGroups": lambda answer, case: case.family_group in {each.id for each in answer.family_groups},
    "ListInvitations": lambda answer, case: case.invitation in {each.id for each in answer.invitations},
    "ListMessages": lambda answer, case: case.message in {each.id for each in answer.messages},
    "ListEscalations": lambda answer, case: case.escalation in {each.id for each in answer.escalations},
}


@pytest.fixture(scope="module")
async def case(network: Network) -> Case:
    return await a_case(network)


@pytest.fixture(scope="module")
async def untaken(network: Network) -> list[Case]:
    """Pages for those who may take one, and one that nobody does: each is taken once."""
    return [await a_case(network) for _ in range(4)]


def subject_of(attempt: Attempt, case: Case) -> str:
    """Somebody whom the record is about or was given to, or somebody else of the same role and site."""
    if attempt.record == ANOTHERS:
        return str(uuid4())
    return {"patient": case.patient, "family_member": case.family_member}.get(attempt.caller, ON_CALL[case.site])


def token_of(network: Network, attempt: Attempt, case: Case) -> str:
    if attempt.of_a_service:
        return service_token(network, attempt.caller)
    places = [NORTHSIDE, LAKESIDE] if attempt.place == GUEST else [NORTHSIDE]
    return network.token(
        subject_of(attempt, case), KINDS[attempt.caller], **{site: [attempt.caller] for site in places}
    )


def refusal_of(attempt: Attempt) -> tuple[str, str] | None:
    """Code and reason that the table asks for; None for an answer."""
    if attempt.place == STRANGER:
        return "PERMISSION_DENIED", "NO_ROLE_AT_SITE"
    if attempt.cell == "no":
        return "PERMISSION_DENIED", "SERVICE_NOT_NAMED" if attempt.of_a_service else "ROLE_NOT_ALLOWED"
    method = attempt.rpc.partition("/")[2]
    if within(attempt) or method not in NOT_FOUND:
        return None
    theirs = (method, attempt.caller) == ("StopMessages", "family_member")
    return "NOT_FOUND", "FAMILY_MEMBER_NOT_FOUND" if theirs else NOT_FOUND[method]


def within(attempt: Attempt) -> bool:
    """Whether the record lies in the caller's reach."""
    return attempt.place == HOME and (attempt.cell == "site" or attempt.record == OWN)


def attempted(network: Network, attempt: Attempt, case: Case) -> Answer:
    site = NORTHSIDE if attempt.place == HOME else LAKESIDE
    return send(network, attempt.rpc, request_of(attempt, case), token=token_of(network, attempt, case), site=site)


def request_of(attempt: Attempt, case: Case) -> Message:
    """A family member stops what is sent to them, not to the patient."""
    if (attempt.rpc, attempt.caller) == (STOP, "family_member"):
        return StopMessagesRequest(request_id=an_id(), family_member_id=case.family_member)
    return REQUESTS[attempt.rpc](case)


def test_every_rpc_stands_in_the_table_once_and_nothing_else_does() -> None:
    assert sorted(row["rpc"] for row in table()) == sorted(every_rpc())
    assert sorted(REQUESTS) == sorted(every_rpc())


def test_every_cell_of_the_table_is_one_of_three_words() -> None:
    assert {cell for row in table() for name, cell in row.items() if name != "rpc"} == {"site", "own", "no"}


@pytest.mark.parametrize("attempt", list(attempts()), ids=str)
def test_a_call_reaches_as_far_as_the_table_says(
    network: Network, case: Case, untaken: list[Case], attempt: Attempt
) -> None:
    expected, method = refusal_of(attempt), attempt.rpc.partition("/")[2]
    if attempt.rpc == ACKNOWLEDGE and expected is None:
        case = untaken.pop()
    answer = attempted(network, attempt, case)
    if expected is None and answer.refusal == ("FAILED_PRECONDITION", DONE_ALREADY.get(method)):
        return
    assert answer.refusal == (expected or ("OK", ""))
    if expected is None and method in LISTED:
        shown = every_rpc()[attempt.rpc].response.FromString(answer.body)
        assert LISTED[method](shown, case) is within(attempt)


@pytest.mark.parametrize("rpc", [rpc for rpc in every_rpc() if rpc.partition("/")[2] in LISTED])
def test_an_assigned_list_holds_nothing_of_others(network: Network, case: Case, rpc: str) -> None:
    cell = next(row["clinician"] for row in table() if row["rpc"] == rpc)
    somebody = network.token("somebody-new", northside=["clinician"])
    answer = send(network, rpc, REQUESTS[rpc](case), token=somebody)
    assert (answer.body == b"") is (cell == "own")


@pytest.mark.parametrize("written", [lambda _: "uncle-7", str.upper, lambda own: own.replace("-", "")])
@pytest.mark.parametrize(
    ("rpc", "role"), [(row["rpc"], role) for row in table() for role in PEOPLE if row[role] == "own"]
)
def test_whose_subject_is_not_written_like_an_id_reaches_nothing_and_breaks_nothing(
    network: Network, case: Case, rpc: str, role: str, written: Callable[[str], str]
) -> None:
    attempt = Attempt(rpc, role, "own", HOME, OWN)
    token = network.token(written(subject_of(attempt, case)), KINDS[role], northside=[role])
    answer = send(network, rpc, request_of(attempt, case), token=token)
    assert answer.code == "NOT_FOUND" if rpc.partition("/")[2] in NOT_FOUND else answer.body == b""
    assert answer.code in {"OK", "NOT_FOUND"}


OWN_ALONE = [
    (row["rpc"], role)
    for row in table()
    for role in PEOPLE
    if row[role] == "own" and row["rpc"].partition("/")[2] in NOT_FOUND
]


@pytest.mark.parametrize(("rpc", "role"), OWN_ALONE)
def test_who_seeks_somebody_elses_record_is_refused_and_stands_in_that_persons_audit(
    network: Network, case: Case, rpc: str, role: str
) -> None:
    subject = str(uuid4())
    attempt = Attempt(rpc, role, "own", HOME, ANOTHERS)
    token = network.token(subject, KINDS[role], **{NORTHSIDE: [role]})
    answer = send(network, rpc, request_of(attempt, case), token=token)
    assert answer.code == "NOT_FOUND"
    assert case.patient.encode() not in answer.said
    query = f"SELECT action, outcome, people FROM audit WHERE actor = '{subject}'"
    audited = {"action": rpc, "outcome": "REFUSED", "people": [case.patient]}
    assert network.rows(rpc.split(".")[1], query) == [audited]


def test_a_second_patient_of_the_same_site_stops_nobody_elses_messages(network: Network, case: Case) -> None:
    other = network.token(str(uuid4()), "patient", northside=["patient"])
    before = stopped(network)
    assert send(network, STOP, REQUESTS[STOP](case), token=other).refusal == ("NOT_FOUND", "PATIENT_NOT_FOUND")
    assert stopped(network) == before


def test_a_page_that_went_to_another_clinician_stays_open(network: Network, untaken: list[Case]) -> None:
    case = untaken.pop()
    other = network.token("somebody-new", northside=["clinician"])
    answer = send(network, ACKNOWLEDGE, REQUESTS[ACKNOWLEDGE](case), token=other)
    assert answer.refusal == ("NOT_FOUND", "ESCALATION_NOT_FOUND")
    assert network.rows("notifications", f"SELECT acknowledged_by FROM escalation WHERE id = '{case.escalation}'") == [
        {"acknowledged_by": None}
    ]


def test_a_patient_reads_nothing_that_others_have_said_of_them(network: Network) -> None:
    kin = [{"family_name": "Vexmoor", "relationship": "AUNT", "contact_points": [{"phone": "+12125550177"}]}]
    said = a_referral(sender="their aunt", reason="threatens his family", related_people=kin)
    received = send(network, RECEIVE, said, token=network.token("desk", northside=["front_desk"]))
    made = ReceiveReferralResponse.FromString(received.body).referral
    own = network.token(made.patient_id, "patient", northside=["patient"])
    asked = GetReferralRequest(referral_id=made.id)
    answer = send(network, "stepway.intake.v1.ReferralService/GetReferral", asked, token=own)
    told = GetReferralResponse.FromString(answer.body).referral
    assert told.person == made.person
    assert (told.sender, told.reason, list(told.related_people)) == ("", "", [])


def test_of_two_roles_the_one_that_reaches_further_counts(network: Network, case: Case) -> None:
    both = network.token("reads-twice", northside=["patient", "front_desk"])
    rpc = "stepway.intake.v1.ReferralService/GetReferral"
    assert send(network, rpc, REQUESTS[rpc](case), token=both).code == "OK"


def test_an_unknown_role_gives_nothing(network: Network) -> None:
    visitor = network.token("visitor", northside=["owner", "unspecified", "ROLE_SITE_LEAD"])
    answer = send(network, LIST_REFERRALS, token=visitor)
    assert answer.refusal == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")


def test_what_is_received_at_one_site_is_not_listed_at_the_other(network: Network) -> None:
    lead = network.token("lead-of-both", northside=["site_lead"], lakeside=["site_lead"])
    received = send(network, RECEIVE, a_referral(), token=lead, site=LAKESIDE)
    made = every_rpc()[RECEIVE].response.FromString(received.body).referral.id  # type: ignore[attr-defined]
    assert made in referrals(network, lead, LAKESIDE)
    assert made not in referrals(network, lead, NORTHSIDE)


def referrals(network: Network, token: str, site: str) -> set[str]:
    answer = send(network, LIST_REFERRALS, ListReferralsRequest(page_size=100), token=token, site=site)
    return {each.id for each in ListReferralsResponse.FromString(answer.body).referrals}


def stopped(network: Network) -> list[dict[str, Any]]:
    return network.rows("notifications", "SELECT id FROM patient WHERE stopped_at IS NOT NULL ORDER BY id")
