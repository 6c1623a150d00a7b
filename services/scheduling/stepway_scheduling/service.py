"""The gRPC services of scheduling: parse, load, decide, save and announce."""

from uuid import UUID

from stepway.scheduling.v1.enrollment_service_pb2 import (
    EndEnrollmentRequest,
    EndEnrollmentResponse,
    GetEnrollmentRequest,
    GetEnrollmentResponse,
    ListEnrollmentsRequest,
    ListEnrollmentsResponse,
)
from stepway.scheduling.v1.track_service_pb2 import (
    CreateTrackRequest,
    CreateTrackResponse,
    ListTracksRequest,
    ListTracksResponse,
)
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import page_of
from stepway_chassis.transaction import Tx
from stepway_scheduling import seating, store, wire


class TrackService:
    SERVICE = "stepway.scheduling.v1.TrackService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def CreateTrack(self, request: CreateTrackRequest, _: object) -> CreateTrackResponse:
        return await self._database.command(request, CreateTrackResponse, self._create)

    async def _create(self, tx: Tx, request: CreateTrackRequest) -> CreateTrackResponse:
        tx.concerns()
        track = wire.new_track(request, id=uuid7(tx.now))
        await store.hold_line(tx)
        await store.add_track(tx, track)
        await seating.fill(tx, track.daypart)
        return CreateTrackResponse(track=wire.track(await store.find_track(tx, track.id)))

    async def ListTracks(self, request: ListTracksRequest, _: object) -> ListTracksResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListTracksRequest) -> ListTracksResponse:
        tx.concerns()
        page = page_of(request)
        tracks, token = page.cut(await store.tracks(tx, page))
        return ListTracksResponse(tracks=[wire.track(each) for each in tracks], next_page_token=token)


class EnrollmentService:
    SERVICE = "stepway.scheduling.v1.EnrollmentService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetEnrollment(self, request: GetEnrollmentRequest, _: object) -> GetEnrollmentResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetEnrollmentRequest) -> GetEnrollmentResponse:
        enrollment = await store.find_enrollment(tx, UUID(request.enrollment_id))
        tx.concerns(enrollment.patient_id)
        return GetEnrollmentResponse(enrollment=wire.enrollment(enrollment))

    async def ListEnrollments(self, request: ListEnrollmentsRequest, _: object) -> ListEnrollmentsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListEnrollmentsRequest) -> ListEnrollmentsResponse:
        page = page_of(request)
        enrollments, token = page.cut(await store.enrollments(tx, page, wire.status(request.status)))
        tx.concerns(*(each.patient_id for each in enrollments))
        return ListEnrollmentsResponse(
            enrollments=[wire.enrollment(each) for each in enrollments], next_page_token=token
        )

    async def EndEnrollment(self, request: EndEnrollmentRequest, _: object) -> EndEnrollmentResponse:
        return await self._database.command(request, EndEnrollmentResponse, self._end)

    async def _end(self, tx: Tx, request: EndEnrollmentRequest) -> EndEnrollmentResponse:
        await store.hold_line(tx)
        enrollment, tx.correlation = await store.lock_enrollment(tx, UUID(request.enrollment_id))
        tx.concerns(enrollment.patient_id)
        return EndEnrollmentResponse(enrollment=wire.enrollment(await seating.end(tx, enrollment)))
