"""Who needs what next: each site's queue and open flags at the end of the story, and whether somebody is missing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from stepway.intake.v1.referral_pb2 import Referral, ReferralAction
from stepway.intake.v1.referral_service_pb2 import ListWorkRequest
from stepway.intake.v1.risk_flag_pb2 import RiskFlag
from stepway.intake.v1.risk_service_pb2 import ListRiskFlagsRequest
from stepway_chassis.times import to_proto
from stepway_cli.demo.network import Network
from stepway_cli.demo.promises import UNTRIED, Promise
from stepway_cli.sites import SiteRecord

LIST_WORK = "stepway.intake.v1.ReferralService/ListWork"
LIST_FLAGS = "stepway.intake.v1.RiskService/ListRiskFlags"
SOME_DAY = timedelta(days=100)
UNDER_WAY = "SELECT site, id FROM referral WHERE status NOT IN ('admitted', 'declined', 'unreachable')"

Queues = Mapping[str, Sequence[Referral]]
Flags = Mapping[str, Sequence[RiskFlag]]


async def queues(network: Network, records: Sequence[SiteRecord]) -> Queues:
    """What is due at each site, some day, what is first due first."""
    return {record.site: await _queue(network, record.site) for record in records}


async def _queue(network: Network, site: str) -> list[Referral]:
    desk, found, token = network.caller(site, "front_desk"), list[Referral](), ""
    until = to_proto(datetime.now(UTC) + SOME_DAY)
    while True:
        request = ListWorkRequest(page_size=100, page_token=token, due_before=until)
        answer = await desk.call(LIST_WORK, request, site=site)
        found += answer.referrals
        token = answer.next_page_token
        if not token:
            return found


async def flags(network: Network, records: Sequence[SiteRecord]) -> Flags:
    """The open ones of each site, what is first due first; as many as a page has."""
    request = ListRiskFlagsRequest(page_size=100, due_before=to_proto(datetime.now(UTC) + SOME_DAY))
    found = dict[str, Sequence[RiskFlag]]()
    for site in (record.site for record in records):
        answer = await network.caller(site, "clinician").call(LIST_FLAGS, request, site=site)
        found[site] = answer.risk_flags
    return found


async def check(network: Network, waiting: Queues) -> Promise:
    return nobody_missing(await network.rows("intake", UNDER_WAY), waiting)


def nobody_missing(under_way: Sequence[Mapping[str, str]], waiting: Queues) -> Promise:
    text = "whoever is under way has a next step and a time for it"
    queued = [(site, each) for site, queue in waiting.items() for each in queue]
    listed = Counter((site, each.id) for site, each in queued)
    kept = listed == Counter((row["site"], row["id"]) for row in under_way)
    kept = kept and all(each.next_action for _, each in queued) and all(map(_in_time, waiting.values()))
    steps = Counter(action(each) for _, each in queued)
    evidence = f"{len(under_way)} under way: {', '.join(f'{count} {step}' for step, count in steps.items())}"
    return Promise(text, kept, evidence) if under_way else Promise(text, None, UNTRIED)


def _in_time(queue: Sequence[Referral]) -> bool:
    """What is due first stands first."""
    due = [each.due_at.ToNanoseconds() for each in queue]
    return due == sorted(due)


def action(referral: Referral) -> str:
    return ReferralAction.Name(referral.next_action).removeprefix("REFERRAL_ACTION_").lower().replace("_", " ")


def step(flag: RiskFlag) -> str:
    return "say what was done about the flag" if flag.HasField("acknowledged_at") else "take the flag"
