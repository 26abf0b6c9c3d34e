"""One recorded call: the bytes that a client sent, and what the server answered.

A file of JSON lines, bytes as base64: first the method and the status, then each request, then each answer.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_S = 60


@dataclass(frozen=True)
class Exchange:
    """A call and its answers; messages as they are on the wire."""

    method: str
    """``/package.Service/Method``."""
    is_stream: bool
    requests: tuple[bytes, ...]
    status: str
    """Name of the code that it ended with."""
    answers: tuple[bytes, ...]

    def again(self, channel: grpc.Channel) -> Exchange:
        """Send the same requests and return what is answered now."""
        status, answers = ask(channel, self.method, self.requests, is_stream=self.is_stream)
        return Exchange(self.method, self.is_stream, self.requests, status, answers)

    def write(self, path: Path) -> None:
        """Keep it."""
        head = {"method": self.method, "stream": self.is_stream, "status": self.status}
        lines: list[dict[str, Any]] = [head]
        lines += [{"request": base64.b64encode(each).decode()} for each in self.requests]
        lines += [{"answer": base64.b64encode(each).decode()} for each in self.answers]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read(path: Path) -> Exchange:
    """Read one that was kept."""
    head, *rest = map(json.loads, path.read_text().splitlines())
    return Exchange(
        head["method"],
        head["stream"],
        tuple(base64.b64decode(line["request"]) for line in rest if "request" in line),
        head["status"],
        tuple(base64.b64decode(line["answer"]) for line in rest if "answer" in line),
    )


def ask(
    channel: grpc.Channel, method: str, requests: tuple[bytes, ...], *, is_stream: bool
) -> tuple[str, tuple[bytes, ...]]:
    """Send messages as they are; return how the call ended, and its answers."""
    answers: list[bytes] = []
    # Without functions that make messages of bytes, bytes go as they are.
    stream: Any = channel.stream_stream(method)
    unary: Any = channel.unary_unary(method)
    try:
        if is_stream:
            answers.extend(stream(iter(requests), timeout=DEADLINE_S))
        else:
            answers.append(unary(requests[0], timeout=DEADLINE_S))
    except grpc.RpcError as error:
        return error.code().name, tuple(answers)
    return "OK", tuple(answers)
