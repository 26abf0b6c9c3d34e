"""Exports traces to a collector by OTLP over gRPC, in a thread of its own.

Spans wait in a bounded queue that drops the oldest; calls never wait for the collector. OpenTelemetry's
environment variables apply (``OTEL_EXPORTER_OTLP_*``, ``OTEL_BSP_*``, ``OTEL_RESOURCE_ATTRIBUTES``,
``OTEL_SERVICE_NAME``, ``OTEL_SPAN_*``) except those for samplers: sampling is decided in ``tracer``.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from importlib.metadata import version

import structlog
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from service.errors import StartupError
from service.observability.logs import LibraryLog
from service.observability.tracing.tracer import CallTracer

_SDK = "opentelemetry"
_LOG_EVERY_S = 60.0
_ABORT_S = 1.0  # for an aborted export to end
_log = structlog.get_logger(__name__)


class Tracing:
    """Tracing of this process; to be closed after the last call."""

    def __init__(self, endpoint: str, ratio: float) -> None:
        """Start exporting.

        Args:
            endpoint: URL of the collector, ``http://HOST:PORT``, or https.
            ratio: share of calls to sample, 0 to 1, among those without a ``traceparent``.

        Raises:
            StartupError: an environment variable of OpenTelemetry is invalid.
        """
        sdk_log = logging.getLogger(_SDK)
        sdk_log.propagate = False
        self._handler = LibraryLog("tracing is in trouble", _LOG_EVERY_S)
        sdk_log.addHandler(self._handler)
        try:
            self._exporter = OTLPSpanExporter(endpoint)
            self._provider = TracerProvider(ALWAYS_ON, _resource(), shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        except Exception as error:  # its errors have no other common base
            raise StartupError(f"tracing cannot start; check the variables OTEL_...: {error}") from error
        self.observer = CallTracer(self._provider.get_tracer("cifar10net", version("cifar10net")), ratio)

    async def close(self, timeout_s: float) -> None:
        """Export the waiting spans, for ``timeout_s`` seconds at most."""
        self.observer.close()
        loop = asyncio.get_running_loop()
        is_over = asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            loop.call_soon_threadsafe(is_over.set)

        # A daemon, unlike the threads of asyncio.to_thread: it must not delay the end of the process.
        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(timeout_s):
                await is_over.wait()
        except TimeoutError:
            _log.warning("last spans lost", timeout_s=timeout_s)
            self._handler.is_silent = True
            self._exporter.shutdown()
            await asyncio.wait([asyncio.ensure_future(is_over.wait())], timeout=_ABORT_S)


def _resource() -> Resource:
    """Return the attributes of this process; the environment's take precedence."""
    ours = {
        "service.name": "cifar10net",
        "service.version": version("cifar10net"),
        "service.instance.id": str(uuid.uuid4()),
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())
