"""Publishes what this process counts: to the supervisor, to callers and on the metrics port."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from service.errors import NotServingError
from service.observability.metrics.endpoint import Endpoint
from service.observability.metrics.recorder import Build, Recorder, State
from service.observability.metrics.snapshot import METRICS_TOPIC, NEWS_TOPIC, TOTALS_TOPIC, Snapshot
from service.observability.metrics.totals import totals_of
from service.runtime.model import runtime_version
from service.workers.ipc import LineError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.batching.admission import Admission
    from service.config import ServerConfig
    from service.observability.statistics import Totals
    from service.repository import Repository
    from service.rpc.method import Method
    from service.rpc.server import RpcServer
    from service.workers.control_client import Intercom


class Telemetry:
    """The metrics of one server process, and through its supervisor those of the whole server."""

    def __init__(self, config: ServerConfig, intercom: Intercom, *, is_worker: bool) -> None:
        """Bind the metrics port, if one is configured; for several workers, their supervisor has it.

        Raises:
            AddressError: the port cannot be listened on.
        """
        build = Build(
            version=version("cifar10net"), python=platform.python_version(), onnxruntime=runtime_version()
        )
        self.observer = Recorder(build)
        self._intercom = intercom
        intercom.answer(METRICS_TOPIC, self.observer.answer)
        intercom.answer(NEWS_TOPIC, self.observer.answer_news)
        intercom.answer(TOTALS_TOPIC, self.observer.answer)
        port = None if is_worker else config.metrics_port
        self._endpoint = Endpoint(config.metrics_host, port, self.observer.collect)

    def watch(
        self, server: RpcServer, methods: Iterable[Method], admission: Admission, repository: Repository
    ) -> None:
        """Report the gauges of these parts as well, and count calls of these methods."""

        def state() -> State:
            infos = [] if repository.default is None else repository.list()
            loaded = [(info, repository.get(info.name, str(info.version))) for info in infos]
            return State(
                admitted_images=admission.images,
                connections=server.connections,
                active_calls=server.calls,
                active_streams=server.streams,
                held_bytes=server.held_bytes,
                loaded=[(info, model.sessions.waiting_images) for info, model in loaded],
            )

        self.observer.watch(state, [method.path for method in methods])

    async def snapshot(self) -> Snapshot:
        """Return the metrics of the whole server.

        Raises:
            NotServingError: the supervisor does not answer.
        """
        try:
            return Snapshot.of_json(await self._intercom.ask_supervisor(TOTALS_TOPIC))
        except LineError as error:
            raise NotServingError(f"the server's processes cannot be asked: {error}; ask again") from error

    async def totals(self) -> Totals:
        """Return the totals of requests by version. Raises NotServingError."""
        return totals_of((await self.snapshot()).kept)

    async def open(self) -> None:
        """Start answering on the metrics port."""
        await self._endpoint.open()

    async def close(self) -> None:
        """Close the metrics port."""
        await self._endpoint.close()
