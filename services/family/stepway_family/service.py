"""The gRPC services of family: parse, load, ask for consent where a person is read about, and answer."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeVar
from uuid import UUID

from stepway.family.v1.family_group_service_pb2 import (
    ListFamilyGroupsRequest,
    ListFamilyGroupsResponse,
    PlanFamilyGroupRequest,
    PlanFamilyGroupResponse,
)
from stepway.family.v1.invitation_service_pb2 import (
    GetInvitationRequest,
    GetInvitationResponse,
    ListInvitationsRequest,
    ListInvitationsResponse,
)
from stepway_chassis import loops
from stepway_chassis.call import current
from stepway_chassis.database import Database
from stepway_chassis.errors import Refusal, Unavailable
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import page_of
from stepway_chassis.rpc.client import Peers
from stepway_chassis.transaction import Tx
from stepway_family import consents, domain, store, wire
from stepway_family.consents import Answers
from stepway_family.domain import Invitation
from stepway_family.inviting import LOOP

Answer = TypeVar("Answer", GetInvitationResponse, ListInvitationsResponse)


class FamilyGroupService:
    SERVICE = "stepway.family.v1.FamilyGroupService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def PlanFamilyGroup(self, request: PlanFamilyGroupRequest, _: object) -> PlanFamilyGroupResponse:
        return await self._database.command(request, PlanFamilyGroupResponse, self._plan)

    async def _plan(self, tx: Tx, request: PlanFamilyGroupRequest) -> PlanFamilyGroupResponse:
        tx.concerns()
        group = domain.plan(wire.new_group(request, id=uuid7(tx.now)), now=tx.now)
        await store.add_group(tx, group)
        await loops.wake(tx, LOOP, tx.now)
        return PlanFamilyGroupResponse(family_group=wire.family_group(group))

    async def ListFamilyGroups(self, request: ListFamilyGroupsRequest, _: object) -> ListFamilyGroupsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListFamilyGroupsRequest) -> ListFamilyGroupsResponse:
        tx.concerns()
        page = page_of(request)
        groups, token = page.cut(await store.groups(tx, page))
        return ListFamilyGroupsResponse(
            family_groups=[wire.family_group(each) for each in groups], next_page_token=token
        )


class InvitationService:
    """Nothing is answered that no consent covers at this moment, and nothing once the yes has lapsed."""

    SERVICE = "stepway.family.v1.InvitationService"

    def __init__(self, database: Database, peers: Peers) -> None:
        self._database = database
        self._peers = peers

    async def GetInvitation(self, request: GetInvitationRequest, _: object) -> GetInvitationResponse:
        async with self._looking() as tx:
            found = await store.find_invitation(tx, UUID(request.invitation_id))
        answers = await self._asked([found])
        return _in_time(answers, await self._database.query(request, partial(self._get, found, answers)))

    async def _get(self, found: Invitation, answers: Answers, tx: Tx, _: GetInvitationRequest) -> GetInvitationResponse:
        """Audited is what consent has been asked for: shown, or refused."""
        tx.concerns(found.patient_id, held_by=str(found.family_member_id))
        if not all(answers.granted):
            raise store.no_invitation()
        return _in_time(answers, GetInvitationResponse(invitation=wire.invitation(found)))

    async def ListInvitations(self, request: ListInvitationsRequest, _: object) -> ListInvitationsResponse:
        page = page_of(request)
        async with self._looking() as tx:
            found, token = page.cut(await store.invitations(tx, page))
        answers = await self._asked(found)
        covered = [each for each, granted in zip(found, answers.granted, strict=True) if granted]
        return _in_time(answers, await self._database.query(request, partial(self._list, covered, token, answers)))

    async def _list(
        self, covered: Sequence[Invitation], token: str, answers: Answers, tx: Tx, _: ListInvitationsRequest
    ) -> ListInvitationsResponse:
        tx.concerns()
        for each in covered:
            tx.concerns(each.patient_id, held_by=str(each.family_member_id))
        shown = [wire.invitation(each) for each in covered]
        return _in_time(answers, ListInvitationsResponse(invitations=shown, next_page_token=token))

    def _looking(self) -> AbstractAsyncContextManager[Tx]:
        """To find what consent has to be asked for; nothing of it is told, and so nothing is audited."""
        call = current.get()
        return self._database.transaction(call.site, call.rpc, call=call)

    async def _asked(self, invitations: Iterable[Invitation]) -> Answers:
        """Raises Unavailable (CONSENT_UNCONFIRMED): no answer in time is a no, for everything."""
        pairs = [(each.patient_id, each.family_member_id) for each in invitations]
        try:
            return await consents.may_know_schedule(self._peers, pairs, site=current.get().site)
        except Refusal as refusal:
            raise _unconfirmed() from refusal


def _in_time(answers: Answers, answer: Answer) -> Answer:
    if answers.lapsed:
        raise _unconfirmed()
    return answer


def _unconfirmed() -> Unavailable:
    return Unavailable("CONSENT_UNCONFIRMED", "Whether a consent covers this cannot be confirmed now; ask again.")
