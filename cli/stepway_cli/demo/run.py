"""`stepway demo`: a fresh platform, the whole journey, and an exit code that tells whether every promise held."""

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stepway_chassis.broker import Stored
from stepway_cli import trace
from stepway_cli.bring_up import bring_up
from stepway_cli.caller import tracing
from stepway_cli.demo import doubles, journey, programme, programme_promises, promises, story, weighing, work
from stepway_cli.demo.inputs import Inputs, inputs, one_open_one_closed
from stepway_cli.demo.journey import Told
from stepway_cli.demo.network import Network, NeverHappened
from stepway_cli.demo.promises import Promise
from stepway_cli.demo.trials import tried
from stepway_cli.demo.work import Flags, Queues
from stepway_cli.findings import Refused
from stepway_cli.local.folder import RunFolder
from stepway_cli.local.platform import Platform
from stepway_cli.place import folder_of
from stepway_cli.services import SERVICES
from stepway_cli.sites import SiteRecord

MARK = "made-by-demo"
OFTEN = {"STEPWAY_SEAL_SECONDS": "2"}  # nobody should have to watch a demo wait
FLAGS = "SELECT site, id FROM risk_flag WHERE urgency = 'page'"
MESSAGES = "SELECT site, template, channel, status, body, release_at FROM message ORDER BY site, id"


class Failed(Exception):
    """The demo could not be run, or a promise did not hold."""


@dataclass(frozen=True)
class Outcome:
    """What the run has left behind."""

    refused: Sequence[Refused]
    stream: Sequence[Stored]
    messages: Sequence[Mapping[str, Any]]
    waiting: Queues
    flags: Flags
    promises: Sequence[Promise]


def run_demo(
    run: str, referrals: Path | None, answers: Path | None, records: Sequence[SiteRecord], out: Console
) -> None:
    """Raises Failed."""
    folder = folder_of(run)
    if len(records) != 2:
        raise Failed("the demo needs exactly two sites")
    now = datetime.now(UTC)
    given = inputs(referrals, answers, [record.site for record in records], now)
    open_and_closed = one_open_one_closed(records, now)
    platform = Platform(
        _fresh(folder),
        overrides=dict.fromkeys(SERVICES, OFTEN),
        say=lambda step: out.print(f"  {step}", style="dim"),
    )
    try:
        bring_up(platform, open_and_closed)
        outcome = asyncio.run(_run(platform, given, open_and_closed, out))
    except NeverHappened as nothing:
        raise Failed(f"{nothing}; see {folder}/logs") from None
    finally:
        platform.stop()
    _tell(out, folder, given, open_and_closed, outcome)
    if any(promise.kept is False for promise in outcome.promises):
        raise Failed(f"a promise did not hold; logs and traces are in {folder}")
    untried = sum(promise.kept is None for promise in outcome.promises)
    out.print(
        f"[bold yellow]No promise was broken; {untried} untried." if untried else "[bold green]Every promise held."
    )


def _fresh(folder: Path) -> Path:
    """Each demo begins with nothing; Failed where something else was run, FolderInUse while another demo runs."""
    mark = folder / MARK
    if folder.exists() and not mark.exists():
        raise Failed(f"{folder} holds a run that is no demo; choose another name")
    with RunFolder(folder):
        shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        mark.touch()
    return folder


async def _run(platform: Platform, given: Inputs, records: Sequence[SiteRecord], out: Console) -> Outcome:
    async with tracing(platform.folder.path) as telemetry:
        network = Network(platform, telemetry)
        try:
            return await _journey(network, given, records, out)
        finally:
            await network.close()


async def _journey(network: Network, given: Inputs, records: Sequence[SiteRecord], out: Console) -> Outcome:
    people = given.participants
    with _progress(out) as progress:
        sent = await journey.receive(network, people, _bar(progress, "referrals received", len(people)))
        forms = sum(len(each.answers.answers) for each in people if each.answers)
        recorded, refused = await journey.record(network, people, sent, _bar(progress, "answers scored", forms))
        flags = await network.rows("intake", FLAGS)
        left = await _answer_pages(network, records, flags, _bar(progress, "pages taken", len(flags)))
        screened = len({each.answer.assessment.referral_id for each in recorded})
        decided = _bar(progress, "levels of care decided", screened)
        calm = weighing.somebody(sent, recorded)
        weighed = await weighing.weigh(network, *calm) if calm else None
        suggested = weighing.suggested(weighed)
        begun = await programme.begin(network, records, sent, recorded, suggested, decided)
        at_risk = next((each.referral for each in sent if each.referral and each.site == records[0].site), None)
        trials = await tried(network, records, begun, at_risk)
        known = doubles.somebody(begun, sent)
        doubled = await doubles.ring_again(network, *known) if known else None
        await journey.quiet(network)
    stream = await network.stream()
    checked = await promises.check(network, given, records, sent, recorded, len(refused))
    waiting = await work.queues(network, records)  # which is audited, and its seal is one more event
    open_flags = await work.flags(network, records)
    return Outcome(
        refused=[*(each.refused for each in sent if each.refused), *refused],
        stream=stream,
        messages=await network.rows("notifications", MESSAGES),
        waiting=waiting,
        flags=open_flags,
        promises=[
            *checked,
            weighing.check(weighed),
            await doubles.check(network, doubled),
            await work.check(network, waiting),
            *await programme_promises.check(network, records, begun, trials, left),
        ],
    )


async def _answer_pages(
    network: Network, records: Sequence[SiteRecord], flags: Sequence[Mapping[str, Any]], told: Told
) -> dict[str, str]:
    """The first on call takes every page of a site but one, which is left to the next on the ladder, if there is one.

    The flags that were left, and where.
    """
    left: dict[str, str] = {}
    for record in records:
        first, *others = (each["clinician"] for each in record.settings["on_call"])
        here = [flag["id"] for flag in flags if flag["site"] == record.site]
        passed_on = here[:1] if others else []
        left |= dict.fromkeys(passed_on, record.site)
        await journey.take_pages(network, record.site, first, set(here) - set(passed_on), told)
        for second in others[:1]:
            await journey.take_pages(network, record.site, second, set(passed_on), told)
    return left


def _tell(out: Console, folder: Path, given: Inputs, records: Sequence[SiteRecord], outcome: Outcome) -> None:
    story.tell_inputs(out, given, outcome.refused)
    story.tell_events(out, outcome.stream, records)
    story.tell_texts(out, outcome.messages, records)
    story.tell_work(out, outcome.waiting, outcome.flags, records, datetime.now(UTC))
    spans = trace.load(folder)
    for wanted in story.fullest_trace(spans):
        story.tell_trace(out, spans, wanted, folder.name)
    story.tell_promises(out, outcome.promises)


def _progress(out: Console) -> Progress:
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=out)


def _bar(progress: Progress, description: str, total: int) -> Callable[[], None]:
    task = progress.add_task(description, total=total)
    return lambda: progress.advance(task)
