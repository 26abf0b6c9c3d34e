"""The content of the images, and a server in one: unprivileged, without writing, within its limits."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from deploy.images import layers
from tests.containers.asking import PHOTOGRAPHS, until
from tests.containers.conftest import HARDENED, SERVER_IMAGE, serves
from tests.containers.engine import ROOT
from tests.containers.pressing import press

if TYPE_CHECKING:
    from pathlib import Path

    from tests.containers.conftest import Start
    from tests.containers.engine import Engine

CLIENT_IMAGE = "cifar10net-client:latest"
IMAGES = (SERVER_IMAGE, CLIENT_IMAGE)
LARGEST_BYTES = 350_000_000
BASE_BYTES = 130_000_000
"""Of python:3.11-slim-bookworm."""


def _labels(stack: Engine, image: str) -> dict[str, str]:
    (known,) = json.loads(stack("image", "inspect", image))
    return dict(known["Config"]["Labels"])


@pytest.fixture(scope="session", params=IMAGES)
def facts(stack: Engine, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Look around in a container that may do as little as it may in the stack."""
    script = ROOT / "tests" / "containers" / "look_around.py"
    mount = f"--volume={script}:/look_around.py:ro"
    told = stack("run", "--rm", *HARDENED, mount, "--entrypoint=python", request.param, "/look_around.py")
    return {"image": request.param, **json.loads(told)}


def test_nobody_runs_it_who_could_do_anything(facts: dict[str, Any]) -> None:
    assert facts["uid"] == 10001
    assert facts["capabilities"] == 0
    assert facts["writable"] == [facts["home"]]


def test_it_holds_nothing_that_it_should_not(facts: dict[str, Any]) -> None:
    assert facts["forbidden"] == []
    assert facts["private"] == []
    assert facts["tools"] == []
    assert facts["pip"] == []
    assert not [name for name in facts["variables"] if re.search("TOKEN|SECRET|PASSWORD|KEY|INDEX", name)]


def test_its_code_is_compiled(facts: dict[str, Any]) -> None:
    assert facts["uncompiled"] == []


def test_its_bill_of_materials_names_what_is_installed(facts: dict[str, Any]) -> None:
    pins = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text()))
    components = {each["name"]: each["version"] for each in facts["sbom"]["components"]}
    wanted = {"cifar10net", "grpcio", "protobuf", "pillow", "dumb-init"}
    wanted |= {"onnxruntime", "numpy", "uvloop"} if facts["image"] == SERVER_IMAGE else {"pyarrow", "fsspec"}

    assert facts["sbom"]["bomFormat"] == "CycloneDX"
    assert wanted <= components.keys()
    assert not {"torch", "onnx", "pytest"} & components.keys()
    assert {name: components[name] for name in wanted & pins.keys()} == {
        name: pins[name] for name in wanted & pins.keys()
    }


@pytest.mark.parametrize("image", IMAGES)
def test_labels_say_what_it_is(stack: Engine, image: str) -> None:
    labels = _labels(stack, image)

    assert labels["org.opencontainers.image.title"] == image.partition(":")[0]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert {"version", "revision", "description"} <= {key.rpartition(".")[2] for key in labels}


def test_the_server_is_small(stack: Engine) -> None:
    """By what we add: the base may be a stand-in of another size."""
    ours = [size for size, made in layers(stack.program, SERVER_IMAGE) if "COPY" in made]

    assert len(ours) == 3
    assert sum(ours) + BASE_BYTES <= LARGEST_BYTES


def test_one_cpu_is_one_thread(start: Start, stack: Engine) -> None:
    name = start("--cpus=1", "--publish=127.0.0.1:50061:50051")
    assert serves("127.0.0.1:50061")

    (cpus,) = (event for event in stack.events(name) if event["event"] == "cpus")
    assert {key: cpus[key] for key in ("cpus", "workers", "instances", "threads", "decode_threads")} == {
        "cpus": 1, "workers": 1, "instances": 1, "threads": 1, "decode_threads": 1,
    }  # fmt: skip
    assert "cgroup" in cpus["source"]


def test_full_load_stays_within_the_memory_limit(start: Start, stack: Engine) -> None:
    """With the settings and the limit of docker-compose.yml, large calls and large pictures at a time."""
    settings = ("MAX_PENDING_MIB=64", "MAX_IMAGE_PIXELS=16000000")
    name = start(
        "--memory=1g",
        "--memory-swap=1g",
        "--publish=127.0.0.1:50061:50051",
        *(f"--env=CIFAR10NET_SERVE_{setting}" for setting in settings),
    )
    assert serves("127.0.0.1:50061")
    outcomes = asyncio.run(press("127.0.0.1:50061"))

    assert outcomes["answered"] > 0
    assert outcomes["refused"] > 0  # else it was no full load
    assert stack.state(name)["Running"] is True
    assert not stack.state(name)["OOMKilled"]
    assert serves("127.0.0.1:50061")


def test_a_broken_model_ends_the_start_with_one_sentence(start: Start, stack: Engine, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "exported_models" / "cifar10net", tmp_path / "cifar10net")
    (tmp_path / "cifar10net/1/model.onnx").write_bytes(b"no model")
    (tmp_path / "cifar10net/1").chmod(0o755)
    tmp_path.chmod(0o755)

    name = start(f"--volume={tmp_path}:/models:ro")
    asyncio.run(until(lambda: not stack.state(name)["Running"], "the end"))

    assert stack.state(name)["ExitCode"] == 1
    (sentence,) = (line for line in stack.logs(name).splitlines() if not line.startswith("{"))
    assert sentence.startswith("error: no model of /models answers: cifar10net version 1: ")
    assert "/models/cifar10net/1/model.onnx has 8 bytes" in sentence


def test_the_client_image_asks_the_server_image(start: Start, stack: Engine) -> None:
    name = start("--publish=127.0.0.1:50061:50051")
    assert serves("127.0.0.1:50061")

    told = stack("exec", name, "cifar10net", "health")
    rows = stack(
        *("run", "--rm", *HARDENED, f"--network=container:{name}"),
        *(f"--volume={ROOT}/examples/images:/images:ro", CLIENT_IMAGE),
        *("classify", "/images", "--format", "csv"),
    ).splitlines()

    assert told == "SERVING\n"
    assert len(rows) == 1 + len(PHOTOGRAPHS) + 1  # the head, and one that is no .jpg or .png
