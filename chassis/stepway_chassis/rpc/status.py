"""Refusals as google.rpc.Status, and back again: the only place that knows both."""

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from stepway_chassis import errors

DOMAIN = "stepway"

CODES: dict[type[errors.Refusal], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Denied: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}
_DEFECTS = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DATA_LOSS,
}
_REFUSALS = {code: refusal for refusal, code in CODES.items()}


def code_of(refusal: errors.Refusal) -> grpc.StatusCode:
    return next(code for kind, code in CODES.items() if isinstance(refusal, kind))


def to_status(refusal: errors.Refusal) -> grpc.Status:
    """AIP-193: ErrorInfo with the reason, and BadRequest or PreconditionFailure where they fit."""
    code = code_of(refusal)
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=refusal.metadata)
    details = [info, *_particulars(refusal)]
    status = status_pb2.Status(code=code.value[0], message=refusal.message)
    for detail in details:
        status.details.append(_packed(detail))
    return rpc_status.to_status(status)


def _particulars(refusal: errors.Refusal) -> list[error_details_pb2.BadRequest | error_details_pb2.PreconditionFailure]:
    if isinstance(refusal, errors.InvalidInput):
        violation = error_details_pb2.BadRequest.FieldViolation(field=refusal.field, description=refusal.message)
        return [error_details_pb2.BadRequest(field_violations=[violation])]
    if isinstance(refusal, errors.Conflict):
        failed = error_details_pb2.PreconditionFailure.Violation(type=refusal.reason, description=refusal.message)
        return [error_details_pb2.PreconditionFailure(violations=[failed])]
    return []


def _packed(detail: error_details_pb2.ErrorInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def internal(trace_id: str) -> grpc.Status:
    """What a caller hears of a defect: that there is one, by which trace it can be found, and nothing else."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"trace_id": trace_id})
    message = "Stepway has a defect here; the operators can find it by its trace_id."
    return rpc_status.to_status(status_pb2.Status(code=code_pb2.INTERNAL, message=message, details=[_packed(info)]))


def from_error(error: grpc.RpcError) -> errors.Refusal | errors.PeerFailed:
    """The refusal behind a failed call; a defect of the other side is PeerFailed."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    code = error.code()
    if code in _DEFECTS:
        return errors.PeerFailed(code.name)
    reason, field, metadata = code.name, "", {}
    for detail in status.details if status else ():
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(request) and request.field_violations:
            field = request.field_violations[0].field
    return _REFUSALS.get(code, errors.Unavailable)(reason, error.details() or code.name, field=field, metadata=metadata)
