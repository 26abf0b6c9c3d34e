"""Service ``inference.GRPCInferenceService``: its methods, and the extensions that flags enable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from service.errors import DisabledError
from service.rpc.method import Method
from service.servicers.inference.infer import InferHandlers
from service.servicers.inference.metadata import MetadataHandlers
from service.servicers.inference.model_repository import ModelRepositoryHandlers
from service.servicers.inference.model_statistics import Statistics
from service.servicers.inference.regions import RegionRegistry
from service.servicers.inference.shared_memory import SharedMemoryHandlers

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.batching.admission import Admission
    from service.config import ServerConfig
    from service.observability.metrics.totals import TotalsSource
    from service.observability.observers import Observer
    from service.repository import Repository
    from service.rpc.context import UnaryContext
    from service.rpc.method import UnaryHandler
    from service.workers.control_client import ControlClient

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_ALWAYS_ENABLED = (
    "classification",
    "model_configuration",
    "binary_tensor_data",
    "schedule_policy",
    "parameters",
    "statistics",
)
_MEMORY_OBJECTS = Path("/dev/shm")  # noqa: S108 - where Linux has POSIX shared memory


class InferenceServicer:
    """All RPCs of the Open Inference Protocol; those that a flag would enable are refused without it."""

    def __init__(  # noqa: PLR0913 - the parts of a server
        self,
        repository: Repository,
        admission: Admission,
        observer: Observer,
        config: ServerConfig,
        control: ControlClient,
        *,
        is_ready: Callable[[], bool],
        version: str,
        statistics: TotalsSource,
    ) -> None:
        """Serve a repository and notify ``observer`` of each request.

        All protocols share ``admission``, so that its limit is the server's. ``control`` reaches the other
        worker processes; ``version`` is the server's.
        """
        regions = RegionRegistry(_MEMORY_OBJECTS) if config.shared_memory else None
        self._shared_memory = SharedMemoryHandlers(regions, control) if regions is not None else None
        self._statistics = Statistics(repository, statistics)
        self._infer = InferHandlers(repository, admission, observer, regions, config.max_call_images)
        self._repository = ModelRepositoryHandlers(repository)
        extensions = [*_ALWAYS_ENABLED]
        if config.model_control:
            extensions.append("model_repository")
        if config.shared_memory:
            extensions.append("system_shared_memory")
        self._metadata = MetadataHandlers(repository, config, is_ready, version, extensions)

    def methods(self) -> tuple[Method, ...]:
        """Return the RPC methods."""
        unary = {
            "ServerLive": self._metadata.server_live,
            "ServerReady": self._metadata.server_ready,
            "ModelReady": self._metadata.model_ready,
            "ServerMetadata": self._metadata.server_metadata,
            "ModelMetadata": self._metadata.model_metadata,
            "ModelConfig": self._metadata.model_config,
            "ModelStatistics": self._statistics.model_statistics,
            "ModelInfer": self._infer.infer,
            "RepositoryIndex": self._repository.index,
            "RepositoryModelLoad": self._repository.load,
            "RepositoryModelUnload": self._repository.unload,
            **self._shared_memory_methods(),
        }
        return (
            *(Method(f"/{SERVICE_NAME}/{name}", unary=handler) for name, handler in unary.items()),
            Method(f"/{SERVICE_NAME}/ModelStreamInfer", stream=self._infer.stream_infer),
        )

    async def sync(self) -> None:
        """Copy the state of the other workers; call it before the first request."""
        if self._shared_memory is not None:
            await self._shared_memory.sync()

    def _shared_memory_methods(self) -> dict[str, UnaryHandler]:
        memory = self._shared_memory
        return {
            "SystemSharedMemoryStatus": memory.status if memory else _refuse_shared_memory,
            "SystemSharedMemoryRegister": memory.register if memory else _refuse_shared_memory,
            "SystemSharedMemoryUnregister": memory.unregister if memory else _refuse_shared_memory,
            "CudaSharedMemoryStatus": memory.cuda_status if memory else _refuse_shared_memory,
            "CudaSharedMemoryUnregister": memory.cuda_unregister if memory else _refuse_shared_memory,
        }


async def _refuse_shared_memory(message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG001 - as every handler
    raise DisabledError("shared memory is off; start the server with --shared-memory")
