"""Publishes what this process counts: to the supervisor, to callers and on the metrics port."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from service.errors import NotServingError
from service.observability.metrics.endpoint import Endpoint
from service.observability.metrics.recorder import BuildInfo, ProcessState, Recorder
from service.observability.metrics.snapshot import (
    CHANGED_METRICS_TOPIC,
    METRICS_TOPIC,
    SERVER_METRICS_TOPIC,
    Snapshot,
)
from service.observability.metrics.totals import totals_of
from service.runtime.model import runtime_version
from service.workers.ipc import IpcError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.batching.admission import Admission
    from service.config import ServerConfig
    from service.observability.metrics.totals import ServerTotals
    from service.repository import Repository
    from service.rpc.method import Method
    from service.rpc.server import RpcServer
    from service.workers.control_client import ControlClient


class Telemetry:
    """The metrics of one server process, and through its supervisor those of the whole server."""

    def __init__(self, config: ServerConfig, control: ControlClient, *, is_worker: bool) -> None:
        """Bind the metrics port, if one is configured; for several workers, their supervisor has it.

        Raises:
            AddressError: the port cannot be listened on.
        """
        build = BuildInfo(
            version=version("cifar10net"), python=platform.python_version(), onnxruntime=runtime_version()
        )
        self.observer = Recorder(build)
        self._control = control
        control.handle(METRICS_TOPIC, self.observer.answer)
        control.handle(CHANGED_METRICS_TOPIC, self.observer.answer_when_changed)
        control.handle(SERVER_METRICS_TOPIC, self.observer.answer)
        port = None if is_worker else config.metrics_port
        self._endpoint = Endpoint(config.metrics_host, port, self.observer.collect)

    def watch(
        self, server: RpcServer, methods: Iterable[Method], admission: Admission, repository: Repository
    ) -> None:
        """Report the gauges of these parts as well, and count calls of these methods."""

        def state() -> ProcessState:
            infos = [] if repository.default is None else repository.list()
            loaded = [(info, repository.get(info.name, str(info.version))) for info in infos]
            return ProcessState(
                admitted_images=admission.images,
                connections=server.connections,
                active_calls=server.calls,
                active_streams=server.streams,
                held_bytes=server.held_bytes,
                loaded=[(info, model.sessions.waiting_images) for info, model in loaded],
            )

        self.observer.watch(state, [method.path for method in methods])

    async def totals(self) -> ServerTotals:
        """Return the totals of the whole server.

        Raises:
            NotServingError: the supervisor does not answer.
        """
        try:
            return totals_of(Snapshot.from_json(await self._control.ask_supervisor(SERVER_METRICS_TOPIC)))
        except IpcError as error:
            raise NotServingError(f"the server's processes cannot be asked: {error}; ask again") from error

    async def open(self) -> None:
        """Start answering on the metrics port."""
        await self._endpoint.open()

    async def close(self) -> None:
        """Close the metrics port."""
        await self._endpoint.close()
