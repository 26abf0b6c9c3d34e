"""The committed stubs are generated from the .proto files, and the runtime floors fit them."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def generator(root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("generate", root / "proto" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stubs_are_fresh(root: Path, tmp_path: Path, generator: Any) -> None:
    generator.generate(tmp_path)

    made = {path.name: path.read_bytes() for path in (tmp_path / "cifar10net" / "pb").iterdir()}
    kept = {
        path.name: path.read_bytes() for path in (root / "cifar10net" / "pb").glob("*_pb2*") if path.is_file()
    }
    assert kept == made, "run make proto"


def test_every_proto_is_generated(root: Path, generator: Any) -> None:
    listed = {root / folder / name for folder, names in generator.SOURCES.items() for name in names}

    assert set((root / "proto").rglob("*.proto")) == listed


def test_everything_in_the_protos_is_documented(root: Path, tmp_path: Path) -> None:
    sources = sorted((root / "proto").rglob("*.proto"))
    out = tmp_path / "descriptors"
    folders = [f"-I{folder}" for folder in {path.parent for path in sources}]
    assert protoc.main(["", *folders, "--include_source_info", f"-o{out}", *map(str, sources)]) == 0

    undocumented = []
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        for location in file.source_code_info.location:
            item: Any = file
            for step in location.path:
                item = _field(item, step) if hasattr(item, "DESCRIPTOR") else item[step]
            if hasattr(item, "name") and item is not file and not location.leading_comments:
                undocumented.append(item.name)
    assert undocumented == ["data", "outcome"]  # the names of the oneofs alone


def _field(message: Any, number: int) -> Any:
    return getattr(message, message.DESCRIPTOR.fields_by_number[number].name)


def test_the_runtime_floors_fit_the_generator(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    floors = dict(re.findall(r"([\w-]+)>=([\d.]+)", " ".join(project["dependencies"])))
    header = (root / "cifar10net" / "pb" / "classifier_pb2.py").read_text()
    grpc_header = (root / "cifar10net" / "pb" / "classifier_pb2_grpc.py").read_text()

    assert f"Protobuf Python Version: {floors['protobuf']}" in header
    assert f"GRPC_GENERATED_VERSION = '{floors['grpcio']}'" in grpc_header
