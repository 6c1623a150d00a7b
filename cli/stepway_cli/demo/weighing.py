"""How much care somebody needs: rules suggest, with reasons; what is unknown keeps them open; a clinician decides."""

from collections.abc import Sequence
from dataclasses import dataclass

from stepway.intake.v1.level_of_care_pb2 import LEVEL_OF_CARE_OUTPATIENT, LevelOfCare
from stepway.intake.v1.level_of_care_service_pb2 import DecideLevelOfCareRequest, SuggestLevelOfCareRequest
from stepway.intake.v1.level_of_care_suggestion_pb2 import (
    DAILY_RESPONSIBILITIES_WITH_HELP,
    EARLIER_TREATMENT_NO_SETBACK,
    FACT_GRADE_LOW,
    FACT_GRADE_MODERATE,
    FACT_GRADE_NONE,
    HOME_SUPPORT_SOME,
    LevelOfCareFacts,
    LevelOfCareSuggestion,
)
from stepway.intake.v1.referral_pb2 import Referral
from stepway_cli.demo.journey import Recorded
from stepway_cli.demo.network import Network
from stepway_cli.demo.programme import DECIDE, RATIONALE, id_of
from stepway_cli.demo.promises import UNTRIED, Promise
from stepway_cli.referrals import Sent

SUGGEST = "stepway.intake.v1.LevelOfCareService/SuggestLevelOfCare"
RISK = "risk"
WITHOUT_A_REASON = "OVERRIDE_MISSING"
UNSAID = LevelOfCareFacts(
    withdrawal_risk=FACT_GRADE_NONE,
    medical_instability=FACT_GRADE_NONE,
    psychiatric_instability=FACT_GRADE_LOW,
    impairment=FACT_GRADE_MODERATE,
    supports=HOME_SUPPORT_SOME,
    responsibilities=DAILY_RESPONSIBILITIES_WITH_HELP,
    treatment_history=EARLIER_TREATMENT_NO_SETBACK,
    hours_needed=9,
)
"""What the demo's clinician says first: nobody has asked about the risk."""


@dataclass(frozen=True)
class Weighed:
    """What was suggested before and after the risk was said, and what became of a lower decision without a reason."""

    referral_id: str
    unsaid: LevelOfCareSuggestion
    said: LevelOfCareSuggestion
    refusal: str


def somebody(sent: Sequence[Sent], recorded: Sequence[Recorded]) -> tuple[str, Referral] | None:
    """Who was screened, and whose answers have raised no flag: one that is open keeps a suggestion open."""
    answers = [each.answer for each in recorded]
    flagged = {answer.assessment.referral_id for answer in answers if answer.risk_flag_id}
    calm = {answer.assessment.referral_id for answer in answers} - flagged
    return next(((each.site, each.referral) for each in sent if each.referral and each.referral.id in calm), None)


async def weigh(network: Network, site: str, referral: Referral) -> Weighed:
    unsaid = await _suggest(network, site, referral, UNSAID)
    facts = LevelOfCareFacts(risk=FACT_GRADE_LOW)
    facts.MergeFrom(UNSAID)
    said = await _suggest(network, site, referral, facts)
    less = DecideLevelOfCareRequest(
        request_id=id_of("less", referral.id),
        referral_id=referral.id,
        level=LEVEL_OF_CARE_OUTPATIENT,
        rationale=RATIONALE,
    )
    clinician = network.caller(site, "clinician")
    return Weighed(referral.id, unsaid, said, await network.refused(clinician, DECIDE, less, site=site))


async def _suggest(network: Network, site: str, referral: Referral, facts: LevelOfCareFacts) -> LevelOfCareSuggestion:
    request = SuggestLevelOfCareRequest(
        request_id=id_of(f"suggest {facts.risk}", referral.id), referral_id=referral.id, facts=facts
    )
    answer = await network.caller(site, "clinician").call(SUGGEST, request, site=site)
    suggestion: LevelOfCareSuggestion = answer.suggestion
    return suggestion


def suggested(weighed: Weighed | None) -> dict[str, LevelOfCare]:
    """What the clinician follows, by referral."""
    return {weighed.referral_id: weighed.said.level} if weighed and weighed.said.level else {}


def check(weighed: Weighed | None) -> Promise:
    text = "a level of care is suggested with reasons, and never while the risk is unknown"
    if weighed is None:
        return Promise(text, None, UNTRIED)
    silent = not weighed.unsaid.level and RISK in weighed.unsaid.missing
    reasoned = weighed.said.level > LEVEL_OF_CARE_OUTPATIENT and bool(weighed.said.reasons)
    evidence = (
        f"risk unsaid: {'none' if silent else 'SUGGESTED'}; said: {_name(weighed.said.level)}, for"
        f" {len(weighed.said.reasons)} reasons; to decide on less: {weighed.refusal or 'TAKEN'}"
    )
    return Promise(text, silent and reasoned and weighed.refusal == WITHOUT_A_REASON, evidence)


def _name(level: LevelOfCare) -> str:
    return LevelOfCare.Name(level).removeprefix("LEVEL_OF_CARE_").lower().replace("_", " ")
