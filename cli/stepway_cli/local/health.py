"""Whether something answers: a port here, or a service that says SERVING. `-m … PORT` asks as a probe does."""

import socket
import sys

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def is_serving(port: int) -> bool:
    return accepts(port) and serves(f"127.0.0.1:{port}")


def serves(address: str) -> bool:
    """The overall health ("") of the gRPC server at "host:port"."""
    with grpc.insecure_channel(address, options=_OPTIONS) as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
    return bool(answer.status == HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(not is_serving(int(sys.argv[1])))
