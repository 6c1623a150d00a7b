"""Sends what an import has read, a few at a time, and says what became of each."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping

from stepway.intake.v1.assessment_service_pb2 import RecordAssessmentRequest, RecordAssessmentResponse
from stepway.intake.v1.import_service_pb2 import FindImportedRequest, Imported
from stepway.intake.v1.referral_service_pb2 import ReceiveReferralRequest
from stepway_chassis.errors import PeerFailed, Refusal
from stepway_cli.findings import Note, Place, Refused
from stepway_cli.importing.account import Account, Taken
from stepway_cli.importing.entries import Entry, Form
from stepway_cli.importing.identity import request_id
from stepway_cli.importing.patience import Desks, Stopped

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
RECORD = "stepway.intake.v1.AssessmentService/RecordAssessment"
FIND = "stepway.intake.v1.ImportService/FindImported"
IN_FLIGHT = 8
ASKED_AT_ONCE = 50  # import_ids; intake answers for 500
READ_AHEAD = 4 * IN_FLIGHT  # entries that wait while the next are asked about
CHANGED = "it has changed since it was taken in, and is here as it was: see to it by hand"
FRONT_DESK, CLINICIAN = "front_desk", "clinician"

Known = Mapping[str, Imported]
Told = Callable[[], None]


class Sending:
    """One import under way. Entries are made as they are needed: few are in memory at a time."""

    def __init__(self, desks: Desks, account: Account, done: Told = lambda: None) -> None:
        self._desks = desks
        self._account = account
        self._done = done
        self._queue: asyncio.Queue[tuple[Entry, Known] | None] = asyncio.Queue(maxsize=READ_AHEAD)

    async def all(self, entries: Iterable[Entry | Refused]) -> None:
        """`account.stopped` tells afterwards whether it came to its end."""
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(self._work())
            await self._fill(iter(entries))
            for _ in range(IN_FLIGHT):
                await self._queue.put(None)
        self._account.stopped = self._desks.stopped
        self._account.taken.sort(key=lambda each: (each.place.file, each.place.index or 0))

    async def _fill(self, entries: Iterator[Entry | Refused]) -> None:
        while not self._desks.stopped and (batch := self._batch(entries)):
            try:
                known = await self._known(batch)
            except Stopped:
                return
            except (Refusal, PeerFailed) as problem:  # nobody can say what is new
                self._desks.stop(str(problem))
                return
            for entry in batch:
                await self._queue.put((entry, known))

    def _batch(self, entries: Iterator[Entry | Refused]) -> list[Entry]:
        batch: list[Entry] = []
        asked = 0
        for entry in entries:
            if isinstance(entry, Refused):
                self._account.refused.append(entry)
                self._done()
                continue
            batch.append(entry)
            asked += len(entry.import_ids)
            if asked >= ASKED_AT_ONCE:
                break
        return batch

    async def _known(self, batch: list[Entry]) -> Known:
        """What came before, by import_id; several questions where one person has very many answers."""
        ids = [import_id for entry in batch for import_id in entry.import_ids]
        found: list[Imported] = []
        for first in range(0, len(ids), ASKED_AT_ONCE):
            request = FindImportedRequest(import_ids=ids[first : first + ASKED_AT_ONCE])
            found += (await self._desks.call(FRONT_DESK, FIND, request)).imported
        return {each.import_id: each for each in found}

    async def _work(self) -> None:
        while got := await self._queue.get():
            if not self._desks.stopped:
                await self._one(*got)

    async def _one(self, entry: Entry, known: Known) -> None:
        try:
            referral_id = await self._referral(entry, known)
            made = [await self._form(form, referral_id, known) for form in entry.forms]
        except Stopped:
            return
        except _Lost as lost:
            self._account.refused += lost.refused(entry)
        else:
            ids = tuple(filter(None, made))
            self._account.taken.append(Taken(entry.name, self._account.site, referral_id, ids, entry.place))
        self._done()

    async def _referral(self, entry: Entry, known: Known) -> str:
        """Its id, which is empty in a dry run when it would be new. Raises _Lost."""
        if entry.referral is None:
            return entry.referral_id
        if before := known.get(entry.referral.import_id):
            self._account.referrals.known += 1
            self._compare(before, entry.referral.import_content, entry)
            return before.referral_id
        received = ""
        if not self._account.dry_run:
            request = ReceiveReferralRequest()
            request.CopyFrom(entry.referral)
            request.request_id = str(request_id(self._account.site, request))
            try:
                received = (await self._desks.call(FRONT_DESK, RECEIVE, request)).referral.id
            except (Refusal, PeerFailed) as refusal:
                raise _Lost(refusal) from None
        self._account.referrals.new += 1
        return received

    async def _form(self, form: Form, referral_id: str, known: Known) -> str:
        """The id of the assessment; empty when it was refused, or in a dry run would be new."""
        if before := known.get(form.request.import_id):
            self._account.assessments.known += 1
            self._compare(before, form.request.import_content, form)
            return before.assessment_id
        answer = None
        if not self._account.dry_run:
            answer = await self._recorded(form, referral_id)
            if answer is None:
                return ""
        self._account.assessments.new += 1
        return answer.assessment.id if answer else ""

    def _compare(self, before: Imported, content: str, came: Entry | Form) -> None:
        """A record that came before stays as it is here, so somebody has to hear that it has changed there."""
        if before.import_content not in ("", content):
            self._account.notes.append(Note(came.name, CHANGED, place=came.place))

    async def _recorded(self, form: Form, referral_id: str) -> RecordAssessmentResponse | None:
        request = RecordAssessmentRequest()
        request.CopyFrom(form.request)
        request.referral_id = referral_id
        request.request_id = str(request_id(self._account.site, request))
        try:
            answer: RecordAssessmentResponse = await self._desks.call(CLINICIAN, RECORD, request)
        except (Refusal, PeerFailed) as refusal:
            self._account.refused.append(_refused(refusal, form.name, form.place))
            return None
        if form.stated_total is not None and _total(answer) != form.stated_total:
            message = "the total that it states is not what its answers add up to here"
            self._account.notes.append(Note(form.name, message, place=form.place))
        return answer


class _Lost(Exception):
    """A referral was refused, and with it whatever belongs to it."""

    def __init__(self, refusal: Refusal | PeerFailed) -> None:
        super().__init__(refusal)
        self._refusal = refusal

    def refused(self, entry: Entry) -> list[Refused]:
        first = _refused(self._refusal, entry.name, entry.place)
        others = {form.name: form.place for form in entry.forms if form.place != entry.place}
        message = "its patient was refused by intake"
        return [first, *(Refused(name, "SUBJECT_REFUSED", message, place) for name, place in others.items())]


def _refused(refusal: Refusal | PeerFailed, name: str, place: Place) -> Refused:
    if isinstance(refusal, PeerFailed):
        return Refused(name, "INTERNAL", "a defect of the service; its log has the place", place)
    field = f"{refusal.field}: " if refusal.field else ""
    return Refused(name, refusal.reason, f"{field}{refusal.message}", place)


def _total(answer: RecordAssessmentResponse) -> int | None:
    score = answer.assessment.score
    return score.total if score.HasField("total") else None
