"""Generates the Python package `stepway` and the image that buf reads, from the .proto files beside this file."""

import shutil
import sys
from importlib.resources import files
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

HERE = Path(__file__).parent
VALIDATE = "buf/validate/validate.proto"


def main() -> int:
    out = HERE / "gen"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    rules = out / "validate.binpb"
    rules.write_bytes(validation_rules().SerializeToString())
    protos = sorted(str(path.relative_to(HERE)) for path in (HERE / "stepway").rglob("*.proto"))
    services = [name for name in protos if name.endswith("_service.proto")]
    image = f"--descriptor_set_out={out / 'image.binpb'}"
    code = (
        run(rules, [f"--python_out={out}", f"--pyi_out={out}", *protos, VALIDATE])
        or run(rules, [f"--grpc_python_out={out}", *services])
        or run(rules, [image, "--include_imports", "--include_source_info", *protos])
    )
    rules.unlink()
    return code


def run(rules: Path, arguments: list[str]) -> int:
    well_known = files("grpc_tools") / "_proto"
    return int(
        protoc.main(
            ["protoc", f"--proto_path={HERE}", f"--proto_path={well_known}", f"--descriptor_set_in={rules}", *arguments]
        )
    )


def validation_rules() -> descriptor_pb2.FileDescriptorSet:
    """The rules' own .proto as a descriptor: the protovalidate wheel carries no source."""
    rules = descriptor_pb2.FileDescriptorProto.FromString(validate_pb._DESC.proto.to_binary())
    wanted = descriptor_pb2.FileDescriptorSet()
    for name in rules.dependency:
        module = __import__(name.removesuffix(".proto").replace("/", ".") + "_pb2", fromlist=["DESCRIPTOR"])
        module.DESCRIPTOR.CopyToProto(wanted.file.add())
    wanted.file.append(rules)
    return wanted


if __name__ == "__main__":
    sys.exit(main())
