"""Models that change under load: no call is lost, whatever is put into the repository."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from hashlib import sha256
from typing import TYPE_CHECKING

import onnx
import pytest

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import inference_pb2
from service.server.health_check import check_health
from tests.inference_stub import InferenceStub
from tests.reliability.callers import LIMIT_S, Caller, Status, all_go_on, at_work, until
from tests.reliability.servers import MIB, files, memory, threads
from tests.service.colours import colour_model
from tests.service.manifests import manifest, publish, replace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import grpc

    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures
    from tests.reliability.servers import Server

CONTENT = colour_model()
ANOTHER = colour_model(labour=1)
"""Other bytes, the same answers."""
PALE = colour_model(scale=64)
"""Other answers."""
WATCH = ("--watch-s", "0.05")
_RELOADS = int(os.environ.get("CIFAR10NET_RELOADS", "32"))
"""CI takes 100."""
_WARM_UP_RELOADS = _RELOADS // 4
_REST_S = 0.01  # between a caller's calls: the CPUs are for the reloads, too


@pytest.fixture
def changing(tmp_path: Path) -> Path:
    """Return a repository with one version, to be changed."""
    folder = tmp_path / "models"
    publish(folder, CONTENT, manifest(CONTENT))
    return folder


def _truncated(root: Path, version: int) -> None:
    publish(root, ANOTHER[: len(ANOTHER) // 2], manifest(ANOTHER), version=version)


def _truncated_without_manifest(root: Path, version: int) -> None:
    publish(root, ANOTHER[: len(ANOTHER) // 2], None, version=version)


def _swapped(root: Path, version: int) -> None:
    """Another model's bytes under the name."""
    publish(root, PALE, manifest(CONTENT), version=version)


def _of_another_size(root: Path, version: int) -> None:
    small = colour_model(side=28)
    publish(root, small, manifest(small), version=version)


def _of_other_labels(root: Path, version: int) -> None:
    turned = colour_model("green,red,blue")
    publish(root, turned, manifest(turned), version=version)


def _answering_otherwise(root: Path, version: int) -> None:
    """Whole and well described, but for the weights that its golden answers are of."""
    publish(root, PALE, manifest(PALE, scale=32), version=version)


def _without_softmax(root: Path, version: int) -> None:
    publish(root, colour_model(softmax=False), None, version=version)


def _leading_out(root: Path, version: int) -> None:
    (root.parent / "outside.onnx").write_bytes(ANOTHER)
    folder = publish(root, b"", manifest(ANOTHER), version=version)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("../../../outside.onnx")


def _with_a_broken_manifest(root: Path, version: int) -> None:
    publish(root, ANOTHER, manifest(ANOTHER)[:-100], version=version)


BAD: dict[Callable[[Path, int], None], str] = {
    _truncated: "it is incomplete",
    _truncated_without_manifest: "cannot be loaded by",
    _swapped: "it is",
    _of_another_size: "wanted one uint8 [batch,32,32,3] input",
    _of_other_labels: "input, output and labels",
    _answering_otherwise: "golden image 0",
    _without_softmax: "sum to 1",
    _leading_out: "leads out of the repository",
    _with_a_broken_manifest: "has invalid JSON",
}


def _callers(server: Server, pictures: Pictures, account: Account) -> list[Caller]:
    """Make callers enough that each of two workers gets some."""
    return [Caller(server.address, pictures, account, images=images) for images in (1, 1, 3, 8, 64, 65)]


async def _versions(caller: Caller) -> list[str]:
    """Ask which versions answer."""
    answer = await caller.stub.ListModels(pb.ListModelsRequest(), timeout=LIMIT_S)
    return [f"{model.version}, the default" if model.is_default else model.version for model in answer.models]


async def _seen(server: Server, event: str, version: int, workers: int = 1) -> list[str]:
    """Wait until each worker has logged something of a version; return the reasons that were given."""

    def logged() -> list[str]:
        return [line.get("reason", "") for line in server.events(event) if line["version"] == version]

    await until(lambda: len(logged()) >= workers, f"{event} {version}")
    return logged()


async def _index(caller: Caller) -> dict[str, tuple[str, str]]:
    """Ask what is known of each version: its state and the reason."""
    stub = InferenceStub(caller.channel)
    answer = await stub.RepositoryIndex(inference_pb2.RepositoryIndexRequest(), timeout=LIMIT_S)
    return {entry.version: (entry.state, entry.reason) for entry in answer.models if entry.name == "colours"}


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_versions_change_nothing_and_a_good_one_takes_over(
    start: Start, changing: Path, pictures: Pictures, account: Account, workers: int
) -> None:
    server = start("--models", changing, *WATCH, "--workers", workers)

    async def main() -> None:
        callers = _callers(server, pictures, account)
        async with at_work(*callers, rest_s=_REST_S):
            for version, (drop, reason) in enumerate(BAD.items(), start=2):
                drop(changing, version)
                reasons = await _seen(server, "model refused", version, workers)
                await all_go_on(*callers)
                assert all(reason in each for each in reasons)
                assert await _versions(callers[0]) == ["1, the default"]
                assert (await _index(callers[0]))[str(version)] == ("UNAVAILABLE", reasons[0])
                assert (await _index(callers[0]))["1"] == ("READY", "")
            publish(changing, ANOTHER, manifest(ANOTHER), version=99)
            await _seen(server, "model retired", 1, workers)
            await all_go_on(*callers)
            assert await _versions(callers[0]) == ["99, the default"]

    asyncio.run(main())

    assert (
        check_health(server.address, LIMIT_S) == check_health(server.address, LIMIT_S, "colours") == "SERVING"
    )
    assert len(server.events("model refused")) == len(BAD) * workers  # once each, however often they look


def test_an_incomplete_version_is_not_loaded_and_a_complete_one_is(
    start: Start, changing: Path, pictures: Pictures, account: Account
) -> None:
    server = start("--models", changing, *WATCH)

    async def main() -> None:
        callers = _callers(server, pictures, account)
        async with at_work(*callers, rest_s=_REST_S):
            folder = changing / "colours" / "2"
            folder.mkdir()
            (folder / "manifest.json").write_bytes(manifest(ANOTHER))
            with (folder / "model.onnx").open("wb", buffering=0) as file:
                for begin in range(0, len(ANOTHER), 1 + len(ANOTHER) // 3):
                    file.write(ANOTHER[begin : begin + 1 + len(ANOTHER) // 3])
                    await all_go_on(*callers)
            await _seen(server, "model retired", 1)

            # In place, and in the wrong order: the manifest does not fit until both are there.
            replace(folder / "manifest.json", manifest(CONTENT))
            await _seen(server, "model refused", 2)
            await all_go_on(*callers)
            assert await _versions(callers[0]) == ["2, the default"]
            replace(folder / "model.onnx", CONTENT)
            await _seen(server, "model retired", 2)
            await all_go_on(*callers)

    asyncio.run(main())


def test_callers_of_a_version_keep_it_until_it_is_removed(
    start: Start, changing: Path, pictures: Pictures, account: Account
) -> None:
    server = start("--models", changing, *WATCH, "--versions", "latest:2")

    async def main() -> None:
        pinned = Caller(server.address, pictures, account, may_see={Status.NOT_FOUND}, version="1")
        newest = Caller(server.address, pictures, account)
        async with at_work(pinned, newest, rest_s=_REST_S):
            publish(changing, ANOTHER, manifest(ANOTHER), version=2)
            await _seen(server, "model ready", 2)
            await all_go_on(pinned, newest)
            assert await _versions(newest) == ["2, the default", "1"]
            assert set(pinned.seen) == {Status.OK}

            shutil.rmtree(changing / "colours" / "1")
            await until(lambda: pinned.seen[Status.NOT_FOUND], "that version 1 is gone")
            await all_go_on(newest)
            assert await _versions(newest) == ["2, the default"]
        assert set(newest.seen) == {Status.OK}

    asyncio.run(main())


def test_a_worker_that_is_replaced_serves_what_the_others_do(
    start: Start, changing: Path, pictures: Pictures, account: Account
) -> None:
    """Though the newest version in the folder is broken, with which no server would start."""
    server = start("--models", changing, *WATCH, "--workers", 2)

    async def main() -> None:
        _truncated(changing, 2)
        await _seen(server, "model refused", 2, workers=2)
        os.kill(server.workers()[0], signal.SIGKILL)
        await _seen(server, "model ready", 1, workers=3)
        callers = _callers(server, pictures, account)
        async with at_work(*callers, rest_s=_REST_S):
            await all_go_on(*callers)
            assert await _versions(callers[0]) == ["1, the default"]
            publish(changing, ANOTHER, manifest(ANOTHER), version=3)
            await _seen(server, "model ready", 3, workers=2)
            await all_go_on(*callers)

    asyncio.run(main())

    assert len(server.all_workers()) == 3  # the one that came instead has stayed


def test_a_model_is_unloaded_and_loaded_in_every_worker_and_in_the_next(
    start: Start, changing: Path, pictures: Pictures, account: Account
) -> None:
    publish(changing, CONTENT, manifest(CONTENT), "other")
    server = start("--models", changing, "--workers", 2, "--model-control")

    async def main() -> None:
        callers = _callers(server, pictures, account)
        others = [
            Caller(server.address, pictures, account, may_see={Status.NOT_FOUND}, model="other")
            for _ in range(4)
        ]
        control = InferenceStub(others[0].channel)
        async with at_work(*callers, *others, rest_s=_REST_S):
            await all_go_on(*callers, *others)
            await control.RepositoryModelUnload(
                inference_pb2.RepositoryModelUnloadRequest(model_name="other"), timeout=LIMIT_S
            )
            await until(lambda: all(other.seen[Status.NOT_FOUND] for other in others), "its end")
            assert await asyncio.to_thread(check_health, server.address, LIMIT_S, "other") == "NOT_SERVING"
            assert await asyncio.to_thread(check_health, server.address, LIMIT_S) == "SERVING"
            await control.RepositoryModelLoad(
                inference_pb2.RepositoryModelLoadRequest(model_name="other"), timeout=LIMIT_S
            )
            await all_go_on(*callers, *others)
            await control.RepositoryModelUnload(
                inference_pb2.RepositoryModelUnloadRequest(model_name="other"), timeout=LIMIT_S
            )
        assert all(set(caller.seen) == {Status.OK} for caller in callers)

    asyncio.run(main())

    os.kill(server.workers()[0], signal.SIGKILL)

    async def look_again() -> None:
        await _seen(server, "model ready", 1, workers=2 * 2 + 2 + 1)  # all, "other" again, the new worker
        callers = _callers(server, pictures, account)
        others = [
            Caller(server.address, pictures, account, may_see={Status.NOT_FOUND}, model="other")
            for _ in range(4)
        ]
        async with at_work(*callers, *others, rest_s=_REST_S):
            await all_go_on(*callers)
        assert all(set(other.seen) == {Status.NOT_FOUND} for other in others)

    asyncio.run(look_again())


class _Loyal(Caller):
    """Asks the model that is reloaded; its version never goes back."""

    newest = 0

    async def ask(self) -> grpc.StatusCode:
        """Ask about some images."""
        self._account.tried += 1
        request = self._pictures.some(self._images).request(model="cifar10net")
        response = await self.stub.Classify(request, timeout=LIMIT_S)
        version = int(response.version)
        is_whole = [len(result.prediction.classes) for result in response.results] == [3] * self._images
        self._account.close(
            None if is_whole and version >= self.newest else f"version {version} after {self.newest}"
        )
        self.newest = version
        self.answers += 1
        return Status.OK


@pytest.mark.slow
def test_many_reloads_leave_memory_threads_and_files_as_they_were(
    start: Start, changing: Path, pictures: Pictures, account: Account, root: Path
) -> None:
    """Of the model that is shipped, of which a session has 13 MiB, while it is asked."""
    folder = root / "exported_models" / "cifar10net" / "1"
    told = json.loads((folder / "manifest.json").read_text())
    model = onnx.load_model(folder / "model.onnx")

    def put(number: int) -> None:
        onnx.helper.set_model_props(model, {**_properties(model), "number": str(number)})
        content = model.SerializeToString()
        told["files"]["model.onnx"] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        publish(changing, content, json.dumps(told).encode(), "cifar10net", number)

    put(1)
    server = start("--models", changing, "--watch-s", 0.02)
    pid = server.pid

    async def reload(numbers: range) -> None:
        for number in numbers:
            put(number)
            await _seen(server, "model retired", number - 1)
            shutil.rmtree(changing / "cifar10net" / str(number - 1))

    async def main() -> int:
        loyal = [_Loyal(server.address, pictures, account, images=images) for images in (1, 64)]
        callers = [*loyal, Caller(server.address, pictures, account, images=8)]
        async with at_work(*callers, rest_s=_REST_S):
            await all_go_on(*callers)
            before = (threads(pid), files(pid))
            await reload(range(2, _WARM_UP_RELOADS + 2))
            level = memory(pid)
            await reload(range(_WARM_UP_RELOADS + 2, _RELOADS + 2))
            await all_go_on(*callers)
            # The thread that loads, and two that look and listen.
            await until(lambda: threads(pid) <= before[0] + 3, "the end of the old sessions' threads")
            await until(lambda: files(pid) <= before[1], "files that are closed")
            assert {caller.newest for caller in loyal} == {_RELOADS + 1}
        return memory(pid) - level

    growth = asyncio.run(main())

    assert growth < 32 * MIB
    assert account.answered > _RELOADS


def _properties(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}
