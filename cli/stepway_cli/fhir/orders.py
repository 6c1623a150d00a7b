"""Which ServiceRequests ask a programme to take somebody in, and in what words."""

from collections.abc import Iterable

from stepway_cli.fhir.elements import Element
from stepway_cli.findings import Note, Unusable

SNOMED = "http://snomed.info/sct"
HCPCS = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
US_CORE_CATEGORY = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category"
LONGEST_REASON = 4000

_SAME_SYSTEM = {
    "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": HCPCS,
    "urn:oid:2.16.840.1.113883.6.285": HCPCS,
    "urn:oid:2.16.840.1.113883.6.96": SNOMED,
}

# Codes that ask for a referral. The first two are generic. The other SNOMED CT codes are members of value sets of the
# US quality measures (VSAC, 2025): Referral for Adult and for Adolescent Depression 2.16.840.1.113883.3.526.3.1571 and
# .1570, Follow Up for Adult and for Adolescent Depression .1568 and .1569, and Substance Use Disorder Treatment
# 2.16.840.1.113883.3.464.1003.106.12.1005. Source of the last two: HCPCS Level II, CMS.
REFERRAL_CODES = {
    (SNOMED, "3457005"): "referral of a patient",
    (SNOMED, "306206005"): "referral to a service",
    (SNOMED, "183524004"): "referral to psychiatry",
    (SNOMED, "183583007"): "referral to a mental health worker",
    (SNOMED, "306226009"): "referral to mental health counselling, the service",
    (SNOMED, "306227000"): "referral for mental health counselling",
    (SNOMED, "306252003"): "referral to a mental health counsellor",
    (SNOMED, "306291008"): "referral to a psychiatrist for children and adolescents",
    (SNOMED, "308459004"): "referral to a psychologist",
    (SNOMED, "308477009"): "referral to a psychiatrist",
    (SNOMED, "390866009"): "referral to a mental health team",
    (SNOMED, "710914003"): "referral to family therapy",
    (SNOMED, "81294000"): "referral for psychotherapy",
    (SNOMED, "75516001"): "psychotherapy",
    (SNOMED, "18512000"): "individual psychotherapy",
    (SNOMED, "76168009"): "group psychotherapy",
    (SNOMED, "108313002"): "family psychotherapy",
    (SNOMED, "24165007"): "alcohol counselling",
    (SNOMED, "60112009"): "drug addiction counselling",
    (SNOMED, "313071005"): "substance use counselling",
    (SNOMED, "385989002"): "substance use therapy",
    (SNOMED, "266707007"): "drug addiction therapy",
    (SNOMED, "20093000"): "alcohol rehabilitation",
    (SNOMED, "56876005"): "drug rehabilitation",
    (SNOMED, "23915005"): "alcohol and drug rehabilitation",
    (SNOMED, "720176005"): "alcohol relapse prevention",
    (SNOMED, "720177001"): "drug relapse prevention",
    (HCPCS, "S9480"): "intensive outpatient psychiatric services",
    (HCPCS, "H0015"): "intensive outpatient alcohol or drug services",
}

# Categories that are enough when the order has no code: FHIR R4 servicerequest-category, and the generic referral.
REFERRAL_CATEGORIES = frozenset({(SNOMED, "409063005"), (SNOMED, "3457005"), (SNOMED, "306206005")})

# Orders that ask for something else, by category (FHIR R4 and US Core servicerequest-category) or code (US Core).
OTHER_ORDERS = {
    (SNOMED, "108252007"): "a laboratory order asks nobody to take the patient in",
    (SNOMED, "363679005"): "an imaging order asks for a picture, not for care",
    (SNOMED, "386053000"): "an order for a test asks nobody to take the patient in",
    (SNOMED, "387713003"): "a surgical order does not belong to this programme",
    (US_CORE_CATEGORY, "PMO"): "a portable medical order is a wish about treatment, not a referral",
    (SNOMED, "467771000124109"): "help with food is a social service that this programme does not give",
}

_INTENTS = frozenset({"proposal", "plan", "order", "original-order", "filler-order", "instance-order"})


def check_referral(order: Element) -> None:
    """Refuse an order that is over or asks for anything but a referral; text is never guessed at."""
    if order.text("status") != "active":
        raise Unusable("ORDER_NOT_ACTIVE", "only an order whose status is active asks for anything")
    if order.flag("doNotPerform"):
        raise Unusable("NOT_A_REFERRAL", "the order says not to do it")
    codes, categories = _codes([order.one("code")]), _codes(order.many("category"))
    asks_for_referral = codes & REFERRAL_CODES.keys() or (not codes and categories & REFERRAL_CATEGORIES)
    for other in sorted((codes | categories) & OTHER_ORDERS.keys()):
        if not asks_for_referral:
            raise Unusable("NOT_A_REFERRAL", OTHER_ORDERS[other])
    if order.text("intent") not in _INTENTS:
        raise Unusable("NOT_A_REFERRAL", f"the intent of a referral is one of {', '.join(sorted(_INTENTS))}")
    if not asks_for_referral:
        raise Unusable(
            "ORDER_CODE_UNKNOWN",
            "give it a code that says what is asked for: SNOMED CT 306206005 (referral to a service), 183524004 "
            "(referral to psychiatry), 313071005 (substance use counselling), or HCPCS S9480 or H0015",
        )


def _codes(concepts: Iterable[Element]) -> set[tuple[str, str]]:
    codings = [coding for concept in concepts for coding in concept.many("coding")]
    return {(_system(coding), coding.text("code")) for coding in codings if coding.text("code")}


def _system(coding: Element) -> str:
    system = coding.text("system")
    return _SAME_SYSTEM.get(system, system)


def reason_of(order: Element) -> str:
    """What is asked for and why, in the sender's words: code, reasons and notes, each once."""
    concepts = [order.one("code"), *order.many("reasonCode")]
    words = [_words(concept) for concept in concepts]
    words += [reference.text("display") for reference in order.many("reasonReference")]
    words += [note.text("text") for note in order.many("note")]
    return "; ".join(dict.fromkeys(filter(None, words)))


def _words(concept: Element) -> str:
    displays = (coding.text("display") for coding in concept.many("coding"))
    return concept.text("text") or next(filter(None, displays), "")


def joined(reasons: Iterable[str], name: str, notes: list[Note]) -> str:
    """The reasons of all orders, cut to what intake takes."""
    reason = "\n".join(dict.fromkeys(filter(None, reasons)))
    if len(reason) > LONGEST_REASON:
        notes.append(Note(name, f"the reason was cut to {LONGEST_REASON} characters"))
    return reason[:LONGEST_REASON]
