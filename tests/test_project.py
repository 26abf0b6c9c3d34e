"""Facts that are stated in two places agree."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections import defaultdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import readme
from benchmarks.page import with_table
from cifar10net.errors import ImageErrorCode
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.protocol import IMAGE_BYTES, LARGEST_TOP_K, MAX_CALL_IMAGES, MAX_MESSAGE_BYTES
from service.config import ImageLimits
from service.servicers.inference.requests import MOST_CONTENTS_IMAGES

if TYPE_CHECKING:
    from pathlib import Path


PACKAGES = ("cifar10net", "service", "training")
NAMES_FOUND_TWICE = {
    "__init__": "every package has one",
    "classify": "the verb of the command line, and the path of the HTTP API",
}
"""Names of modules that may be used twice within a package, and why."""


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


def test_the_proto_states_the_limits_of_the_config(root: Path) -> None:
    text = (root / "proto/cifar10net/v1/classifier.proto").read_text()

    assert f"a message is at most {MAX_MESSAGE_BYTES >> 20} MiB" in text
    assert f"a call carries 1 to {MAX_CALL_IMAGES:,} images" in text
    limits = ImageLimits()
    assert f"{limits.max_bytes >> 20} MiB and {limits.max_pixels // 10**6} megapixels" in text
    assert f"exactly {IMAGE_BYTES:,} bytes an image" in text
    assert f"1 to {LARGEST_TOP_K}, and never more" in text


def test_the_inference_proto_states_the_limits_of_the_code(root: Path) -> None:
    text = (root / "proto/inference/inference.proto").read_text()

    assert f"a message is at most {MAX_MESSAGE_BYTES >> 20} MiB" in text
    assert f"a call carries 1 to {MAX_CALL_IMAGES:,} images" in text
    assert f"n from 1 to {MAX_CALL_IMAGES:,}." in text
    assert f"at most {MOST_CONTENTS_IMAGES} images." in text
    assert f"n * {IMAGE_BYTES:,} bytes" in text


def test_error_codes_are_the_protos() -> None:
    ours = {f"CODE_{code.name}": code.value for code in ImageErrorCode if code.value >= 0}

    assert ours == dict(pb.ImageError.Code.items())


def test_the_version_stands_in_pyproject_alone(root: Path, project: dict[str, Any]) -> None:
    number = project["project"]["version"]

    assert version("cifar10net") == number
    for path in (path for name in PACKAGES for path in (root / name).rglob("*.py")):
        assert f'"{number}"' not in path.read_text(), path


def test_serving_needs_no_training_packages(project: dict[str, Any]) -> None:
    base = " ".join(project["project"]["dependencies"])
    extras = project["project"]["optional-dependencies"]

    assert not re.search(r"torch|onnx", base + " ".join(extras["server"]))
    assert "numpy" not in base  # nor anything else that asking can do without: see decision 22
    floors = {
        "cpu": "onnxruntime>=1.30",
        "gpu": "onnxruntime-gpu>=1.30",
        "openvino": "onnxruntime-openvino>=1.23",
    }
    for name, runtime in floors.items():
        assert extras[name] == ["cifar10net[server]", runtime]
    assert {entry["extra"] for entry in project["tool"]["uv"]["conflicts"][0]} == {"cpu", "gpu", "openvino"}


def test_every_direct_dependency_is_pinned(root: Path, project: dict[str, Any]) -> None:
    pins = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)$", (root / "constraints.txt").read_text()))
    extras = project["project"]["optional-dependencies"]
    groups = [
        line for group in project["dependency-groups"].values() for line in group if isinstance(line, str)
    ]
    chosen = [line for name in ("server", "cpu", "otel", "batch", "train") for line in extras[name]]
    direct = [*project["project"]["dependencies"], *chosen, *groups]

    names = {re.split(r"[<>=; ]", line)[0].lower() for line in direct} - {"cifar10net[server]"}
    assert names <= {name.lower() for name in pins}
    assert {name: version(name) for name in ("grpcio", "numpy", "onnxruntime", "torch")}.items() <= {
        **pins, "torch": version("torch"),
    }.items()  # fmt: skip


def test_the_figures_of_serving_are_the_measured_ones(root: Path) -> None:
    results, fronts = (
        json.loads((root / "benchmarks/results" / name).read_text())
        for name in ("serving.json", "fronts.json")
    )
    page, short = ((root / name).read_text() for name in ("docs/performance.md", "README.md"))

    what_to_do = "run: python -m benchmarks.readme"
    assert with_table(page, "bench", readme.table(results)) == page, what_to_do
    assert with_table(short, "bench", readme.short_table(results, fronts)) == short, what_to_do
    assert all(key in results["figures"] for key in readme.TITLES)


def test_sample_photographs_have_sources(root: Path) -> None:
    folder = root / "examples" / "images"
    told = set(re.findall(r"(?m)^\| `([^`]+)` \|", (folder / "SOURCES.md").read_text()))

    assert told == {path.name for path in folder.iterdir()} - {"SOURCES.md"}


def test_every_test_module_is_found_by_its_name(root: Path) -> None:
    """A module that pytest does not collect would be silent for ever."""
    for path in (root / "tests").rglob("*.py"):
        has_tests = re.search(r"^(async )?def test_|^class .*StateMachine", path.read_text(), re.MULTILINE)
        assert path.name.startswith(("test_", "conftest")) or not has_tests, path


@pytest.mark.parametrize("package", ["service", "training"])
def test_no_name_of_a_module_is_used_twice(root: Path, package: str) -> None:
    found = defaultdict(list)
    for path in sorted((root / package).rglob("*.py")):
        found[path.stem].append(str(path.relative_to(root)))

    twice = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert {name: paths for name, paths in twice.items() if name not in NAMES_FOUND_TWICE} == {}


@pytest.mark.parametrize("package", ["service", "training"])
def test_no_name_of_a_class_is_used_twice(root: Path, package: str) -> None:
    found = defaultdict(list)
    for path in sorted((root / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path.relative_to(root)}:{node.lineno}")

    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_int8_is_as_fast_as_the_decision_says(root: Path) -> None:
    results = json.loads((root / "benchmarks/results/int8.json").read_text())

    goal = results["goal"]
    figures = results["figures"][goal["of"]][str(goal["batch"])]
    assert figures["times_float32_on_cpu"][1] >= goal["at_least"]
