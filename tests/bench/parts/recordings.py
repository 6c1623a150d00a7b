"""Recordings a second: answers to a PHQ-9, scored and announced, beside the pipeline floor under the same load."""

from dataclasses import replace

from tests.bench import people, pipelines
from tests.bench.asked import RECORDING
from tests.bench.figures import Findings
from tests.bench.parts.calls import side_by_side
from tests.bench.pipelines import RECORD_ASSESSMENT, RECORDINGS_ANNOUNCED, RECORDINGS_HANDLED, Pipeline
from tests.bench.stand import FEW_SITES, Stand, sites

CALLERS = 8
REFERRALS = 50  # at each site, in turn


def measure(stand: Stand) -> Findings:
    few = sites(FEW_SITES)
    people.settle(stand, few)
    tokens = dict(stand.holders("clinician", few))
    at = [(site, tokens[site], id) for site, id in people.some(stand, "referral", "id", few, REFERRALS)]
    with pipelines.floor(stand) as floor, pipelines.real(stand) as real:
        asked = replace(floor, asked=RECORDING, at=at)
        return side_by_side(stand, asked, _recorded(replace(real, asked=RECORDING, at=at)), CALLERS, calls="recordings")


def _recorded(real: Pipeline) -> Pipeline:
    return replace(real, method=RECORD_ASSESSMENT, announced=RECORDINGS_ANNOUNCED, handled=RECORDINGS_HANDLED)
