"""The public image examples of the Triton client, unmodified, where they are available."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cifar10net import Client

if TYPE_CHECKING:
    from tests.interop.conftest import Script

VARIABLE = "CIFAR10NET_TRITON_EXAMPLES"
_CLASS = re.compile(r"^    ([\d.]+) \((\d+)\) = (\w+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def examples() -> Path:
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(
            f"{VARIABLE} is not set: it names a folder with image_client.py and grpc_image_client.py, as "
            "they lie in src/python/examples of triton-inference-server/client on GitHub"
        )
    return Path(folder)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("way", ["", "-a", "--streaming"])
@pytest.mark.parametrize(
    ("name", "protocol"), [("image_client.py", ("-i", "grpc")), ("grpc_image_client.py", ())]
)
def test_an_example_prints_what_our_own_client_gets(
    triton: Script,
    examples: Path,
    server: str,
    pictures: Path,
    name: str,
    protocol: tuple[str, ...],
    way: str,
    batch: int,
) -> None:
    flags = (*protocol, "-u", server, "-m", "cifar10net", "-s", "NONE", "-c", "3", "-b", str(batch))

    printed = triton(examples / name, *flags, *([way] if way else []), str(pictures))

    assert printed.endswith("PASS\n")
    paths = sorted(pictures.iterdir())
    count = -(-len(paths) // batch) * batch
    with Client(server) as client:
        results = client.classify((paths * batch)[:count], top_k=3)
    told = _CLASS.findall(printed)
    own = [each for result in results for each in result.classes]
    assert len(told) == 3 * count
    if way != "-a":  # whose answers come in any order in one of the two
        assert [label for _, _, label in told] == [each.label for each in own]
    found = sorted((label, float(value)) for value, _, label in told)
    wanted = sorted((each.label, each.probability) for each in own)
    assert [label for label, _ in found] == [label for label, _ in wanted]
    assert [value for _, value in found] == pytest.approx([value for _, value in wanted], abs=2e-6)
