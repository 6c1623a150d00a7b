"""Who is refused at the door, with which words, and what stays behind of the attempt."""

import base64
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from joserfc.jwk import OKPKey

from stepway.intake.v1.referral_service_pb2 import GetReferralRequest, ListReferralsRequest
from stepway_cli.tokens import AUDIENCE, ISSUER, read_key
from tests.calls import Answer, every_rpc, send
from tests.data import REPOSITORY
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral

LIST = "stepway.intake.v1.ReferralService/ListReferrals"
RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
CONTACT = "stepway.intake.v1.ReferralService/GetPatientContact"
GRPCURL = REPOSITORY / ".venv" / "bin" / "grpcurl"
HOUR = 3600
PRIVATE = ("Quillan", "Vexmoor", "12125550142", "vexmoor@example.org", "wants help")

UNTRUSTED = ("UNAUTHENTICATED", "TOKEN_UNTRUSTED")
MALFORMED = ("UNAUTHENTICATED", "TOKEN_MALFORMED")
EXPIRED = ("UNAUTHENTICATED", "TOKEN_EXPIRED")
MISSING = ("UNAUTHENTICATED", "TOKEN_MISSING")


def short(value: object) -> str:
    return str(value)[:70]


def claims(**changes: Any) -> dict[str, Any]:
    """What the issuer says about a member of staff; a change to None leaves the claim out."""
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "front-desk-1",
        "kind": "staff",
        "grants": {NORTHSIDE: ["front_desk"]},
        "iat": now,
        "nbf": now,
        "exp": now + HOUR,
        "jti": str(uuid4()),
    }
    return {name: value for name, value in (said | changes).items() if value is not None}


def part(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


GARBAGE = [
    *("x", ".", "..", "a.b.c", "a.b.c.d.e"),
    *(f"{part(header)}.{part({})}.a" for header in ([], 7, None, b"", b"\xff", b"{{{", b"[" * 5000)),
    *(f"{part({'alg': alg})}.{part({})}.a" for alg in (None, 1, [], {}, "", "Ed25519")),
    *(f"{part({'alg': 'Ed25519', 'kid': kid})}.{part({})}.a" for kid in (1, [], {}, None, "people-1", "\0")),
    *(f"{part({'alg': 'Ed25519', 'kid': 'people-1', 'crit': crit})}.{part({})}.a" for crit in ([], ["b64"], 7)),
]


def signed(
    sign: Callable[[bytes], bytes], said: Any, *, kid: Any = "people-1", alg: Any = "Ed25519", **header: Any
) -> str:
    """A token made by hand, so that nothing keeps it from being wrong."""
    named = {name: value for name, value in {"alg": alg, "kid": kid, **header}.items() if value is not None}
    signing = f"{part(named)}.{part(said)}"
    return f"{signing}.{part(sign(signing.encode()))}"


def by(key: OKPKey) -> Callable[[bytes], bytes]:
    return key.private_key.sign  # type: ignore[union-attr]


def by_people(network: Network) -> Callable[[bytes], bytes]:
    return by(network.platform.keys.people_key())


def by_service(network: Network, service: str) -> Callable[[bytes], bytes]:
    return by(read_key(network.platform.keys.service_key_file(service)))


def unsigned(_: bytes) -> bytes:
    return b""


def by_secret(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda signing: hmac.new(secret, signing, hashlib.sha256).digest()


def listing(network: Network, token: str | None, **call: Any) -> Answer:
    return send(network, LIST, ListReferralsRequest(), token=token, **call)


def test_the_hand_made_token_is_good(network: Network) -> None:
    assert listing(network, signed(by_people(network), claims())).code == "OK"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic c3RlcHdheQ==", "token", "bearer"])
def test_a_call_without_a_token_is_refused(network: Network, authorization: str | None) -> None:
    told = {} if authorization is None else {"authorization": authorization}
    assert listing(network, None, **told).refusal == MISSING


@pytest.mark.parametrize("token", GARBAGE, ids=short)
def test_garbage_is_refused(network: Network, token: str) -> None:
    assert listing(network, token).refusal == UNTRUSTED


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"exp": int(time.time()) - HOUR}, EXPIRED),
        ({"exp": int(time.time()) - 15}, EXPIRED),
        ({"nbf": int(time.time()) + HOUR}, EXPIRED),
        ({"aud": "another"}, UNTRUSTED),
        ({"aud": ["another", "stepway.evil"]}, UNTRUSTED),
        ({"aud": {"stepway": True}}, UNTRUSTED),
        ({"aud": None}, UNTRUSTED),
        ({"iss": "https://stepway.evil"}, UNTRUSTED),
        ({"iss": None}, UNTRUSTED),
        ({"iss": [ISSUER]}, UNTRUSTED),
        ({"exp": None}, MALFORMED),
        ({"exp": "tomorrow"}, MALFORMED),
        ({"exp": [1]}, MALFORMED),
        ({"exp": float("nan")}, MALFORMED),
        ({"exp": float("inf")}, MALFORMED),
        ({"exp": True}, EXPIRED),
        ({"nbf": "yesterday"}, MALFORMED),
        ({"nbf": float("nan")}, MALFORMED),
        ({"sub": None}, MALFORMED),
        ({"sub": ""}, MALFORMED),
        ({"sub": 7}, MALFORMED),
        ({"sub": ["staff-2041"]}, MALFORMED),
        ({"sub": "jane\0doe"}, MALFORMED),
        ({"sub": "jane.doe@example.org"}, MALFORMED),
        ({"sub": "x" * 65}, MALFORMED),
        ({"kind": None}, MALFORMED),
        ({"kind": "admin"}, MALFORMED),
        ({"kind": ["staff"]}, MALFORMED),
        ({"kind": {}}, MALFORMED),
        ({"grants": []}, MALFORMED),
        ({"grants": "northside"}, MALFORMED),
        ({"grants": 7}, MALFORMED),
        ({"grants": {NORTHSIDE: "front_desk"}}, MALFORMED),
        ({"grants": {NORTHSIDE: 7}}, MALFORMED),
        ({"grants": {NORTHSIDE: None}}, MALFORMED),
        ({"grants": {NORTHSIDE: {"front_desk": True}}}, MALFORMED),
        ({"grants": {NORTHSIDE: [["front_desk"]]}}, MALFORMED),
        ({"kind": "service"}, UNTRUSTED),
        ({"kind": "service", "sub": "notifications"}, UNTRUSTED),
    ],
    ids=short,
)
def test_a_claim_that_is_wrong_is_refused(network: Network, changes: dict[str, Any], refusal: tuple[str, str]) -> None:
    assert listing(network, signed(by_people(network), claims(**changes))).refusal == refusal


@pytest.mark.parametrize("said", [[], "staff", 7, None, b"{", b"", b"\xff\xfe", b"[" * 5000], ids=short)
def test_claims_that_are_no_object_are_refused(network: Network, said: Any) -> None:
    assert listing(network, signed(by_people(network), said)).refusal == UNTRUSTED


def test_a_missing_list_of_grants_gives_no_role(network: Network) -> None:
    answer = listing(network, signed(by_people(network), claims(grants=None)))
    assert answer.refusal == ("PERMISSION_DENIED", "NO_ROLE_AT_SITE")


def test_a_key_that_nobody_knows_signs_for_nobody(network: Network) -> None:
    stranger = by(OKPKey.generate_key("Ed25519"))
    assert listing(network, signed(stranger, claims())).refusal == UNTRUSTED
    assert listing(network, signed(stranger, claims(), kid="people-2")).refusal == UNTRUSTED
    assert listing(network, signed(stranger, claims(), kid=None)).refusal == UNTRUSTED


def test_a_key_that_travels_in_the_token_is_not_taken(network: Network) -> None:
    stranger = OKPKey.generate_key("Ed25519")
    for kid in ("people-1", None):
        brought = signed(by(stranger), claims(), kid=kid, jwk=stranger.as_dict(private=False))
        assert listing(network, brought).refusal == UNTRUSTED


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "HS256", "EdDSA", "ES256", "RS256", "Ed448", None])
def test_an_algorithm_that_is_not_the_keys_own_is_refused(network: Network, alg: str | None) -> None:
    assert listing(network, signed(unsigned, claims(), alg=alg)).refusal == UNTRUSTED


def test_a_public_key_is_no_shared_secret(network: Network) -> None:
    key = network.platform.keys.people_key()
    public = key.as_dict(private=False)
    raw = base64.urlsafe_b64decode(f"{public['x']}=")
    for secret in (raw, public["x"].encode(), json.dumps(public).encode(), key.as_pem(private=False)):
        assert listing(network, signed(by_secret(secret), claims(), alg="HS256")).refusal == UNTRUSTED


def test_a_signature_counts_for_its_own_words_only(network: Network) -> None:
    header, _, signature = signed(by_people(network), claims()).split(".")
    more = part(claims(grants={NORTHSIDE: ["site_lead"]}))
    assert listing(network, f"{header}.{more}.{signature}").refusal == UNTRUSTED


@pytest.mark.parametrize("kid", ["notifications-1", "people-1", None])
@pytest.mark.parametrize(
    "said",
    [
        {"sub": "notifications", "kind": "staff"},
        {"sub": "notifications", "kind": "patient"},
        {"sub": "intake", "kind": "service"},
        {"sub": "front-desk-1", "kind": "staff"},
    ],
    ids=short,
)
def test_the_key_of_a_service_speaks_for_that_service_only(
    network: Network, kid: str | None, said: dict[str, str]
) -> None:
    token = signed(by_service(network, "notifications"), claims(**said), kid=kid)
    assert {listing(network, token).refusal for _ in range(4)} == {UNTRUSTED}


def test_a_service_gets_nothing_from_roles_that_it_grants_itself(network: Network) -> None:
    said = claims(sub="notifications", kind="service", grants={NORTHSIDE: ["site_lead"]})
    token = signed(by_service(network, "notifications"), said, kid="notifications-1")
    assert listing(network, token).refusal == ("PERMISSION_DENIED", "SERVICE_NOT_NAMED")


def test_a_huge_token_is_refused_and_the_service_goes_on(network: Network) -> None:
    huge = signed(by_people(network), claims(grants={f"site-{number}": ["front_desk"] for number in range(5000)}))
    assert listing(network, huge).code in {"RESOURCE_EXHAUSTED", "UNAUTHENTICATED"}
    assert listing(network, signed(by_people(network), claims())).code == "OK"


@pytest.mark.parametrize(
    ("site", "refusal"),
    [
        (None, ("INVALID_ARGUMENT", "SITE_MISSING")),
        ("", ("INVALID_ARGUMENT", "SITE_MISSING")),
        ("eastside", ("NOT_FOUND", "SITE_UNKNOWN")),
        ("westside", ("PERMISSION_DENIED", "NO_ROLE_AT_SITE")),
        (LAKESIDE, ("PERMISSION_DENIED", "NO_ROLE_AT_SITE")),
        ("NORTHSIDE", ("PERMISSION_DENIED", "NO_ROLE_AT_SITE")),
        ("northside' OR true --", ("PERMISSION_DENIED", "NO_ROLE_AT_SITE")),
        ("x" * 3000, ("PERMISSION_DENIED", "NO_ROLE_AT_SITE")),
    ],
)
def test_a_call_names_a_site_where_its_caller_has_a_role(
    network: Network, site: str | None, refusal: tuple[str, str]
) -> None:
    granted = claims(grants={NORTHSIDE: ["front_desk"], "eastside": ["front_desk"]})
    assert listing(network, signed(by_people(network), granted), site=site).refusal == refusal


def test_a_service_at_an_unknown_site_is_told_so(network: Network) -> None:
    said = claims(sub="notifications", kind="service", grants=None)
    token = signed(by_service(network, "notifications"), said, kid="notifications-1")
    request = every_rpc()[CONTACT].request(patient_id=str(uuid4()))
    assert send(network, CONTACT, request, token=token, site="westside").refusal == ("NOT_FOUND", "SITE_UNKNOWN")


def test_an_unknown_purpose_is_refused(network: Network) -> None:
    answer = listing(network, signed(by_people(network), claims()), stepway_purpose="CURIOSITY")
    assert (*answer.refusal, answer.field) == ("INVALID_ARGUMENT", "PURPOSE_UNKNOWN", "stepway-purpose")
    assert b"CURIOSITY" not in answer.said


def test_a_known_purpose_stands_in_the_audit(network: Network) -> None:
    subject = f"reader-{uuid4()}"
    assert listing(network, signed(by_people(network), claims(sub=subject)), stepway_purpose="HPAYMT").code == "OK"
    assert [row["purpose"] for row in audited(network, subject)] == ["HPAYMT"]


def test_health_answers_without_a_token(network: Network) -> None:
    for service in network.platform.services:
        with grpc.insecure_channel(network.platform.address(service)) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_services_of_each_process(network: Network) -> None:
    for process in network.platform.services:
        listed = subprocess.run(
            [GRPCURL, "-plaintext", network.platform.address(process), "list"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.split()
        own = {rpc.partition("/")[0] for rpc in every_rpc() if rpc.startswith(f"stepway.{process}.")}
        assert set(listed) == own | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.mark.parametrize("method", ["NoSuchMethod", ""])
def test_a_method_that_does_not_exist_is_unimplemented(network: Network, method: str) -> None:
    rpc = f"stepway.intake.v1.ReferralService/{method}"
    assert send(network, rpc, token=signed(by_people(network), claims())).code == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    "changes",
    [
        {"person": {"given_name": "Quillan", "family_name": "Vexmoor", "birth_date": "2190-04-01"}},
        {"person": {"given_name": "Quillan", "family_name": "Vexmoor", "birth_date": "Vexmoor"}},
        {"person": {"family_name": "Vexmoor", "contact_points": [{"phone": "12125550142"}]}},
        {"person": {"family_name": "Vexmoor", "contact_points": [{"email": "Quillan Vexmoor"}]}},
        {"person": {"family_name": "Vexmoor\0", "given_name": "Quillan"}},
        {"related_people": [{"given_name": "Quillan"}, {"family_name": "Vexmoor", "given_name": "Quillan\0"}]},
        {"person": {"family_name": "\u200b \t", "given_name": "Quillan"}},
        {"person": {"family_name": "Vexmoor", "language": "wants help"}},
        {"request_id": "Vexmoor"},
        {"reason": "wants help" * 500},
    ],
    ids=short,
)
def test_an_error_never_repeats_what_the_caller_sent(network: Network, changes: dict[str, Any]) -> None:
    answer = send(network, RECEIVE, a_referral(**changes), token=signed(by_people(network), claims()))
    assert answer.code == "INVALID_ARGUMENT"
    assert answer.field
    assert not [word for word in PRIVATE if word.encode() in answer.said]


@pytest.mark.parametrize("site", [NORTHSIDE, LAKESIDE])
def test_a_denied_call_leaves_one_row_under_the_site_that_it_asked_for(network: Network, site: str) -> None:
    subject = f"denied-{uuid4()}"
    said = claims(sub=subject, grants={NORTHSIDE: ["patient"]}, kind="patient")
    before = referrals(network)
    answer = send(network, RECEIVE, a_referral(), token=signed(by_people(network), said), site=site)
    assert answer.code == "PERMISSION_DENIED"
    row = {"site": site, "action": RECEIVE, "outcome": "REFUSED", "reason": answer.reason, "purpose": "TREAT"}
    assert audited(network, subject) == [row]
    assert referrals(network) == before


@pytest.mark.parametrize(
    ("rpc", "body", "reason"),
    [
        (RECEIVE, b"\xff\xff", "REQUEST_MALFORMED"),
        (RECEIVE, b"", "FIELD_INVALID"),
        (
            "stepway.intake.v1.ReferralService/GetReferral",
            GetReferralRequest(referral_id=str(uuid4())).SerializeToString(),
            "REFERRAL_NOT_FOUND",
        ),
    ],
)
def test_a_wrong_request_leaves_one_row(network: Network, rpc: str, body: bytes, reason: str) -> None:
    subject = f"wrong-{uuid4()}"
    answer = send(network, rpc, body, token=signed(by_people(network), claims(sub=subject)))
    assert answer.reason == reason
    assert [(row["outcome"], row["reason"]) for row in audited(network, subject)] == [("REFUSED", reason)]


def test_a_denied_call_is_denied_and_audited_whatever_purpose_it_claims(network: Network) -> None:
    subject = f"denied-{uuid4()}"
    token = signed(by_people(network), claims(sub=subject))
    answer = listing(network, token, site=LAKESIDE, stepway_purpose="CURIOSITY")
    assert answer.refusal == ("PERMISSION_DENIED", "NO_ROLE_AT_SITE")
    assert [(row["reason"], row["purpose"]) for row in audited(network, subject)] == [("NO_ROLE_AT_SITE", "")]


def test_a_call_with_an_unknown_purpose_is_audited(network: Network) -> None:
    subject = f"curious-{uuid4()}"
    listing(network, signed(by_people(network), claims(sub=subject)), stepway_purpose="CURIOSITY")
    assert [row["reason"] for row in audited(network, subject)] == ["PURPOSE_UNKNOWN"]


def test_a_call_without_a_valid_token_leaves_no_row(network: Network) -> None:
    subject = f"nobody-{uuid4()}"
    count = audit_count(network)
    for changes in ({"exp": 1}, {"kind": "service"}, {"aud": "another"}):
        listing(network, signed(by_people(network), claims(sub=subject, **changes)))
    listing(network, None)
    assert audited(network, subject) == []
    assert audit_count(network) == count


@pytest.mark.parametrize("site", [None, "", "eastside", "westside"])
def test_a_call_that_names_no_existing_site_leaves_no_row(network: Network, site: str | None) -> None:
    subject = f"lost-{uuid4()}"
    token = signed(by_people(network), claims(sub=subject, grants={"eastside": ["front_desk"]}))
    assert listing(network, token, site=site).code != "OK"
    assert audited(network, subject) == []


def audited(network: Network, subject: str) -> list[dict[str, Any]]:
    columns = "site, action, outcome, reason, purpose"
    return network.rows("intake", f"SELECT {columns} FROM audit WHERE actor = '{subject}' ORDER BY at")


def audit_count(network: Network) -> int:
    """Rows about people; services read and write beside the tests."""
    rows = network.rows("intake", "SELECT count(*) AS count FROM audit WHERE actor_kind <> 'service'")
    return int(rows[0]["count"])


def referrals(network: Network) -> int:
    return int(network.rows("intake", "SELECT count(*) AS count FROM referral")[0]["count"])
