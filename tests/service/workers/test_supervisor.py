"""A server of several processes: what happens to one worker does not affect the callers of others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from structlog.testing import capture_logs

from service.system.listener import listen
from service.workers.acceptor import Acceptor
from service.workers.control_hub import ControlHub
from service.workers.metrics_aggregator import MetricsAggregator
from service.workers.supervisor import _backoff_s, _WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., "_Server"]
    Call = Callable[["_Server"], "_Caller"]


def _wait(is_so: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)


class _Server:
    """A supervisor in a process of its own."""

    def __init__(
        self, folder: Path, log: Path, *, workers: int = 2, port: int = 0, grace_s: float = 20
    ) -> None:
        self._log = log
        module = "tests.service.workers.stand_in_server"
        command = [sys.executable, "-m", module, folder, workers, port, grace_s]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*map(str, command)],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                start_new_session=True,  # a process group of its own, as a terminal gives to a command
            )
        self.port = port

    def ready(self) -> Self:
        self.port = int(self.says().rpartition(":")[2])
        return self

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def log(self) -> str:
        return self._log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log().splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == name]

    def pids(self) -> list[int]:
        """Return all workers there have ever been."""
        return [event["pid"] for event in self.events("worker started")]

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(60)

    def clean_up(self) -> None:
        for pid in (self.process.pid, *self.pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a server, whose workers are controlled by files in ``tmp_path``."""
    servers: list[_Server] = []

    def start(**settings: Any) -> _Server:
        servers.append(_Server(tmp_path, tmp_path / f"log-{len(servers)}", **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.clean_up()


class _Caller:
    """An open connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._lines = self._socket.makefile("rb")
        self.pid = 0

    def say(self) -> None:
        self._socket.sendall(b"hello\n")

    def hear(self) -> int:
        """Return which worker answers."""
        pid, _, text = self._lines.readline().partition(b" ")
        assert text == b"hello\n"
        self.pid = int(pid)
        return self.pid

    def ask(self) -> int:
        self.say()
        return self.hear()

    @property
    def is_answered(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def is_cut_off(self) -> bool:
        try:
            self.say()
            return self._lines.readline() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture
def call() -> Iterator[Call]:
    """Return a function that connects to a server."""
    callers: list[_Caller] = []

    def call(server: _Server) -> _Caller:
        callers.append(_Caller(server.port))
        return callers[-1]

    yield call
    for caller in callers:
        caller.close()


def _state(pid: int) -> list[str]:
    """Return the fields of a process' state, from its third on; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _is_over(pid: int) -> bool:
    return _state(pid)[:1] in ([], ["Z"])


def _cpu_s(pid: int) -> float:
    return sum(map(int, _state(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


def _asks_once(server: _Server) -> int:
    caller = _Caller(server.port)
    try:
        return caller.ask()
    finally:
        caller.close()


def _refuses(port: int) -> bool:
    try:
        _Caller(port).close()
    except ConnectionError:
        return True
    return False


def test_each_connection_goes_to_the_worker_that_has_fewest(start: Start, call: Call) -> None:
    server = start().ready()
    callers = [call(server) for _ in range(100)]
    shares = Counter(caller.ask() for caller in callers)

    for caller in callers[:80]:
        caller.close()  # forty of each
    more = [call(server) for _ in range(30)]
    left, *_ = [caller.ask() for caller in more]
    for caller in (*callers, *more):
        if caller.pid == left:
            caller.close()

    assert list(shares.values()) == [50, 50]
    # Whose callers have all gone gets the next ones, as soon as the supervisor has heard of it.
    _wait(lambda: {_asks_once(server) for _ in range(5)} == {left}, "a worker with none gets all")


def test_a_killed_worker_is_replaced_and_others_feel_nothing(start: Start, call: Call) -> None:
    server = start().ready()
    callers = [call(server) for _ in range(20)]
    killed, other = dict.fromkeys(caller.ask() for caller in callers)
    its_callers = [caller for caller in callers if caller.pid == killed]
    others = [caller for caller in callers if caller.pid == other]

    os.kill(killed, signal.SIGKILL)
    while call(server).ask() in {killed, other}:  # until the new worker answers
        assert {caller.ask() for caller in others} == {other}

    assert all(caller.is_cut_off() for caller in its_callers)
    assert {caller.ask() for caller in others} == {other}
    [ended] = server.events("worker ended, another follows")
    assert (ended["pid"], ended["signal"], ended["connections"]) == (killed, "SIGKILL", 10)


def test_the_port_stays_open_while_no_worker_is_there(start: Start, call: Call) -> None:
    server = start(workers=1).ready()
    [killed] = server.pids()

    os.kill(killed, signal.SIGKILL)
    callers = [call(server) for _ in range(20)]

    assert killed not in {caller.ask() for caller in callers}


def test_connections_that_a_dead_worker_never_took_go_to_another(start: Start, call: Call) -> None:
    server = start().ready()
    frozen, _ = server.pids()

    os.kill(frozen, signal.SIGSTOP)
    callers = [call(server) for _ in range(20)]
    for caller in callers:
        caller.say()
    callers[0].close()  # one of them is gone when its turn comes
    _wait(lambda: sum(caller.is_answered for caller in callers[1:]) >= 9, "the other worker's share")
    os.kill(frozen, signal.SIGKILL)

    assert frozen not in {caller.hear() for caller in callers[1:]}


def test_a_frozen_worker_that_is_full_leaves_connections_to_others(start: Start) -> None:
    server = start().ready()
    frozen, other = server.pids()
    os.kill(frozen, signal.SIGSTOP)

    # Held open on the other worker, so that the frozen one is always the one with fewest.
    held = [_Caller(server.port) for _ in range(700)]
    try:
        for caller in held:
            caller.say()
        _wait(lambda: sum(caller.is_answered for caller in held) >= 400, "more than half are answered")
        os.kill(frozen, signal.SIGCONT)
        assert {caller.hear() for caller in held} == {frozen, other}
    finally:
        for caller in held:
            caller.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_callers_finish(start: Start, call: Call, number: signal.Signals) -> None:
    server = start().ready()
    callers = [call(server) for _ in range(4)]
    workers = {caller.ask() for caller in callers}

    os.killpg(server.process.pid, number)  # as Ctrl-C does
    _wait(lambda: _refuses(server.port), "the port is closed")
    os.killpg(server.process.pid, number)  # a second one changes nothing

    assert {caller.ask() for caller in callers} == workers == set(server.pids())
    assert server.process.poll() is None
    for caller in callers:
        caller.close()
    assert server.process.wait(60) == 0
    assert [event["connections"] for event in server.events("worker ended")] == [0, 0]


def test_a_worker_that_never_ends_is_killed(start: Start, tmp_path: Path) -> None:
    (tmp_path / "stubborn").touch()
    server = start(workers=1, grace_s=0.2).ready()

    code = server.end()

    assert code == 1
    assert server.events("workers killed")[0]["pids"] == server.pids()
    assert all(map(_is_over, server.pids()))


def test_a_worker_that_is_stopped_alone_is_replaced(start: Start, call: Call) -> None:
    server = start().ready()
    callers = [call(server) for _ in range(2)]
    stopped, other = (caller.ask() for caller in callers)

    os.kill(stopped, signal.SIGTERM)
    _wait(lambda: {_asks_once(server) for _ in range(5)} == {other}, "new callers go to the other")
    assert callers[0].ask() == stopped
    callers[0].close()

    _wait(lambda: _asks_once(server) not in {stopped, other}, "another takes its place")
    [ended] = server.events("worker ended, another follows")
    assert (ended["pid"], ended["exit_code"]) == (stopped, 0)


def test_a_worker_that_cannot_start_ends_the_server_with_its_reason(start: Start, tmp_path: Path) -> None:
    (tmp_path / "fail").touch()

    server = start(workers=3)

    assert server.process.wait(60) == 1
    assert server.says() == ""
    assert server.log().count("this worker cannot start") == 1
    assert len(server.pids()) == 1


def test_another_worker_that_cannot_start_ends_the_first(start: Start, tmp_path: Path) -> None:
    server = start(workers=2)
    (tmp_path / "hang").touch()  # the second one, or both
    _wait(server.pids, "a worker is started")
    os.kill(server.pids()[-1], signal.SIGKILL)

    assert server.process.wait(60) == 1
    assert server.says() == ""
    assert all(map(_is_over, server.pids()))


def test_a_stop_while_workers_start_is_no_failure(start: Start, tmp_path: Path) -> None:
    (tmp_path / "hang").touch()
    server = start()
    _wait(server.pids, "a worker is started")

    assert server.end() == 0
    assert server.says() == ""
    assert all(map(_is_over, server.pids()))


def test_a_worker_that_dies_again_and_again_is_replaced_ever_later(
    start: Start, call: Call, tmp_path: Path
) -> None:
    server = start().ready()
    callers = [call(server) for _ in range(2)]
    dying, other = (caller.ask() for caller in callers)

    (tmp_path / "fail").touch()
    os.kill(dying, signal.SIGKILL)
    _wait(lambda: len(server.events("worker ended, another follows")) == 3, "it has died three times")
    assert callers[1].ask() == call(server).ask() == other
    (tmp_path / "fail").unlink()

    _wait(lambda: call(server).ask() != other, "it lives again")
    ends = server.events("worker ended, another follows")
    assert [event["delay_s"] for event in ends][:3] == [0.1, 0.2, 0.4]
    assert server.process.poll() is None


def test_the_delay_has_an_end_and_a_long_life_ends_it() -> None:
    assert _backoff_s(6.4, lived_s=1) == 6.4
    assert _backoff_s(12.8, lived_s=1) == 10
    assert _backoff_s(12.8, lived_s=31) == 0.1


def test_workers_that_the_system_cannot_start_are_tried_again_after_ten_seconds_at_most() -> None:
    async def main() -> None:
        hub = ControlHub()
        acceptor = Acceptor(listen("127.0.0.1", 0))
        pool = _WorkerPool(["/nowhere"], acceptor, hub, MetricsAggregator(hub), stop_s=0)
        with capture_logs() as logs:
            for _ in range(2):
                pool._replace(40)
        acceptor.close()
        hub.close()
        assert [(line["event"], line["delay_s"]) for line in logs] == [("no worker can be started", 10)] * 2

    asyncio.run(main())


def test_workers_outlive_a_killed_supervisor_only_to_finish(start: Start, call: Call) -> None:
    server = start().ready()
    callers = [call(server) for _ in range(3)]
    workers = [caller.ask() for caller in callers]

    server.process.kill()
    server.process.wait(60)

    assert [caller.ask() for caller in callers] == workers
    assert start(workers=1, port=server.port).ready().port == server.port  # although they are still there
    for caller in callers:
        caller.close()
    _wait(lambda: all(map(_is_over, workers)), "no orphan is left")


def test_a_port_that_is_taken_is_one_sentence(start: Start) -> None:
    port = start(workers=1).ready().port

    second = start(workers=1, port=port)

    assert second.process.wait(60) == 1
    assert second.log() == (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another --host or --port\n"
    )


def test_connections_wait_while_there_are_too_many_open_files(start: Start, call: Call) -> None:
    server = start(workers=1).ready()
    pid = server.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    files = {int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir()}
    free = min({*range(len(files) + 1)} - files)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))

    callers = [call(server) for _ in range(3)]
    _wait(lambda: server.events("connections wait"), "the log says so")
    before = _cpu_s(pid)
    time.sleep(0.5)  # in which a loop without a pause would use as much

    assert _cpu_s(pid) - before < 0.1
    assert [event["reason"] for event in server.events("connections wait")] == ["Too many open files"]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert {caller.ask() for caller in callers} == set(server.pids())


def test_the_supervisor_imports_nothing_large() -> None:
    code = (
        "import service.cli, service.workers.supervisor, sys; "
        "print({*sys.modules} & {'grpc', 'numpy', 'uvloop'})"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
