"""``SystemSharedMemory…`` and ``CudaSharedMemory…``: register regions in every worker process, or in none.

A client's connections may reach any worker, so all of them must know the same regions. A worker that starts
later copies them from the others.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog

from cifar10net.pb import inference_pb2 as pb
from service.errors import NotServingError, ServiceError
from service.servicers.inference.regions import Region, check_name
from service.servicers.parsing import parse
from service.workers.control_client import NoAnswer
from service.workers.ipc import IpcError

if TYPE_CHECKING:
    from service.rpc.context import UnaryContext
    from service.servicers.inference.regions import RegionRegistry
    from service.workers.control_client import ControlClient

_ADD, _REMOVE, _LIST = (f"shared_memory.{each}" for each in ("add", "remove", "list"))
_log = structlog.get_logger(__name__)


class SharedMemoryHandlers:
    """RPCs that list, register and unregister regions; each worker process has one instance."""

    def __init__(self, regions: RegionRegistry, control: ControlClient) -> None:
        """Keep ``regions`` equal to those of the other workers."""
        self._regions = regions
        self._control = control
        self._removed_during_sync: set[str] | None = None
        control.handle(_ADD, self._add)
        control.handle(_REMOVE, self._remove)
        control.handle(_LIST, self._list)

    async def sync(self) -> None:
        """Copy the regions that the other workers have."""
        self._removed_during_sync = set()
        for answer in await self._control.ask_peers(_LIST):
            for region in [] if isinstance(answer, NoAnswer) else [Region(**each) for each in answer]:
                if not self._removed_during_sync & {"", region.name}:
                    self._copy(region)
        self._removed_during_sync = None

    async def status(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002 - as every handler
        """List one region or all."""
        name = parse(pb.SystemSharedMemoryStatusRequest, message).name
        regions = [self._regions.get(name)] if name else self._regions.list()
        kind = pb.SystemSharedMemoryStatusResponse.RegionStatus
        return pb.SystemSharedMemoryStatusResponse(
            regions={
                region.name: kind(
                    name=region.name, key=region.key, offset=region.offset, byte_size=region.size
                )
                for region in regions
            }
        ).SerializeToString()

    async def register(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Register a region in every worker; in none if one of them cannot."""
        request = parse(pb.SystemSharedMemoryRegisterRequest, message)
        region = Region(request.name, request.key, request.offset, request.byte_size)
        self._regions.add(region)
        failures = [
            answer for answer in await self._control.ask_peers(_ADD, asdict(region)) if answer is not None
        ]
        if failures:
            await self._control.ask_all(_REMOVE, [region.name, region.registration_id])
            raise _not_in_every_worker("registered", failures)
        return pb.SystemSharedMemoryRegisterResponse().SerializeToString()

    async def unregister(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Unregister a region, or all, in every worker."""
        name = parse(pb.SystemSharedMemoryUnregisterRequest, message).name
        if name:  # else all of them
            check_name(name)
        failures = [
            answer for answer in await self._control.ask_all(_REMOVE, [name, None]) if answer is not None
        ]
        if failures:
            raise _not_in_every_worker("unregistered", failures)
        return pb.SystemSharedMemoryUnregisterResponse().SerializeToString()

    async def cuda_status(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Return no region: CUDA shared memory is not supported."""
        parse(pb.CudaSharedMemoryStatusRequest, message)
        return pb.CudaSharedMemoryStatusResponse().SerializeToString()

    async def cuda_unregister(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Do nothing: clients begin by unregistering all regions."""
        parse(pb.CudaSharedMemoryUnregisterRequest, message)
        return pb.CudaSharedMemoryUnregisterResponse().SerializeToString()

    def _copy(self, region: Region) -> None:
        if region in self._regions.list():  # another worker has sent it since
            return
        try:
            self._regions.add(region)
        except ServiceError as error:  # its object is unlinked: the other workers still have it open
            _log.warning("shared memory region missing", region=region.name, reason=str(error))

    async def _add(self, body: Any) -> None:  # noqa: ANN401 - JSON
        try:
            self._regions.add(Region(**body))
        except ServiceError as error:
            raise IpcError(str(error)) from error

    async def _remove(self, body: Any) -> None:  # noqa: ANN401
        name, registration_id = body
        if self._removed_during_sync is not None:
            self._removed_during_sync.add(name)
        self._regions.remove(name, registration_id)

    async def _list(self, _: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        return [asdict(region) for region in self._regions.list()]


def _not_in_every_worker(done: str, failures: list[Any]) -> ServiceError:
    reasons = "; ".join(sorted({each.reason for each in failures}))
    return NotServingError(f"the region could not be {done} in every worker process of the server: {reasons}")
