"""Made-up calls and requests to be counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import Code
from service.observability.metrics.recorder import BuildInfo, ProcessState, Recorder
from service.observability.observers import Observer, Request
from service.runtime.model import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.observability.timing import ModelRun

ASK = "/test.Test/Ask"
BUILD = BuildInfo(version="1.2", python="3.11", onnxruntime="1.23")


class Call:
    """A call that is over."""

    metadata: Mapping[bytes, bytes] = {}
    context: object = None
    images = 0
    peer = "127.0.0.1:1"
    is_stream = False

    def __init__(self, code: Code = Code.OK, path: str = ASK, began_s: float = 0.0) -> None:
        self.code = code
        self.path = path
        self.began_s = began_s

    def facts(self) -> Mapping[str, str]:
        return {}


def model(version: int = 1, name: str = "colours") -> ModelInfo:
    return ModelInfo(name, version, ("a", "b"), "CPUExecutionProvider", {})


def recorder(*loaded: ModelInfo) -> Recorder:
    """Make one of a process that has loaded these."""
    made = Recorder(BUILD)
    made.watch(lambda: ProcessState(connections=2, loaded=[(info, 3) for info in loaded]), [ASK])
    return made


def request(info: ModelInfo | None, *runs: ModelRun, images: int = 1, code: Code = Code.OK) -> Request:
    """Make one that began at 100 s, was queued at 102, taken at 105 and over at 120."""
    made = Request(Observer(), Call())
    made.model, made.images, made.code = info, images, code
    made.began_s, made.ended_s = 100.0, 120.0
    if runs:
        made.queued_s, made.taken_s = 102.0, 105.0
        made.runs.extend(runs)
    return made
