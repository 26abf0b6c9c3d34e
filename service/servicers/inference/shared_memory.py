"""``SystemSharedMemory…``: the same regions in every process of the server, whichever was asked.

In: the name of a region and where it is. Out: every process knows it, or none; one that starts later learns
of it from the others. CUDA memory has none, which is an answer too. Knows nothing of what is in a region.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog

from cifar10net.pb import inference_pb2 as pb
from service.errors import NotServingError, ServiceError
from service.servicers.inference.regions import Region, check_name
from service.servicers.parsing import parse
from service.workers.control_client import Failure
from service.workers.ipc import LineError

if TYPE_CHECKING:
    from service.rpc.context import UnaryContext
    from service.servicers.inference.regions import Regions
    from service.workers.control_client import Intercom

_ADD, _DROP, _TELL = (f"shared_memory.{each}" for each in ("add", "drop", "tell"))
_log = structlog.get_logger(__name__)


class SharedMemory:
    """One in every process of the server."""

    def __init__(self, regions: Regions, intercom: Intercom) -> None:
        """Keep ``regions`` as the other processes keep theirs, from when the intercom joins them."""
        self._regions = regions
        self._intercom = intercom
        self._dropped: set[str] | None = None
        """What the others have forgotten while this process asks what they know."""
        intercom.answer(_ADD, self._add)
        intercom.answer(_DROP, self._drop)
        intercom.answer(_TELL, self._tell)

    async def join(self) -> None:
        """Learn the regions that the other processes know."""
        self._dropped = set()
        for answer in await self._intercom.ask_peers(_TELL):
            for region in [] if isinstance(answer, Failure) else [Region(**each) for each in answer]:
                if not self._dropped & {"", region.name}:
                    self._catch_up(region)
        self._dropped = None

    async def status(self, message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG002 - as every handler
        """Answer as the proto says."""
        name = parse(pb.SystemSharedMemoryStatusRequest, message).name
        regions = [self._regions.find(name)] if name else self._regions.known()
        kind = pb.SystemSharedMemoryStatusResponse.RegionStatus
        return pb.SystemSharedMemoryStatusResponse(
            regions={
                region.name: kind(
                    name=region.name, key=region.key, offset=region.offset, byte_size=region.size
                )
                for region in regions
            }
        ).SerializeToString()

    async def register(self, message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG002
        """Answer as the proto says."""
        request = parse(pb.SystemSharedMemoryRegisterRequest, message)
        region = Region(request.name, request.key, request.offset, request.byte_size)
        self._regions.add(region)
        refusals = [
            answer for answer in await self._intercom.ask_peers(_ADD, asdict(region)) if answer is not None
        ]
        if refusals:
            await self._intercom.ask_all(_DROP, [region.name, region.ticket])
            raise _not_everywhere("registered", refusals)
        return pb.SystemSharedMemoryRegisterResponse().SerializeToString()

    async def unregister(self, message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG002
        """Answer as the proto says."""
        name = parse(pb.SystemSharedMemoryUnregisterRequest, message).name
        if name:  # else all of them
            check_name(name)
        refusals = [
            answer for answer in await self._intercom.ask_all(_DROP, [name, None]) if answer is not None
        ]
        if refusals:
            raise _not_everywhere("unregistered", refusals)
        return pb.SystemSharedMemoryUnregisterResponse().SerializeToString()

    async def cuda_status(self, message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG002
        """Answer as the proto says."""
        parse(pb.CudaSharedMemoryStatusRequest, message)
        return pb.CudaSharedMemoryStatusResponse().SerializeToString()

    async def cuda_unregister(self, message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG002
        """Answer as the proto says."""
        parse(pb.CudaSharedMemoryUnregisterRequest, message)
        return pb.CudaSharedMemoryUnregisterResponse().SerializeToString()

    def _catch_up(self, region: Region) -> None:
        """Know a region that the others know, unless they have told of it themselves meanwhile."""
        if region in self._regions.known():
            return
        try:
            self._regions.add(region)
        except ServiceError as error:  # its object is gone, as far as names go: the others still have it open
            _log.warning("shared memory region missing", region=region.name, reason=str(error))

    async def _add(self, body: Any) -> None:  # noqa: ANN401 - JSON
        try:
            self._regions.add(Region(**body))
        except ServiceError as error:
            raise LineError(str(error)) from error

    async def _drop(self, body: Any) -> None:  # noqa: ANN401
        name, ticket = body
        if self._dropped is not None:
            self._dropped.add(name)
        self._regions.drop(name, ticket)

    async def _tell(self, _: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        return [asdict(region) for region in self._regions.known()]


def _not_everywhere(done: str, refusals: list[Any]) -> ServiceError:
    reasons = "; ".join(sorted({each.reason for each in refusals}))
    return NotServingError(f"the region could not be {done} in every process of the server: {reasons}")
