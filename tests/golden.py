"""How the published cases write answers and results, and how we do."""

from typing import Any

from stepway_intake.instruments.catalogue import find
from stepway_intake.instruments.definition import Definition, Risk, Sex
from stepway_intake.instruments.scoring import risk_of, score

NAMES = {
    "PHQ-9": "phq-9",
    "GAD-7": "gad-7",
    "C-SSRS screener": "c-ssrs-screener",
    "AUDIT": "audit",
    "AUDIT-C": "audit-c",
    "DAST-10 (item 3 reversed wording)": "dast-10",
    "PCL-5": "pcl-5",
    "MDQ": "mdq",
    "WHODAS-12 simple 0-4": "whodas-12",
    "EDE-QS": "ede-qs",
    "SCOFF": "scoff",
    "BAM categorical": "bam",
    "PHQ-A/PHQ-9M": "phq-9m",
}
_PROBLEMS = ["no", "minor", "moderate", "serious"]
_C_SSRS = {"q1": 1, "q2": 2, "q3": 3, "q4": 4, "q5": 5, "q6": 6, "q6_3mo": 7}
_SEXES = {"F": Sex.FEMALE, "M": Sex.MALE}


def answers(*values: int | None) -> dict[int, int]:
    return {item: value for item, value in enumerate(values, start=1) if value is not None}


def results(case: dict[str, Any]) -> dict[str, Any]:
    """What we make of a case, in its own words; only what it speaks of."""
    definition, said = find(NAMES[case["instrument"]]), case["input"]
    told = _told(definition, _answers(definition.name, said), _sex(said))
    expected = case["expect"] if isinstance(case["expect"], dict) else {"band": case["expect"]}
    return {name: told[name] for name in expected}


def expected(case: dict[str, Any]) -> dict[str, Any]:
    return case["expect"] if isinstance(case["expect"], dict) else {"band": case["expect"]}


def _sex(said: Any) -> Sex:
    return _SEXES[said["sex"]] if isinstance(said, dict) and "sex" in said else Sex.UNKNOWN


def _answers(name: str, said: Any) -> dict[int, int]:
    if name == "c-ssrs-screener":  # a case names the yeses; the last question is always asked
        return {_C_SSRS[question]: value for question, value in {"q6": 0, **said}.items()}
    if name == "mdq":
        return answers(*said["y13"], int(said["same"]), _PROBLEMS.index(said["problem"]))
    if name == "audit-c":
        return answers(*said["a"])
    return {int(item): value for item, value in said.items()} if isinstance(said, dict) else answers(*said)


def _told(definition: Definition, given: dict[int, int], sex: Sex) -> dict[str, Any]:
    scored = score(definition, given, sex=sex)
    yes_or_no = {name: None if found is None else found == "yes" for name, found in scored.findings.items()}
    return {
        **scored.scales,
        **yes_or_no,
        "total": scored.total,
        "count": scored.total,
        "band": scored.band and scored.band.replace("zone_", "zone"),
        "missing": scored.missing,
        "pct": None if scored.permille is None else scored.permille / 10,
        "algorithm": scored.findings.get("algorithm"),
        "item9_flag": risk_of(definition, given) is Risk.PRESENT,
        "clusters": {name.upper(): total for name, total in scored.scales.items()},
        "cut31": yes_or_no.get("cut_31"),
        "cut33": yes_or_no.get("cut_33"),
        "dsm_rule": yes_or_no.get("provisional"),
    }
