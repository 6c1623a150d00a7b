"""From the bytes of a file to the FHIR R4 resources in it; what cannot be read is refused by name."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from stepway_cli.findings import Refused, Unusable

JsonObject = dict[str, object]

_DEEPEST = 100
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_URL_ENDING = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})$")
_BUNDLE_TYPES = ("transaction", "collection", "searchset", "document", "batch", "message")

REFERRAL_KINDS = ("Patient", "ServiceRequest", "RelatedPerson")  # what a referral is made of

# https://hl7.org/fhir/R4/resourcelist.html
_R4 = """
    Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent Basic Binary
    BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam CatalogEntry ChargeItem
    ChargeItemDefinition Claim ClaimResponse ClinicalImpression CodeSystem Communication CommunicationRequest
    CompartmentDefinition Composition ConceptMap Condition Consent Contract Coverage CoverageEligibilityRequest
    CoverageEligibilityResponse DetectedIssue Device DeviceDefinition DeviceMetric DeviceRequest DeviceUseStatement
    DiagnosticReport DocumentManifest DocumentReference EffectEvidenceSynthesis Encounter Endpoint EnrollmentRequest
    EnrollmentResponse EpisodeOfCare EventDefinition Evidence EvidenceVariable ExampleScenario ExplanationOfBenefit
    FamilyMemberHistory Flag Goal GraphDefinition Group GuidanceResponse HealthcareService ImagingStudy Immunization
    ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide InsurancePlan Invoice Library Linkage List
    Location Measure MeasureReport Media Medication MedicationAdministration MedicationDispense MedicationKnowledge
    MedicationRequest MedicationStatement MedicinalProduct MedicinalProductAuthorization
    MedicinalProductContraindication MedicinalProductIndication MedicinalProductIngredient
    MedicinalProductInteraction MedicinalProductManufactured MedicinalProductPackaged MedicinalProductPharmaceutical
    MedicinalProductUndesirableEffect MessageDefinition MessageHeader MolecularSequence NamingSystem NutritionOrder
    Observation ObservationDefinition OperationDefinition OperationOutcome Organization OrganizationAffiliation
    Parameters Patient PaymentNotice PaymentReconciliation Person PlanDefinition Practitioner PractitionerRole
    Procedure Provenance Questionnaire QuestionnaireResponse RelatedPerson RequestGroup ResearchDefinition
    ResearchElementDefinition ResearchStudy ResearchSubject RiskAssessment RiskEvidenceSynthesis Schedule
    SearchParameter ServiceRequest Slot Specimen SpecimenDefinition StructureDefinition StructureMap Subscription
    Substance SubstanceNucleicAcid SubstancePolymer SubstanceProtein SubstanceReferenceInformation
    SubstanceSourceMaterial SubstanceSpecification SupplyDelivery SupplyRequest Task TerminologyCapabilities
    TestReport TestScript ValueSet VerificationResult VisionPrescription
"""
_RESOURCE_TYPES = frozenset(_R4.split())


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource and how others may refer to it; key is Type/id and, like url, empty when it was not given."""

    file: str
    kind: str
    name: str
    key: str
    url: str
    fields: JsonObject


def resources_in(file: str, content: bytes) -> Iterator[Resource | Refused]:
    """Every resource of a Bundle, or the one that the file is."""
    try:
        document = _parsed(content)
    except Unusable as problem:
        yield problem.named(file)
        return
    if document["resourceType"] == "Bundle":
        yield from _entries(file, document)
    else:
        yield _resource(file, "", document, "")


def _parsed(content: bytes) -> JsonObject:
    document = _json(_text(content))
    if not isinstance(document, dict) or not isinstance(document.get("resourceType"), str):
        raise Unusable("NOT_FHIR", "send one FHIR R4 resource or Bundle, an object with a resourceType")
    return document


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise Unusable("NOT_UTF8", "save the file as UTF-8") from None
    if not text:
        raise Unusable("EMPTY_FILE", "there is nothing in this file")
    if text.startswith("<"):
        raise Unusable("NOT_JSON", "this looks like XML: export FHIR as JSON")
    return text


def _json(text: str) -> object:
    try:
        document: object = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise Unusable("NOT_JSON", "send one whole JSON document in each file") from None
    if _deeper_than(_DEEPEST, document):
        raise _too_deep()
    _refuse_half_characters(document)
    return document


def _no_constant(_: str) -> object:
    raise ValueError


def _too_deep() -> Unusable:
    return Unusable("TOO_DEEP", f"nothing in FHIR is nested more than {_DEEPEST} levels deep")


def _deeper_than(levels: int, document: object) -> bool:
    level = [document]
    for _ in range(levels):
        level = [child for value in level for child in _children(value)]
    return bool(level)


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse_half_characters(document: object) -> None:
    """JSON can spell a lone surrogate, which no message can carry."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Unusable("NOT_JSON", "a string holds half of a character (a lone surrogate)") from None


def _entries(file: str, bundle: JsonObject) -> Iterator[Resource | Refused]:
    if bundle.get("type") not in _BUNDLE_TYPES:
        yield Refused(file, "BUNDLE_TYPE_UNSUPPORTED", f"send a Bundle of type {', '.join(_BUNDLE_TYPES)}")
        return
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        yield Refused(file, "MALFORMED", "entry has to be a list")
        return
    if not entries:
        yield Refused(file, "BUNDLE_EMPTY", "the Bundle has no entry")
    for index, entry in enumerate(entries):
        yield _entry(file, f"entry[{index}]", entry)


def _entry(file: str, position: str, entry: object) -> Resource | Refused:
    if not isinstance(entry, dict) or not isinstance(entry.get("resource"), dict):
        return Refused(f"{file} {position}", "MALFORMED", "an entry has to hold a resource, which is an object")
    url = entry.get("fullUrl", "")
    if not isinstance(url, str):
        return Refused(f"{file} {position}", "MALFORMED", "fullUrl has to be a string")
    return _resource(file, position, entry["resource"], url)


def _resource(file: str, position: str, fields: JsonObject, url: str) -> Resource | Refused:
    place = f"{file} {position}".strip()
    kind = fields.get("resourceType")
    if not isinstance(kind, str) or kind not in _RESOURCE_TYPES:
        return Refused(place, "NOT_FHIR", "FHIR R4 has no resource of this resourceType")
    if kind == "Bundle":
        return Refused(place, "BUNDLE_IN_BUNDLE", "send the inner Bundle as a file of its own")
    identity = fields.get("id") or _id_in(url, kind)
    if not identity or kind not in REFERRAL_KINDS:
        return Resource(file, kind, f"{file} {kind} {position}".strip(), "", url, fields)
    if not isinstance(identity, str) or not _ID.fullmatch(identity):
        return Refused(f"{file} {kind} {position}".strip(), "MALFORMED", "id has to be letters, digits, - or .")
    return Resource(file, kind, f"{file} {kind}/{identity}", f"{kind}/{identity}", url, fields)


def _id_in(url: str, kind: str) -> str:
    ending = _URL_ENDING.search(url)
    return ending[2] if ending and ending[1] == kind else ""
