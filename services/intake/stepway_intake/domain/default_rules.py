"""The rules that hold where a site has none of its own: general clinical sense in the form in which a site writes them.

They come from no tool under licence and take no place of one. The hours are those at which programmes in the United
States commonly begin (SAMHSA's advisory on intensive outpatient treatment: 9, for adolescents 6; by day: 20).
"""

from collections.abc import Mapping
from typing import Any


def _from(fact: str, value: str | int) -> Mapping[str, Any]:
    return {"fact": fact, "from": value}


def _rule(level: str, code: str, text: str, when: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"code": code, "level": level, "text": text, "when": when}


_HIGH_RISK = _from("risk", "high")
_SOME_IMPAIRMENT = _from("impairment", "low")
_MUCH_IMPAIRMENT = _from("impairment", "moderate")
_NOBODY_AT_HOME = _from("supports", "none")

_EMERGENCY = [
    _rule(
        "emergency",
        "danger_without_anybody",
        "The risk is high and nobody at home can keep the person safe.",
        {"all": [_HIGH_RISK, _NOBODY_AT_HOME]},
    ),
    _rule(
        "emergency",
        "danger_in_acute_illness",
        "The risk is high and the psychiatric state is very unstable.",
        {"all": [_HIGH_RISK, _from("psychiatric_instability", "high")]},
    ),
    _rule(
        "emergency",
        "medical_emergency",
        "The physical state is very unstable.",
        _from("medical_instability", "high"),
    ),
]
_INPATIENT = [
    _rule("inpatient", "high_risk", "The risk is high.", _HIGH_RISK),
    _rule(
        "inpatient", "withdrawal_needs_watching", "A dangerous withdrawal is likely.", _from("withdrawal_risk", "high")
    ),
    _rule(
        "inpatient",
        "acute_illness",
        "The psychiatric state is very unstable.",
        _from("psychiatric_instability", "high"),
    ),
    _rule(
        "inpatient",
        "withdrawal_in_illness",
        "A withdrawal is likely in somebody whose physical state is unstable.",
        {"all": [_from("withdrawal_risk", "moderate"), _from("medical_instability", "moderate")]},
    ),
]
_RESIDENTIAL = [
    _rule(
        "residential",
        "home_is_a_danger",
        "Home is not safe, and what the person has would get worse there.",
        {
            "all": [
                _from("supports", "unsafe"),
                {
                    "any": [
                        _from("risk", "moderate"),
                        _from("withdrawal_risk", "moderate"),
                        _from("psychiatric_instability", "moderate"),
                        _MUCH_IMPAIRMENT,
                    ]
                },
            ]
        },
    ),
    _rule(
        "residential",
        "nobody_to_help",
        "The person cannot get through the day and nobody at home can help.",
        {"all": [_NOBODY_AT_HOME, _from("impairment", "high")]},
    ),
    _rule(
        "residential",
        "days_were_not_enough",
        "Care by day was not enough of late, and daily life is impaired.",
        {"all": [_from("treatment_history", "partial_hospitalization_not_enough"), _MUCH_IMPAIRMENT]},
    ),
]
_PARTIAL_HOSPITALIZATION = [
    _rule(
        "partial_hospitalization", "hours_of_a_day_programme", "Twenty hours a week or more.", _from("hours_needed", 20)
    ),
    _rule(
        "partial_hospitalization", "daily_life_fails", "Daily life is severely impaired.", _from("impairment", "high")
    ),
    _rule(
        "partial_hospitalization",
        "cannot_manage",
        "The person cannot manage what they are responsible for, and daily life is impaired.",
        {"all": [_from("responsibilities", "unmanaged"), _MUCH_IMPAIRMENT]},
    ),
    _rule(
        "partial_hospitalization",
        "body_needs_watching",
        "The physical state is unstable.",
        _from("medical_instability", "moderate"),
    ),
    _rule(
        "partial_hospitalization",
        "withdrawal_by_day",
        "A withdrawal is likely that should be seen daily.",
        _from("withdrawal_risk", "moderate"),
    ),
    _rule(
        "partial_hospitalization",
        "danger_in_illness",
        "There is some risk in somebody whose psychiatric state is unstable.",
        {"all": [_from("risk", "moderate"), _from("psychiatric_instability", "moderate")]},
    ),
    _rule(
        "partial_hospitalization",
        "intensive_care_was_not_enough",
        "Intensive outpatient care was not enough of late, and daily life is impaired.",
        {"all": [_from("treatment_history", "intensive_outpatient_not_enough"), _MUCH_IMPAIRMENT]},
    ),
]
_INTENSIVE_OUTPATIENT = [
    _rule("intensive_outpatient", "hours_of_a_programme", "Nine hours a week or more.", _from("hours_needed", 9)),
    _rule(
        "intensive_outpatient",
        "hours_of_a_programme_for_the_young",
        "Six hours a week or more, for somebody who is not of age.",
        {"all": [_from("age_group", "adolescent"), _from("hours_needed", 6)]},
    ),
    _rule("intensive_outpatient", "some_risk", "There is some risk.", _from("risk", "moderate")),
    _rule(
        "intensive_outpatient",
        "unstable",
        "The psychiatric state is unstable.",
        _from("psychiatric_instability", "moderate"),
    ),
    _rule("intensive_outpatient", "impaired", "Daily life is impaired.", _MUCH_IMPAIRMENT),
    _rule(
        "intensive_outpatient",
        "weekly_was_not_enough",
        "Weekly care was not enough of late, and daily life suffers.",
        {"all": [_from("treatment_history", "outpatient_not_enough"), _SOME_IMPAIRMENT]},
    ),
    _rule(
        "intensive_outpatient",
        "severe_symptoms",
        "An instrument shows severe symptoms, and daily life suffers.",
        {
            "all": [
                {"any": [_from("band.phq-9", "moderately_severe"), _from("band.gad-7", "severe")]},
                _SOME_IMPAIRMENT,
            ]
        },
    ),
]

DEFAULT: Mapping[str, Any] = {
    "name": "stepway/1",
    "needs": ["risk", "withdrawal_risk", "medical_instability", "psychiatric_instability", "impairment", "supports"],
    "otherwise": "outpatient",
    "fresh_days": 30,
    "rules": [*_EMERGENCY, *_INPATIENT, *_RESIDENTIAL, *_PARTIAL_HOSPITALIZATION, *_INTENSIVE_OUTPATIENT],
}
