"""What each protection costs a call: intake without it beside intake whole, with relays at rest."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from stepway_cli.local.process import Process
from tests.bench.figures import Figure, Findings, share
from tests.bench.machine import cpu_seconds, cpu_seconds_of_children
from tests.bench.pipelines import RECEIVE_REFERRAL
from tests.bench.stand import FEW_SITES, Stand
from tests.bench.without import LAYERS, NOTHING

CALLERS = 8


@dataclass(frozen=True)
class Variant:
    """One running intake, what was measured of it, and how many milliseconds of a core each call took."""

    process: Process
    address: str
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


def measure(stand: Stand) -> Findings:
    with ExitStack() as running:
        variants = {layer: running.enter_context(_without(stand, layer)) for layer in LAYERS}
        for number in range(stand.rounds):
            for layer in _in_turn([*LAYERS], number):
                _load(stand, variants[layer])
    stand.sql("stepway_intake", "DELETE FROM outbox WHERE published_at IS NULL")
    costs = {layer: Figure(f"CPU of a call, {_name(layer)}", "ms", each.costs) for layer, each in variants.items()}
    rates = {layer: Figure(f"calls, {_name(layer)}", "calls/s", each.rates) for layer, each in variants.items()}
    whole = costs[NOTHING]
    shares = [share(whole, costs[layer], name=f"share of {layer} in a call, %") for layer in LAYERS if layer != NOTHING]
    return Findings(shares, [*costs.values(), *rates.values()])


def _name(layer: str) -> str:
    return "whole" if layer == NOTHING else f"without {layer}"


@contextmanager
def _without(stand: Stand, layer: str) -> Iterator[Variant]:
    label = "without-" + layer.replace(" ", "-")
    with stand.service("intake", "tests.bench.without", layer, label=label, **_told(stand, layer)) as process:
        yield Variant(process, f"127.0.0.1:{stand.platform.folder.port(label)}")


def _told(stand: Stand, layer: str) -> dict[str, str]:
    """The two layers that are a setting, not code."""
    if layer == "tracing":
        return {"STEPWAY_TRACE_RATIO": "0"}
    if layer == "row-level security":
        return {"STEPWAY_DATABASE_URL": f"{stand.superuser}stepway_intake"}
    return {}


def _in_turn(layers: list[str], number: int) -> list[str]:
    """Nobody is always the first."""
    first = number % len(layers)
    return layers[first:] + layers[:first]


def _load(stand: Stand, variant: Variant) -> None:
    crowds = {"all": {"at": stand.staff[:FEW_SITES], "callers": CALLERS}}
    before = _cpu(stand, variant)
    done = stand.worker.do(
        "call", address=variant.address, method=RECEIVE_REFERRAL, crowds=crowds, seconds=stand.seconds
    )["all"]
    variant.rates.append(done["rate"])
    variant.costs.append(1000 * (_cpu(stand, variant) - before) / done["count"])


def _cpu(stand: Stand, variant: Variant) -> float:
    """Of the service and of the database."""
    return cpu_seconds(variant.process.pid) + cpu_seconds_of_children(stand.platform.postgres.pid)
