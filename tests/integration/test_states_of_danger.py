"""Workups and flags through their states, in any order: danger flagged once, each step audited and announced once."""

from collections import Counter
from dataclasses import dataclass
from uuid import uuid4

from google.protobuf.message import Message
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from stepway.intake.v1.assessment_pb2 import INSTRUMENT_C_SSRS_SCREENER, INSTRUMENT_GAD_7, INSTRUMENT_PHQ_9M
from stepway.intake.v1.referral_service_pb2 import ReceiveReferralResponse
from stepway.intake.v1.risk_flag_pb2 import RISK_DISPOSITION_SAFETY_PLAN
from stepway.intake.v1.risk_service_pb2 import AcknowledgeRiskFlagRequest, RecordDispositionRequest
from stepway.intake.v1.workup_pb2 import BATTERY_ADOLESCENT, EXCUSE_REASON_DECLINED
from stepway.intake.v1.workup_service_pb2 import (
    CompleteWorkupRequest,
    CompleteWorkupResponse,
    ExcuseWorkupPartRequest,
    SaveWorkupAnswersRequest,
    SaveWorkupAnswersResponse,
    StartWorkupResponse,
)
from tests.calls import Answer
from tests.cases import a_workup
from tests.desk import FEW, Desk
from tests.network import Network, a_referral

WORST_FIRST = {4: "HIGH", 3: "MODERATE", 2: "LOW", 1: "LOW"}
LEVELS = ["", "LOW", "MODERATE", "HIGH"]
DISPOSED = "RiskDispositionRecorded"
ASKED = [INSTRUMENT_PHQ_9M, INSTRUMENT_GAD_7, INSTRUMENT_C_SSRS_SCREENER]


@dataclass
class Raised:
    """A flag as it has to be."""

    id: str
    steps: list[str]
    workup: str = ""
    level: int = 0


class Danger(RuleBasedStateMachine):
    """One patient's workups, and the flags that their answers raise: saved, completed, taken and disposed of."""

    network: Network

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(self.network)
        received = self.desk.ask("ReferralService/ReceiveReferral", a_referral())
        referral = ReceiveReferralResponse.FromString(received.body).referral
        self.referral, self.patient = referral.id, referral.patient_id
        self.workups: dict[str, bool] = {}  # whether it is completed
        self.flags: list[Raised] = []
        self.done = Counter[tuple[str, str]]()
        self.begin()

    def step(self, rpc: str, request: Message, otherwise: str = "") -> Answer:
        """Done, or refused for this reason."""
        answer = self.desk.ask(rpc, request)
        assert answer.refusal == (("FAILED_PRECONDITION", otherwise) if otherwise else ("OK", ""))
        self.done[rpc.rpartition("/")[2], "REFUSED" if otherwise else "DONE"] += 1
        return answer

    @property
    def closed(self) -> str:
        return "WORKUP_ALREADY_COMPLETED" if self.workups[self.newest] else ""

    @rule()
    def begin(self) -> None:
        is_open = False in self.workups.values()
        request = a_workup(self.referral, battery=BATTERY_ADOLESCENT)
        answer = self.step("WorkupService/StartWorkup", request, "WORKUP_ALREADY_OPEN" if is_open else "")
        if not is_open:
            self.newest = StartWorkupResponse.FromString(answer.body).workup.id
            self.workups[self.newest] = False
            self.said, self.worst, self.excused = dict[int, int](), 0, False

    @rule(item=st.sampled_from(sorted(WORST_FIRST)), value=st.sampled_from((1, 1, 0)))
    def say(self, item: int, value: int) -> None:
        """Something in the screener for suicide risk; flagged when it is worse than before, or what was is seen to."""
        request = SaveWorkupAnswersRequest(
            request_id=str(uuid4()),
            workup_id=self.newest,
            instrument=INSTRUMENT_C_SSRS_SCREENER,
            answers=[{"item": item, "value": value}],
        )
        answer = self.step("WorkupService/SaveWorkupAnswers", request, self.closed)
        if not self.closed:
            self.said[item] = value
            level = next((LEVELS.index(level) for each, level in WORST_FIRST.items() if self.said.get(each)), 0)
            flag = SaveWorkupAnswersResponse.FromString(answer.body).risk_flag_id
            assert bool(flag) is (level > self.worst or (bool(value) and self.seen_to(level)))
            if flag:
                told = "RiskFlagged" if LEVELS[level] == "HIGH" else "RiskReviewRequested"
                self.flags.append(Raised(flag, [told], self.newest, level))
                self.worst = level

    def seen_to(self, level: int) -> bool:
        """Whether it is on record what was done about each flag of such answers."""
        alike = [flag for flag in self.flags if flag.workup == self.newest and flag.level >= level]
        return bool(alike) and all(DISPOSED in flag.steps for flag in alike)

    @rule()
    def excuse(self) -> None:
        for part in [{"instrument": each} for each in ASKED] + [{"section": each} for each in range(1, 10)]:
            request = ExcuseWorkupPartRequest(
                request_id=str(uuid4()), workup_id=self.newest, reason=EXCUSE_REASON_DECLINED, **part
            )
            self.step("WorkupService/ExcuseWorkupPart", request, self.closed)
        self.excused = True

    @rule()
    def complete(self) -> None:
        """The PHQ-9M was never asked, and of the screener a question is open; once there is worse that is enough."""
        otherwise = self.closed or ("" if self.excused else "WORKUP_INCOMPLETE")
        request = CompleteWorkupRequest(request_id=str(uuid4()), workup_id=self.newest)
        answer = self.step("WorkupService/CompleteWorkup", request, otherwise)
        if not otherwise:
            self.workups[self.newest] = True
            raised = CompleteWorkupResponse.FromString(answer.body).risk_flag_ids
            assert len(raised) == (2 if self.said and self.worst < LEVELS.index("MODERATE") else 1)
            self.flags += [Raised(id, ["RiskReviewRequested"]) for id in raised]

    @precondition(lambda self: self.flags)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        flag = data.draw(st.sampled_from(self.flags))
        request = AcknowledgeRiskFlagRequest(request_id=str(uuid4()), risk_flag_id=flag.id)
        taken = "RISK_FLAG_ALREADY_ACKNOWLEDGED" if flag.steps[1:] else ""
        self.step("RiskService/AcknowledgeRiskFlag", request, taken)
        flag.steps += [] if taken else ["RiskFlagAcknowledged"]

    @precondition(lambda self: self.flags)
    @rule(data=st.data())
    def dispose(self, data: st.DataObject) -> None:
        flag = data.draw(st.sampled_from(self.flags))
        ids = {"request_id": str(uuid4()), "risk_flag_id": flag.id}
        request = RecordDispositionRequest(**ids, disposition=RISK_DISPOSITION_SAFETY_PLAN, note="made together")
        otherwise = ["RISK_FLAG_NOT_ACKNOWLEDGED", "", "RISK_DISPOSITION_ALREADY_RECORDED"][len(flag.steps) - 1]
        self.step("RiskService/RecordDisposition", request, otherwise)
        flag.steps += [] if otherwise else [DISPOSED]

    def teardown(self) -> None:
        for id, completed in self.workups.items():
            ends = ["WorkupCompleted"] if completed else []
            assert self.desk.events("workup", id) == ["WorkupStarted", *ends]
        for flag in self.flags:
            assert self.desk.events("risk_flag", flag.id) == flag.steps
        kept = self.network.rows("intake", f"SELECT id FROM risk_flag WHERE patient_id = '{self.patient}'")
        assert len(kept) == len(self.flags)
        methods = {method for method, _ in self.done}
        audited = self.desk.audited(self.patient).items()
        assert Counter({key: n for key, n in audited if key[0] in methods}) == +self.done


def test_danger_is_flagged_once_and_each_step_of_a_workup_and_a_flag_is_taken_once(network: Network) -> None:
    run_state_machine_as_test(type("OfNetwork", (Danger,), {"network": network}), settings=FEW)
