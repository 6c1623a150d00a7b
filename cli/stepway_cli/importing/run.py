"""One import from its files to its account: read, send with a progress bar, stop well when told to."""

import asyncio
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stepway.intake.v1.assessment_pb2 import Instrument
from stepway_cli.answers import read_answers
from stepway_cli.caller import calling
from stepway_cli.fhir.answered import with_answers
from stepway_cli.fhir.files import Wanted, referral_kinds
from stepway_cli.fhir.referrals import Reading
from stepway_cli.findings import Note, Place, Refused
from stepway_cli.importing.account import Account
from stepway_cli.importing.documents import documents, whole
from stepway_cli.importing.entries import Entry, of_fhir, of_rows
from stepway_cli.importing.patience import Desks
from stepway_cli.importing.sending import CLINICIAN, FRONT_DESK, Sending
from stepway_cli.place import Place as Where
from stepway_cli.times import Times

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Plan:
    """What is to be imported, where to, and how; an instrument that is not in `versions` is in the site's version."""

    site: str
    times: Times
    source: str = ""
    versions: Mapping[Instrument, str] = field(default_factory=dict)
    dry_run: bool = False
    with_answers: bool = True


def import_fhir(plan: Plan, paths: Iterable[Path], where: Where) -> Account:
    """Raises Unreadable."""
    wanted: Wanted = with_answers if plan.with_answers else referral_kinds
    today = plan.times.now.date()
    reading = Reading(documents(paths), today=today, wanted=wanted, times=plan.times)
    entries = (of_fhir(plan.site, plan.source, ready) for ready in reading.ready())
    account = _sent(plan, entries, len(reading.patients), where)
    account.read = reading.read
    account.add(reading.refused, reading.notes)
    return account


def import_rows(plan: Plan, paths: Iterable[Path], where: Where) -> Account:
    """Raises Unreadable."""
    entries: list[Entry | Refused] = []
    notes: list[Note] = []
    for path in paths:
        content = whole(path)
        read = read_answers(content)
        entries += of_rows(plan.site, path.name, content, read, plan.times)
        if read.ignored_columns:
            message = f"columns left out: {', '.join(read.ignored_columns)}"
            notes.append(Note(path.name, message, place=Place(path.name)))
    account = _sent(plan, entries, len(entries), where)
    account.read = len(entries)
    account.add([], notes)
    return account


def _sent(plan: Plan, entries: Iterable[Entry | Refused], total: int, where: Where) -> Account:
    account = Account(plan.site, plan.dry_run)

    async def send() -> None:
        async with calling(where, plan.site, FRONT_DESK, CLINICIAN) as peers:
            desks = Desks(peers, plan.site)
            with _bar("would be taken" if plan.dry_run else "taken", total) as done, _stopping(desks):
                await Sending(desks, account, done).all(_versioned(entries, plan.versions))

    if total:
        asyncio.run(send())
    return account


def _versioned(entries: Iterable[Entry | Refused], versions: Mapping[Instrument, str]) -> Iterator[Entry | Refused]:
    for entry in entries:
        for form in entry.forms if isinstance(entry, Entry) else ():
            form.request.version = versions.get(form.request.instrument, "")
        yield entry


@contextmanager
def _stopping(desks: Desks) -> Iterator[None]:
    """The first Ctrl-C lets what is under way come to its end; a second one is as elsewhere."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        desks.stop(INTERRUPTED)

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def _bar(description: str, total: int) -> Iterator[Callable[[], None]]:
    """On the terminal where errors go; none where there is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda: progress.advance(task)
