"""What of the protocol a server offers: its methods, and the extensions that work with its flags.

In: the parts of a server. Out: methods. One that needs a flag that was not given says which.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from service.errors import DisabledError
from service.rpc.method import Method
from service.servicers.inference.infer import Inference
from service.servicers.inference.metadata import Metadata
from service.servicers.inference.model_repository import RepositoryControl
from service.servicers.inference.model_statistics import Statistics
from service.servicers.inference.regions import Regions
from service.servicers.inference.shared_memory import SharedMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.batching.admission import Admission
    from service.config import ServerConfig
    from service.observability.observers import Observer
    from service.observability.statistics import StatisticsSource
    from service.repository import Repository
    from service.rpc.context import UnaryContext
    from service.rpc.method import UnaryHandler
    from service.workers.control_client import Intercom

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_ALWAYS = (
    "classification",
    "model_configuration",
    "binary_tensor_data",
    "schedule_policy",
    "parameters",
    "statistics",
)
_MEMORY_OBJECTS = Path("/dev/shm")  # noqa: S108 - where Linux shows them


class InferenceServicer:
    """Answers the Open Inference Protocol."""

    def __init__(  # noqa: PLR0913 - the parts of a server
        self,
        repository: Repository,
        admission: Admission,
        observer: Observer,
        config: ServerConfig,
        intercom: Intercom,
        *,
        is_ready: Callable[[], bool],
        version: str,
        statistics: StatisticsSource,
    ) -> None:
        """Offer what the configuration says.

        Args:
            repository: has the models.
            admission: the door that the callers of all protocols go through.
            observer: is told of each request.
            config: how the models are served.
            intercom: what reaches the other processes.
            is_ready: says whether all models are.
            version: of the server.
            statistics: counts what has become of requests.
        """
        regions = Regions(_MEMORY_OBJECTS) if config.shared_memory else None
        self._shared_memory = SharedMemory(regions, intercom) if regions is not None else None
        self._statistics = Statistics(repository, statistics)
        self._inference = Inference(repository, admission, observer, regions, config.max_call_images)
        self._repository = RepositoryControl(repository)
        self._metadata = Metadata(repository, config, is_ready, version, self._extensions(config))

    def methods(self) -> tuple[Method, ...]:
        """What can be called."""
        return (
            *self._about_server_and_models(),
            Method(f"/{SERVICE_NAME}/ModelInfer", unary=self._inference.infer),
            Method(f"/{SERVICE_NAME}/ModelStreamInfer", stream=self._inference.stream_infer),
            *self._about_repository(),
            *self._about_shared_memory(),
        )

    async def join(self) -> None:
        """Learn what the other processes know; to be called before the first request."""
        if self._shared_memory is not None:
            await self._shared_memory.join()

    def _extensions(self, config: ServerConfig) -> tuple[str, ...]:
        return (
            *_ALWAYS,
            *(("model_repository",) if config.model_control else ()),
            *(("system_shared_memory",) if self._shared_memory is not None else ()),
        )

    def _about_server_and_models(self) -> tuple[Method, ...]:
        about = self._metadata
        return _methods(
            ServerLive=about.server_live,
            ServerReady=about.server_ready,
            ModelReady=about.model_ready,
            ServerMetadata=about.server_metadata,
            ModelMetadata=about.model_metadata,
            ModelConfig=about.model_config,
            ModelStatistics=self._statistics.model_statistics,
        )

    def _about_repository(self) -> tuple[Method, ...]:
        return _methods(
            RepositoryIndex=self._repository.index,
            RepositoryModelLoad=self._repository.load,
            RepositoryModelUnload=self._repository.unload,
        )

    def _about_shared_memory(self) -> tuple[Method, ...]:
        memory = self._shared_memory
        off = _off("shared memory is off; start the server with --shared-memory")
        return _methods(
            SystemSharedMemoryStatus=off if memory is None else memory.status,
            SystemSharedMemoryRegister=off if memory is None else memory.register,
            SystemSharedMemoryUnregister=off if memory is None else memory.unregister,
            CudaSharedMemoryStatus=off if memory is None else memory.cuda_status,
            CudaSharedMemoryUnregister=off if memory is None else memory.cuda_unregister,
        )


def _methods(**handlers: UnaryHandler) -> tuple[Method, ...]:
    return tuple(Method(f"/{SERVICE_NAME}/{name}", unary=handler) for name, handler in handlers.items())


def _off(reason: str) -> UnaryHandler:
    async def refuse(message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG001 - as every handler
        raise DisabledError(reason)

    return refuse
