"""Where traces go: to a collector, in a thread of its own, by OTLP over gRPC.

In: the address of a collector. Out: an observer that traces. Spans wait in a bounded queue, of which the
oldest are lost first; calls never wait for the collector. OpenTelemetry's own settings hold
(``OTEL_EXPORTER_OTLP_*``, ``OTEL_BSP_*``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_SERVICE_NAME``,
``OTEL_SPAN_*``), but for its samplers: who is traced is decided before OpenTelemetry is asked.
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
_SAY_EVERY_S = 60.0
_LAST_S = 1.0  # for an export that was told to give up
_log = structlog.get_logger(__name__)


class Tracing:
    """Traces of this process; to be closed when no more calls come."""

    def __init__(self, endpoint: str, ratio: float) -> None:
        """Begin to export.

        Args:
            endpoint: of the collector, ``http://HOST:PORT``, or https.
            ratio: share of the calls that are traced, of those whose callers do not say.

        Raises:
            StartupError: a setting of OpenTelemetry in the environment makes no sense.
        """
        sdk_log = logging.getLogger(_SDK)
        sdk_log.propagate = False
        self._handler = LibraryLog("tracing is in trouble", _SAY_EVERY_S)
        sdk_log.addHandler(self._handler)
        try:
            self._exporter = OTLPSpanExporter(endpoint)
            self._provider = TracerProvider(ALWAYS_ON, _resource(), shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        except Exception as error:  # its own kinds have no other base
            raise StartupError(f"tracing cannot start, for a setting OTEL_...: {error}") from error
        self.observer = CallTracer(self._provider.get_tracer("cifar10net", version("cifar10net")), ratio)

    async def close(self, timeout_s: float) -> None:
        """Export what waits, for as long as that may take."""
        self.observer.close()
        loop = asyncio.get_running_loop()
        is_over = asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            loop.call_soon_threadsafe(is_over.set)

        # A daemon, unlike those of asyncio.to_thread: it must not hold up the end of the process.
        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(timeout_s):
                await is_over.wait()
        except TimeoutError:
            _log.warning("last spans lost", timeout_s=timeout_s)
            self._handler.is_silent = True
            self._exporter.shutdown()
            await asyncio.wait([asyncio.ensure_future(is_over.wait())], timeout=_LAST_S)


def _resource() -> Resource:
    """Say which process this is; the environment may say otherwise."""
    ours = {
        "service.name": "cifar10net",
        "service.version": version("cifar10net"),
        "service.instance.id": str(uuid.uuid4()),
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())
