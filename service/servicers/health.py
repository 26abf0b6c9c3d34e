"""Service ``grpc.health.v1.Health``: the status of the server and of each model.

"" and the names of services stand for the server as a whole, which keeps serving while models are loaded and
unloaded; the name of a model stands for that model.

Check and List return the active execution providers as trailing metadata, because SERVING alone does not
show that a server meant for a GPU runs on its CPU.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2 as pb

from service.errors import UnknownServiceError
from service.rpc.method import Method
from service.servicers.parsing import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.rpc.context import StreamContext, UnaryContext

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Health"].full_name
PROVIDERS_KEY = "cifar10net-providers"
_Status = pb.HealthCheckResponse


class HealthServicer:
    """The status of every service and model; all services have the same status."""

    def __init__(self, services: Iterable[str]) -> None:
        """Start with NOT_SERVING for ``services`` and for "", the server as a whole."""
        self._services = frozenset({"", *services})
        self._models: dict[str, bool] = {}
        self._status: int = _Status.NOT_SERVING
        self._watchers: set[asyncio.Event] = set()
        self._providers: tuple[str, ...] = ()

    def methods(self) -> tuple[Method, ...]:
        """Return the RPC methods."""
        return (
            Method(f"/{SERVICE_NAME}/Check", unary=self.check),
            Method(f"/{SERVICE_NAME}/List", unary=self.list),
            Method(f"/{SERVICE_NAME}/Watch", stream=self.watch),
        )

    @property
    def is_serving(self) -> bool:
        """Whether the status of the server as a whole is SERVING."""
        return self._status == _Status.SERVING

    def set_serving(self, providers: Iterable[str]) -> None:
        """Set the status to SERVING, by these execution providers."""
        self._providers = tuple(sorted(set(providers)))
        self._status = _Status.SERVING
        self._notify_watchers()

    def set_not_serving(self) -> None:
        """Set the status of everything to NOT_SERVING."""
        self._status = _Status.NOT_SERVING
        self._notify_watchers()

    def set_models(self, models: Mapping[str, bool]) -> None:
        """Replace the models, by name, and whether each is served."""
        if models != self._models:
            self._models = dict(models)
            self._notify_watchers()

    async def check(self, message: bytes, context: UnaryContext) -> bytes:
        """Return the status of one service or model."""
        service = parse(pb.HealthCheckRequest, message).service
        status = self._status_of(service)
        if status == _Status.SERVICE_UNKNOWN:
            raise UnknownServiceError(
                f"no service or model is called {service[:100]!r}; there are '' for the server as a whole, "
                f"and: {', '.join(sorted(self._names - {''}))}"
            )
        context.trailing_metadata = {PROVIDERS_KEY: ",".join(self._providers)}
        return pb.HealthCheckResponse(status=status).SerializeToString()

    async def list(self, message: bytes, context: UnaryContext) -> bytes:
        """Return the status of every service and model."""
        parse(pb.HealthListRequest, message)  # type: ignore[attr-defined] # newer than its types
        context.trailing_metadata = {PROVIDERS_KEY: ",".join(self._providers)}
        statuses = {name: pb.HealthCheckResponse(status=self._status_of(name)) for name in self._names}
        response = pb.HealthListResponse(statuses=statuses)  # type: ignore[attr-defined]
        return bytes(response.SerializeToString())

    async def watch(self, context: StreamContext) -> None:
        """Send the status now and at every change, until the client cancels or the server stops."""
        message = await context.receive()
        service = parse(pb.HealthCheckRequest, message or b"").service
        changed = asyncio.Event()
        context.on_stop = changed.set
        self._watchers.add(changed)
        try:
            await self._send_changes(context, service, changed)
        finally:
            self._watchers.discard(changed)

    async def _send_changes(self, context: StreamContext, service: str, changed: asyncio.Event) -> None:
        sent: int | None = None
        while not context.is_stopping:
            changed.clear()
            status = self._status_of(service)
            if status != sent:
                sent = status
                await context.send(pb.HealthCheckResponse(status=status).SerializeToString())
            await changed.wait()

    @property
    def _names(self) -> set[str]:
        return {*self._services, *self._models}

    def _status_of(self, name: str) -> int:
        if name in self._services:
            return self._status
        is_served = self._models.get(name)
        if is_served is None:
            return _Status.SERVICE_UNKNOWN
        return self._status if is_served else _Status.NOT_SERVING

    def _notify_watchers(self) -> None:
        for changed in self._watchers:
            changed.set()
