"""Builds the parts of a server from its configuration and connects them.

``service.server.lifecycle`` decides when each of them starts and stops.
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
from service.security.policy import SecurityPolicy
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
    from service.repository import Loaded, OtherWorkers
    from service.rpc.method import Method
    from service.workers.control_client import ControlClient

_FLUSH_S = 3.0  # at shutdown, for sending the last spans to the collector


class Assembly:
    """The parts of one server process; it answers calls once ``open`` has succeeded."""

    def __init__(
        self,
        config: ServerConfig,
        control: ControlClient,
        *,
        is_worker: bool,
        on_closed: Callable[[], None] | None = None,
    ) -> None:
        """Build the parts; called within the event loop.

        Args:
            config: how to serve.
            control: reaches the other workers.
            is_worker: whether there are other workers.
            on_closed: called after each connection has ended.

        Raises:
            StartupError: a configured file cannot be read, or a port cannot be listened on.
        """
        self._config = config
        self._control = control
        self._tracing = None if config.tracing is None else _trace(config.tracing)
        self._telemetry = Telemetry(config, control, is_worker=is_worker)
        self._observer = self._all_observers()
        self.repository = Repository()
        self.repository.join(control)
        self._decoder = Decoder(config.decode_threads, config.limits)
        self._admission = Admission(config.max_pending_images)
        self.health = HealthServicer((CLASSIFIER, INFERENCE))
        self.repository.on_change = lambda: self.health.set_models(self.repository.models())
        self._inference = self._make_inference()
        methods = self._methods()
        policy = _security_policy(config.security, methods)
        self.rpc = RpcServer(
            methods,
            _limits(config),
            _timeouts(config),
            on_closed=on_closed,
            observer=self._observer,
            security=policy,
        )
        self._telemetry.watch(self.rpc, methods, self._admission, self.repository)
        self._following = None if policy is None else _follow(policy, self.rpc)

    async def join(self) -> None:
        """Connect to the other processes, and open the metrics port."""
        await self._control.join()
        await self._inference.sync()
        await self._telemetry.open()

    async def load(self) -> tuple[Loaded, OtherWorkers | None]:
        """Load the versions that the other processes serve, or the configured ones if there are none.

        Raises:
            ModelError, ProviderError: the repository or the provider cannot be used.
        """
        other_workers = await self.repository.other_workers()
        like = () if other_workers is None else (other_workers.versions,)
        return await asyncio.to_thread(load_models, self._config, *like), other_workers

    def open(self, loaded: Loaded, other_workers: OtherWorkers | None) -> None:
        """Serve what was loaded. Raises ModelError if a required model is missing."""
        self.repository.open(loaded, self._config, self._observer, other_workers)
        self.health.set_serving(info.provider for info in self.repository.list())

    async def close(self) -> None:
        """End at once what is still running."""
        if self._following is not None:
            self._following.cancel()
        await self.rpc.close()
        self._decoder.close()
        await self.repository.close()
        await self._telemetry.close()
        await self._control.close()
        if self._tracing is not None:
            await self._tracing.close(min(self._config.grace_s, _FLUSH_S))

    def _all_observers(self) -> Observer:
        """Build only the observers that are configured: each costs every call something."""
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
            self._control,
            is_ready=lambda: self.health.is_serving,
            version=version("cifar10net"),
            statistics=self._telemetry,
        )

    def _methods(self) -> tuple[Method, ...]:
        """Build the stateless servicers and return the methods of all servicers."""
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
    """Start exporting traces. Raises StartupError."""
    # Read when grpc is imported, which only tracing does. Its log has another format than ours, and the
    # exporter reports what goes wrong.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from service.observability.tracing.export import Tracing  # noqa: PLC0415 - needs an extra
    except ImportError as error:
        raise StartupError(
            f"--otlp-endpoint needs the extra otel ({error}): pip install 'cifar10net[otel]'"
        ) from error
    return Tracing(config.endpoint, config.ratio)


def _security_policy(config: SecurityConfig, methods: Iterable[Method]) -> SecurityPolicy | None:
    """Load certificates and API keys. Raises StartupError, and ConfigError for an unknown open service."""
    if config == SecurityConfig():
        return None
    services = {method.path.split("/")[1] for method in methods}
    for name in config.open_services:
        if name not in services:
            raise ConfigError(f"no service is called {name!r}; there are: {', '.join(sorted(services))}")
    return SecurityPolicy(config, always_open=(HEALTH,))


def _follow(policy: SecurityPolicy, server: RpcServer) -> asyncio.Task[None]:
    """Reload certificates and keys when their files change, and at SIGHUP."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, policy.reload)
    return loop.create_task(policy.follow(server))
