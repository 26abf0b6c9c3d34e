"""API keys: callers with a valid one lose nothing, others are refused, and no key is ever logged."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cifar10net.config import Access
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from service.security.api_keys import make_key
from tests.commands import run
from tests.reliability.callers import Caller, PatientCaller, Status, all_go_on, at_work, until
from tests.service.security.authority import replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures
    from tests.reliability.servers import Server

CLASSIFIER = "cifar10net.v1.Classifier"
REST_S = 0.01  # between a caller's calls, where all wait for a server to look at its file
NOT_TAKEN = "new API keys not taken, the old ones stay in force"


@dataclass
class KeyFile:
    """The file of a server, and the keys themselves."""

    path: Path
    lines: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def add(self, name: str, rights: str = "*", until: str | None = None) -> Access:
        """Write a key's line; return what its owner has."""
        key, self.lines[name] = make_key(name, rights, until)
        self.keys.append(key)
        self.write()
        return Access(api_key=key)

    def remove(self, name: str) -> None:
        """Take a line away."""
        del self.lines[name]
        self.write()

    def write(self) -> None:
        """Replace the file."""
        replace(self.path, "\n".join(self.lines.values()).encode())


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys")


async def until_loaded(server: Server, workers: int, times: int = 1) -> None:
    await until(lambda: len(server.events("new API keys in force")) >= workers * times, "the new keys")


def no_key_is_in_the_log_of(server: Server, file: KeyFile) -> bool:
    text = server._log_file.read_text()
    return not any(key.removeprefix("c10n_") in text for key in file.keys)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_caller_may_do_what_its_key_says(
    start: Start, file: KeyFile, pictures: Pictures, account: Account, workers: int
) -> None:
    good = file.add("good")
    narrow = file.add("narrow", f"{CLASSIFIER}/ListModels")
    yesterday = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).date().isoformat()
    expired = file.add("expired", until=yesterday)
    key = str(good.api_key)
    server = start("--api-keys", file.path, "--workers", workers)

    async def main() -> None:
        for access, status in (
            (good, Status.OK),
            (Access(), Status.UNAUTHENTICATED),
            (Access(api_key=key[:-1]), Status.UNAUTHENTICATED),
            (Access(api_key=make_key("good")[0]), Status.UNAUTHENTICATED),
            (expired, Status.UNAUTHENTICATED),
            (narrow, Status.PERMISSION_DENIED),
        ):
            async with Caller(
                server.address, pictures, account, access=access, may_see={status} - {Status.OK}
            ) as caller:
                for _ in range(5):
                    assert await caller.ask() is status
        async with PatientCaller(server.address, pictures, account, access=good) as patient:
            assert await patient.ask() is Status.OK
        channel = grpc.aio.insecure_channel(server.address)
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        for metadata in ((("x-api-key", key),), (("authorization", f"bearer {narrow.api_key}"),)):
            await stub.ListModels(pb.ListModelsRequest(), metadata=metadata)
        await channel.close()

    asyncio.run(main())

    assert no_key_is_in_the_log_of(server, file)
    assert {line["status"] for line in server.events("call refused")} == {
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
    }


def _reflection_status(channel: grpc.Channel) -> grpc.StatusCode:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([request]))
    try:
        list(call)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_health_is_open_and_other_services_where_it_is_said(start: Start, file: KeyFile) -> None:
    file.add("good")
    closed = start("--api-keys", file.path)
    opened = start("--api-keys", file.path, "--open-service", "grpc.reflection.v1alpha.ServerReflection")

    for server, status in ((closed, Status.UNAUTHENTICATED), (opened, Status.OK)):
        with grpc.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest()).status == 1  # type: ignore[attr-defined]
            assert next(health.Watch(health_pb2.HealthCheckRequest())).status == 1  # type: ignore[attr-defined]
            assert _reflection_status(channel) is status
            with pytest.raises(grpc.RpcError) as caught:
                classifier_pb2_grpc.ClassifierStub(channel).ListModels(pb.ListModelsRequest())
            assert caught.value.code() is Status.UNAUTHENTICATED


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_keys_are_exchanged_under_load_and_nothing_is_lost(
    start: Start, file: KeyFile, pictures: Pictures, account: Account, workers: int
) -> None:
    old = file.add("old")
    server = start("--api-keys", file.path, "--workers", workers)

    async def main() -> None:
        fallen = [
            Caller(server.address, pictures, account, access=old, may_see={Status.UNAUTHENTICATED})
            for _ in range(4)
        ]
        async with at_work(*fallen, rest_s=REST_S):
            await all_go_on(*fallen)
            new = file.add("new")  # beside the old one, until all have changed
            await until_loaded(server, workers)
            callers = [Caller(server.address, pictures, account, access=new) for _ in range(4)]
            async with at_work(*callers, rest_s=REST_S):
                await all_go_on(*callers, *fallen)
                assert not any(caller.seen[Status.UNAUTHENTICATED] for caller in fallen)
                file.remove("old")
                await until_loaded(server, workers, times=2)
                await all_go_on(*callers)
                before = [caller.answers for caller in fallen]
                # On connections that were there before, and from the very next call on.
                await until(lambda: all(caller.seen[Status.UNAUTHENTICATED] for caller in fallen), "refusals")
                await all_go_on(*callers)
                assert all(
                    caller.answers <= answers + 1 for caller, answers in zip(fallen, before, strict=True)
                )

    asyncio.run(main())

    assert no_key_is_in_the_log_of(server, file)


class _Streams:
    """One open stream for each of some keys, which has been answered once."""

    def __init__(self, address: str, accesses: dict[str, Access]) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._stub = classifier_pb2_grpc.ClassifierStub(self._channel)
        self._accesses = accesses
        self._over = asyncio.Event()
        self._streams: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        for name, access in self._accesses.items():
            metadata = (("x-api-key", str(access.api_key)),)
            stream: Any = self._stub.ClassifyStream(self._requests(), metadata=metadata, timeout=60)
            self._streams[name] = stream
            assert not (await stream.read()).HasField("error")
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._channel.close()

    async def _requests(self) -> AsyncIterator[pb.ClassifyStreamRequest]:
        request = pb.ClassifyStreamRequest(request=pb.ClassifyRequest(packed_pixels=bytes(3072)))
        yield request
        await self._over.wait()
        yield request

    async def refusal(self, name: str) -> str:
        """Wait until a stream is ended for its key's sake."""
        assert await self._streams[name].code() is Status.UNAUTHENTICATED
        return str(await self._streams[name].details())

    async def goes_on(self, name: str) -> bool:
        """End a stream well, after another answer."""
        self._over.set()
        answer = await self._streams[name].read()
        return not answer.HasField("error") and await self._streams[name].read() is grpc.aio.EOF


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_ends_when_its_key_is_revoked_and_others_go_on(
    start: Start, file: KeyFile, workers: int
) -> None:
    accesses = {name: file.add(name) for name in ("good", "revoked")}
    server = start("--api-keys", file.path, "--workers", workers)

    async def main() -> None:
        async with _Streams(server.address, accesses) as streams:
            file.remove("revoked")
            assert "is not known here" in await streams.refusal("revoked")
            assert await streams.goes_on("good")

    asyncio.run(main())


@pytest.mark.slow
def test_a_stream_ends_when_its_key_expires_and_others_go_on(start: Start, file: KeyFile) -> None:
    good = file.add("good")
    server = start("--api-keys", file.path)

    async def main() -> None:
        soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=4)
        accesses = {"good": good, "expiring": file.add("expiring", until=soon.isoformat())}
        server._running().send_signal(signal.SIGHUP)  # which has the file read at once
        await until_loaded(server, 1)
        async with _Streams(server.address, accesses) as streams:
            assert "has expired" in await streams.refusal("expiring")
            assert await streams.goes_on("good")

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"good\n", b"\xff\xff"])
def test_a_broken_file_leaves_the_old_keys_in_force_and_is_logged_once(
    start: Start, file: KeyFile, pictures: Pictures, account: Account, content: bytes
) -> None:
    good = file.add("good")
    server = start("--api-keys", file.path)

    async def main() -> None:
        async with Caller(server.address, pictures, account, access=good) as caller:
            replace(file.path, content)
            await until(lambda: server.events(NOT_TAKEN), "a line")
            assert await caller.ask() is Status.OK
            file.add("another")
            await until_loaded(server, 1)
            assert await caller.ask() is Status.OK

    asyncio.run(main())

    [line] = server.events(NOT_TAKEN)
    assert str(file.path) in line["reason"]


def test_the_command_line_makes_keys_and_shows_them(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, key_file = tmp_path / "keys", tmp_path / "alice.key"
    made = run("key", "alice", "--to", keys, "--rights", f"{CLASSIFIER}")
    key_file.write_text(made.stdout)
    server = start("--api-keys", keys)

    by_file = run("models", "--server", server.address, "--api-key-file", key_file)
    monkeypatch.setenv("CIFAR10NET_API_KEY", made.stdout.strip())
    by_environment = run("models", "--server", server.address)
    monkeypatch.setenv("CIFAR10NET_API_KEY", "c10n_wrong")
    wrong = run("models", "--server", server.address)
    monkeypatch.setenv("CIFAR10NET_API_KEY", "not one\n key")
    damaged = run("models", "--server", server.address)
    monkeypatch.setenv("CIFAR10NET_API_KEY", "c10n_wrong")
    abroad = run("health", "--server", f"0.0.0.0:{server.port}")
    encrypted = run("health", "--server", f"0.0.0.0:{server.port}", "--tls", "--deadline-s", 0.1)
    monkeypatch.delenv("CIFAR10NET_API_KEY")
    none = run("models", "--server", server.address)
    health = run("health", "--server", server.address)

    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("c10n_")
    assert made.stdout.strip() not in keys.read_text()
    assert by_file.returncode == by_environment.returncode == health.returncode == 0
    assert "colours" in by_environment.stdout
    assert "the API key is sent unencrypted" in abroad.stderr
    assert "unencrypted" not in by_environment.stderr + encrypted.stderr
    for done, problem in (
        (wrong, "answered UNAUTHENTICATED: the API key is not known here"),
        (none, "answered UNAUTHENTICATED: this server wants an API key"),
        (damaged, "the API key is malformed: wanted printable ASCII characters without spaces"),
    ):
        assert (done.returncode, done.stdout) == (2, "")
        assert problem in done.stderr
        assert "wrong" not in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "problem", "code"),
    [
        (("--api-keys", "{folder}/none"), "none cannot be read: No such file", 1),
        (("--api-keys", "{folder}/bad"), "bad, line 1: has 1 words, wanted NAME sha256:HASH RIGHTS", 1),
        (("--open-service", "x.Y"), "open services are exempt from API keys, but no file", 2),
        (("--api-keys", "{folder}/good", "--open-service", "x.Y"), "no service is called 'x.Y'", 2),
    ],
)
def test_a_server_whose_keys_make_no_sense_does_not_start(
    models: Path, tmp_path: Path, options: tuple[str, ...], problem: str, code: int
) -> None:
    (tmp_path / "bad").write_text("alice\n")
    (tmp_path / "good").write_text(make_key("alice")[1])

    done = run("serve", "--port", 0, "--models", models, *(each.format(folder=tmp_path) for each in options))

    assert (done.returncode, done.stdout) == (code, "")
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_network_can_read_is_warned_of_once(start: Start, file: KeyFile) -> None:
    file.add("alice")
    inside = start("--api-keys", file.path)
    outside = start("--host", "0.0.0.0", "--workers", 2)  # noqa: S104 - that is what is warned of
    with_keys = start("--host", "0.0.0.0", "--api-keys", file.path)  # noqa: S104

    warnings = [
        [line["event"] for line in server.log() if re.search("encrypt|read along", line["event"])]
        for server in (inside, outside, with_keys)
    ]

    theft = "whoever can read along can take callers' API keys and use them"
    assert warnings == [[], ["connections are not encrypted"], ["connections are not encrypted", theft]]
