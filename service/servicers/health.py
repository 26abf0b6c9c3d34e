"""Service ``grpc.health.v1.Health``: whether the server serves, now (Check, List) and from now on (Watch).

Asked about "" or a service, it speaks of the server as a whole, which goes on serving while a model is loaded
or gone; asked about a model by its name, of that one.

Answers carry, as trailing metadata, the execution providers that are active: a server that was to run on a
GPU and does not is not healthy in any way that SERVING alone could show.
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
_Answer = pb.HealthCheckResponse


class HealthServicer:
    """Says of each service and of each model whether it is served; the services change together."""

    def __init__(self, services: Iterable[str]) -> None:
        """Begin with NOT_SERVING; the name "", the server as a whole, is always among them."""
        self._services = frozenset({"", *services})
        self._models: dict[str, bool] = {}
        self._status: int = _Answer.NOT_SERVING
        self._watchers: set[asyncio.Event] = set()
        self._providers: tuple[str, ...] = ()

    def methods(self) -> tuple[Method, ...]:
        """What can be called."""
        return (
            Method(f"/{SERVICE_NAME}/Check", unary=self.check),
            Method(f"/{SERVICE_NAME}/List", unary=self.list),
            Method(f"/{SERVICE_NAME}/Watch", stream=self.watch),
        )

    @property
    def is_serving(self) -> bool:
        """Whether it says SERVING of the server as a whole."""
        return self._status == _Answer.SERVING

    def set_serving(self, providers: Iterable[str]) -> None:
        """Say SERVING from now on, by these execution providers."""
        self._providers = tuple(sorted(set(providers)))
        self._status = _Answer.SERVING
        self._tell_watchers()

    def set_not_serving(self) -> None:
        """Say NOT_SERVING of everything from now on."""
        self._status = _Answer.NOT_SERVING
        self._tell_watchers()

    def set_models(self, models: Mapping[str, bool]) -> None:
        """Say of each of these models, and of no others, whether it answers, while the server serves."""
        if models != self._models:
            self._models = dict(models)
            self._tell_watchers()

    async def check(self, message: bytes, call: UnaryContext) -> bytes:
        """Answer with the status of one service."""
        service = parse(pb.HealthCheckRequest, message).service
        status = self._status_of(service)
        if status == _Answer.SERVICE_UNKNOWN:
            raise UnknownServiceError(
                f"no service or model is called {service[:100]!r}; there are '' for the server as a whole, "
                f"and: {', '.join(sorted(self._names - {''}))}"
            )
        call.trailing_metadata = {PROVIDERS_KEY: ",".join(self._providers)}
        return pb.HealthCheckResponse(status=status).SerializeToString()

    async def list(self, message: bytes, call: UnaryContext) -> bytes:
        """Answer with the status of every service and model."""
        parse(pb.HealthListRequest, message)  # type: ignore[attr-defined] # newer than its types
        call.trailing_metadata = {PROVIDERS_KEY: ",".join(self._providers)}
        statuses = {name: pb.HealthCheckResponse(status=self._status_of(name)) for name in self._names}
        response = pb.HealthListResponse(statuses=statuses)  # type: ignore[attr-defined]
        answer: bytes = response.SerializeToString()
        return answer

    async def watch(self, call: StreamContext) -> None:
        """Send the status now and at every change, until the client or the server has enough."""
        message = await call.receive()
        service = parse(pb.HealthCheckRequest, message or b"").service
        changed = asyncio.Event()
        call.on_stop = changed.set
        self._watchers.add(changed)
        try:
            await self._send_changes(call, service, changed)
        finally:
            self._watchers.discard(changed)

    async def _send_changes(self, call: StreamContext, service: str, changed: asyncio.Event) -> None:
        sent: int | None = None
        while not call.is_stopping:
            changed.clear()
            status = self._status_of(service)
            if status != sent:
                sent = status
                await call.send(pb.HealthCheckResponse(status=status).SerializeToString())
            await changed.wait()

    @property
    def _names(self) -> set[str]:
        return {*self._services, *self._models}

    def _status_of(self, name: str) -> int:
        if name in self._services:
            return self._status
        is_answering = self._models.get(name)
        if is_answering is None:
            return _Answer.SERVICE_UNKNOWN
        return self._status if is_answering else _Answer.NOT_SERVING

    def _tell_watchers(self) -> None:
        for changed in self._watchers:
            changed.set()
