"""Generates the Python package `stepway` and the image that buf reads, from the .proto files beside this file."""

import shutil
import sys
import tempfile
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
    protos = protos_in(HERE)
    services = [name for name in protos if name.endswith("_service.proto")]
    return (
        run(HERE, [f"--python_out={out}", f"--pyi_out={out}", *protos, VALIDATE])
        or run(HERE, [f"--grpc_python_out={out}", *services])
        or build_image(HERE, out / "image.binpb")
    )


def build_image(folder: Path, image: Path) -> int:
    """What buf reads of the contracts in `folder`: all of them, what they import, and their comments."""
    complete = ["--include_imports", "--include_source_info"]
    return run(folder, [f"--descriptor_set_out={image}", *complete, *protos_in(folder)])


def protos_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in (folder / "stepway").rglob("*.proto"))


def run(folder: Path, arguments: list[str]) -> int:
    well_known = files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as temporary:
        rules = Path(temporary, "validate.binpb")
        rules.write_bytes(validation_rules().SerializeToString())
        paths = [f"--proto_path={folder}", f"--proto_path={well_known}", f"--descriptor_set_in={rules}"]
        return int(protoc.main(["protoc", *paths, *arguments]))


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
