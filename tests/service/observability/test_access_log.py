"""A call is found in a real server's log by its request id, and nothing private is found there."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from service.server.spawn import ServerProcess
from tests.reliability.servers import Server
from tests.service.colours import fragile_model
from tests.service.observability.test_request_context import SPAN_ID, TRACE_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLASSIFY = "/cifar10net.v1.Classifier/Classify"
STREAM = "/cifar10net.v1.Classifier/ClassifyStream"
GOOD = bytes(3072)
BAD = b"\xff" * 3072
KEY = ("authorization", "Bearer sesame-sesame")
TRACE = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-00")
OTHER_TRACE_ID = TRACE_ID[::-1]
OTHER_TRACE = ("traceparent", f"00-{OTHER_TRACE_ID}-{SPAN_ID}-01")


class _Asker:
    """Asks a server, always with a key."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = classifier_pb2_grpc.ClassifierStub(channel)

    def ask(self, pixels: bytes, *metadata: tuple[str, str], top_k: int = 3) -> dict[str, str]:
        """Return the trailing metadata of the answer, and ``code``."""
        request = pb.ClassifyRequest(packed_pixels=pixels, top_k=top_k)
        call = self._stub.Classify.future(request, timeout=30, metadata=(KEY, *metadata))
        call.exception()  # waits
        return self._ending(call)

    def converse(self, *pixels: bytes, metadata: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
        """Likewise, of a stream."""
        requests = [
            pb.ClassifyStreamRequest(request=pb.ClassifyRequest(packed_pixels=each)) for each in pixels
        ]
        call = self._stub.ClassifyStream(iter(requests), timeout=30, metadata=metadata)
        list(call)
        return self._ending(call)

    @staticmethod
    def _ending(call: Any) -> dict[str, str]:
        return {**dict(call.trailing_metadata()), "code": call.code().name}


class _Logged:
    """A server that is asked and whose log is read."""

    def __init__(self, server: Server, channel: grpc.Channel) -> None:
        self.server = server
        asker = _Asker(channel)
        self.ask, self.converse = asker.ask, asker.converse

    def line(self, event: str, **facts: object) -> dict[str, Any]:
        """Wait for the only line of the log that says this; an answer may be out before it."""
        give_up_s = time.monotonic() + 60
        while not (lines := [line for line in self.server.events(event) if facts.items() <= line.items()]):
            assert time.monotonic() < give_up_s, (event, facts, self.server.log())
            time.sleep(0.01)
        [line] = lines
        return line


@contextlib.contextmanager
def _logged(root: Path, log: Path, *arguments: str) -> Iterator[_Logged]:
    server = Server(log, "--models", root, *arguments)
    try:
        server.start()
        with grpc.insecure_channel(server.address) as channel:
            yield _Logged(server, channel)
    finally:
        server.clean_up()


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory, add_model: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("fragile")
    add_model(root, content=fragile_model())
    return root


@pytest.fixture(scope="module")
def logged(fragile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Logged]:
    with _logged(fragile, tmp_path_factory.mktemp("log") / "log", "--log-calls") as logged:
        yield logged


def test_a_good_answer_brings_the_callers_request_id_back(logged: _Logged) -> None:
    told = logged.ask(GOOD, ("x-request-id", "mine 1"), TRACE)

    assert (told["code"], told["x-request-id"]) == ("OK", "mine 1")
    line = logged.line("call", request_id="mine 1")
    assert (line["method"], line["code"], line["images"], line["trace_id"]) == (CLASSIFY, "OK", 1, TRACE_ID)
    assert line["peer"].startswith("127.0.0.1:")
    assert 0 < line["ms"] < 30_000


def test_an_answer_brings_no_request_id_that_nobody_gave(logged: _Logged) -> None:
    assert "x-request-id" not in logged.ask(GOOD, ("x-request-id", "a" * 129), OTHER_TRACE)

    line = logged.line("call", trace_id=OTHER_TRACE_ID)
    assert re.fullmatch("[0-9a-f]{16}", line["request_id"])


def test_calls_are_not_logged_unless_asked_for(fragile: Path, tmp_path: Path) -> None:
    with _logged(fragile, tmp_path / "log") as quiet:
        assert quiet.ask(GOOD, ("x-request-id", "mine"))["x-request-id"] == "mine"

    assert not quiet.server.events("call")


def test_a_refusal_is_found_by_its_request_id(logged: _Logged) -> None:
    told = logged.ask(GOOD, ("x-request-id", "mine 2"), TRACE, top_k=99)

    assert (told["code"], told["x-request-id"]) == ("INVALID_ARGUMENT", "mine 2")
    line = logged.line("call refused", request_id="mine 2")
    assert (line["method"], line["status"]) == (CLASSIFY, "INVALID_ARGUMENT")
    assert line["trace_id"] == TRACE_ID
    assert line["peer"] == logged.line("call", request_id="mine 2")["peer"]


def test_a_failure_is_found_by_the_request_id_that_its_answer_brings(logged: _Logged) -> None:
    told = logged.ask(BAD)

    assert told["code"] == "INTERNAL"
    line = logged.line("call failed", request_id=told["x-request-id"])
    assert (line["method"], line["status"], line["level"]) == (CLASSIFY, "INTERNAL", "error")
    assert line["peer"].startswith("127.0.0.1:")
    assert "out of" in line["exception"][0]["exc_value"]
    assert logged.line("call", request_id=told["x-request-id"])["code"] == "INTERNAL"


def test_a_stream_has_one_line_with_all_its_images_and_keeps_its_request_id(logged: _Logged) -> None:
    told = logged.converse(GOOD, BAD, GOOD * 3, metadata=(("x-request-id", "mine 3"),))

    assert (told["code"], told["x-request-id"]) == ("OK", "mine 3")
    line = logged.line("call", request_id="mine 3")
    assert (line["method"], line["code"], line["images"]) == (STREAM, "OK", 5)
    assert logged.line("call failed", request_id="mine 3")["method"] == STREAM


def test_a_request_for_no_method_is_found_by_its_request_id(logged: _Logged) -> None:
    with grpc.insecure_channel(logged.server.address) as channel:
        nothing: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/no.Such/Method")
        with pytest.raises(grpc.RpcError):
            nothing(b"", timeout=30, metadata=(("x-request-id", "mine 4"), TRACE))

    line = logged.line("request refused", request_id="mine 4", trace_id=TRACE_ID)
    assert "/no.Such/Method" in line["reason"]
    assert line["peer"].startswith("127.0.0.1:")


def test_a_flood_of_failures_is_a_few_lines_that_count_the_rest(fragile: Path, tmp_path: Path) -> None:
    with _logged(fragile, tmp_path / "log") as quiet:
        for _ in range(200):
            assert quiet.ask(BAD)["code"] == "INTERNAL"
        assert quiet.server.stop() == 0

        lines = quiet.server.events("call failed")
        rest = quiet.server.events("call failed, more of the same")
        assert len(quiet.server.log()) < 150
        told = len(lines) + sum(line.get("more_since_the_last_line", 0) for line in lines)
        assert told + sum(line["count"] for line in rest) == 200


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_pixel_and_no_key_gets_into_the_log(fragile: Path, tmp_path: Path, log_format: str) -> None:
    log = tmp_path / "log"
    arguments = ("--models", str(fragile), "--log-calls", "--log-level", "debug", "--log-format", log_format)

    with ServerProcess(*arguments, log=log) as server, grpc.insecure_channel(server.address) as channel:
        asker = _Asker(channel)
        assert asker.ask(BAD)["code"] == "INTERNAL"
        assert asker.ask(GOOD + b"\x01")["code"] == "INVALID_ARGUMENT"
        assert asker.ask(GOOD, ("x-request-id", "mine"))["code"] == "OK"

    text = log.read_text()
    assert all(event in text for event in ("call failed", "call refused", "mine", "InvalidArgument"))
    assert "sesame" not in text
    assert "\\xff" not in text
    assert "255, 255" not in text
