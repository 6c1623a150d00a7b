"""Suggestions: what the rules made of what was known about somebody at one time, kept as it was."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stepway_intake.domain.facts import Facts
from stepway_intake.domain.referrals import Referral
from stepway_intake.domain.rules import Finding, RuleSet, weigh


@dataclass(frozen=True)
class Suggestion:
    """It decides nothing. `payer` is whose rules were asked for, or empty.

    `flags` is how many risk flags the person has had by then: with more of them it is out of date.
    """

    id: UUID
    referral_id: UUID
    patient_id: UUID
    facts: Facts
    finding: Finding
    rule_set: str
    payer: str
    suggested_to: str
    suggested_at: datetime
    flags: int


def suggest(
    referral: Referral, rule_set: RuleSet, facts: Facts, *, id: UUID, payer: str, to: str, at: datetime, flags: int
) -> Suggestion:
    finding = weigh(rule_set, facts)
    return Suggestion(id, referral.id, referral.patient.id, facts, finding, rule_set.version, payer, to, at, flags)
