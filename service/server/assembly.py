"""The parts of a server, made as its configuration says and fitted together.

In: a configuration, and what connects this process to others. Out: parts that are ready to be used in the
order of a server's life, and let go of in the reverse one. Knows nothing of signals or of when what happens.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
from importlib.metadata import version
from typing import TYPE_CHECKING

from cifar10net.errors import ConfigError
from service.batching.admission import Admission
from service.config import SecurityConfig, ServerConfig
from service.errors import StartupError
from service.http2.timeouts import Timeouts
from service.observability.access_log import AccessLog
from service.observability.observers import Observer, all_of
from service.repository import Repository, load_models
from service.rpc.server import RpcLimits, RpcServer
from service.security.policy import Protection
from service.server.telemetry import Telemetry
from service.servicers.classifier import SERVICE_NAME as CLASSIFIER
from service.servicers.classifier import ClassifierServicer
from service.servicers.decoding import Decoder
from service.servicers.health import SERVICE_NAME as HEALTH
from service.servicers.health import HealthServicer
from service.servicers.inference.service import SERVICE_NAME as INFERENCE
from service.servicers.inference.service import InferenceServicer
from service.servicers.reflection import ReflectionServicer
from service.servicers.server_statistics import StatisticsServicer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.config import TracingConfig
    from service.observability.tracing.export import Tracing
    from service.repository import Elsewhere, Loaded
    from service.rpc.method import Method
    from service.workers.control_client import Intercom

_LAST_SPANS_S = 3.0  # for a collector that does not take what is left in the end


class Assembly:
    """A server that can be called once ``open`` has succeeded."""

    def __init__(
        self,
        config: ServerConfig,
        intercom: Intercom,
        *,
        is_worker: bool,
        on_closed: Callable[[], None] | None = None,
    ) -> None:
        """Make the parts; called within the event loop.

        Args:
            config: how to serve.
            intercom: what reaches the other workers.
            is_worker: whether there are others.
            on_closed: is told of each connection that has ended.

        Raises:
            StartupError: a file of the configuration cannot be read, or a port not be listened on.
        """
        self._config = config
        self._intercom = intercom
        self._tracing = None if config.tracing is None else _trace(config.tracing)
        self._telemetry = Telemetry(config, intercom, is_worker=is_worker)
        self._observer = self._all_observers()
        self.repository = Repository()
        self.repository.join(intercom)
        self._decoder = Decoder(config.decode_threads, config.limits)
        self._admission = Admission(config.max_pending_images)
        self.health = HealthServicer((CLASSIFIER, INFERENCE))
        self.repository.on_change = lambda: self.health.set_models(self.repository.models())
        self._inference = self._make_inference()
        methods = self._methods()
        protection = _protection(config.security, methods)
        self.rpc = RpcServer(
            methods,
            _limits(config),
            _timeouts(config),
            on_closed=on_closed,
            observer=self._observer,
            security=protection,
        )
        self._telemetry.watch(self.rpc, methods, self._admission, self.repository)
        self._following = None if protection is None else _follow(protection, self.rpc)

    async def join(self) -> None:
        """Take part in what the server's processes tell each other and the world."""
        await self._intercom.join()
        await self._inference.sync()
        await self._telemetry.open()

    async def load(self) -> tuple[Loaded, Elsewhere | None]:
        """Load what the other processes answer with, if there are any, else what is configured.

        Raises:
            ModelError, ProviderError: the repository or the provider cannot be used.
        """
        elsewhere = await self.repository.elsewhere()
        like = () if elsewhere is None else (elsewhere.versions,)
        return await asyncio.to_thread(load_models, self._config, *like), elsewhere

    def open(self, loaded: Loaded, elsewhere: Elsewhere | None) -> None:
        """Answer with what was loaded. Raises ModelError if that is not enough."""
        self.repository.open(loaded, self._config, self._observer, elsewhere)
        self.health.set_serving(info.provider for info in self.repository.list())

    async def close(self) -> None:
        """End at once whatever is left."""
        if self._following is not None:
            self._following.cancel()
        await self.rpc.close()
        self._decoder.close()
        await self.repository.close()
        await self._telemetry.close()
        await self._intercom.close()
        if self._tracing is not None:
            await self._tracing.close(min(self._config.grace_s, _LAST_SPANS_S))

    def _all_observers(self) -> Observer:
        """Make what is asked for, and nothing that would cost calls without a use."""
        observers: list[Observer] = [self._telemetry.observer]
        if self._config.log_calls:
            observers.append(AccessLog())
        if self._tracing is not None:
            observers.append(self._tracing.observer)
        return all_of(observers)

    def _make_inference(self) -> InferenceServicer:
        return InferenceServicer(
            self.repository,
            self._admission,
            self._observer,
            self._config,
            self._intercom,
            is_ready=lambda: self.health.is_serving,
            version=version("cifar10net"),
            statistics=self._telemetry,
        )

    def _methods(self) -> tuple[Method, ...]:
        """Make the servicers that nobody but their callers needs; what can be called, of all of them."""
        classifier = ClassifierServicer(
            self.repository, self._admission, self._decoder, self._observer, self._config.max_call_images
        )
        statistics = StatisticsServicer(self._telemetry)
        reflection = ReflectionServicer((CLASSIFIER, INFERENCE, HEALTH))
        servicers = (classifier, statistics, self._inference, self.health, reflection)
        return tuple(method for servicer in servicers for method in servicer.methods())


def _limits(config: ServerConfig) -> RpcLimits:
    return RpcLimits(
        max_message_bytes=config.max_message_mib << 20,
        max_held_bytes=config.max_pending_mib << 20,
        max_connections=config.max_connections,
        max_streams=config.max_streams,
        decompression_threads=config.decode_threads,
    )


def _timeouts(config: ServerConfig) -> Timeouts:
    return Timeouts(
        max_age_s=config.max_connection_age_s or math.inf,
        max_idle_s=config.max_connection_idle_s or math.inf,
        grace_s=config.grace_s,
        min_ping_interval_s=config.min_ping_interval_s,
    )


def _trace(config: TracingConfig) -> Tracing:
    """Begin to export traces. Raises StartupError."""
    # Read when grpc is imported, which nothing else here does: its log is not in our format, and the exporter
    # tells what goes wrong.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from service.observability.tracing.export import Tracing  # noqa: PLC0415 - an extra that others need not have
    except ImportError as error:
        raise StartupError(
            f"--otlp-endpoint needs the extra otel ({error}): pip install 'cifar10net[otel]'"
        ) from error
    return Tracing(config.endpoint, config.ratio)


def _protection(config: SecurityConfig, methods: Iterable[Method]) -> Protection | None:
    """Load what keeps others out. Raises StartupError."""
    if config == SecurityConfig():
        return None
    services = {method.path.split("/")[1] for method in methods}
    for name in config.open_services:
        if name not in services:
            raise ConfigError(f"no service is called {name!r}; there are: {', '.join(sorted(services))}")
    return Protection(config, always_open=(HEALTH,))


def _follow(protection: Protection, server: RpcServer) -> asyncio.Task[None]:
    """Have certificates and keys read anew when they change, and at SIGHUP."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, protection.reload)
    return loop.create_task(protection.follow(server))
