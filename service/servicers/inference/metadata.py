"""``ServerLive``, ``ServerReady``, ``ServerMetadata``, ``ModelReady``, ``ModelMetadata``, ``ModelConfig``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from service.errors import NotServingError, UnknownModelError
from service.repository.folder import MODEL_NAME
from service.runtime.providers import ON_DEVICE
from service.servicers.inference import outputs, tensors
from service.servicers.inference.requests import required_name
from service.servicers.parsing import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.config import ServerConfig
    from service.repository import Repository
    from service.rpc.context import UnaryContext
    from service.runtime.model import ModelInfo
    from service.version_policy import VersionPolicy

SERVER_NAME = "cifar10net"
PLATFORM = "onnxruntime_onnx"
_BACKEND = "onnxruntime"
_LABELS_NAME = "labels.txt"
_PRIORITY_LEVELS = 2


class MetadataHandlers:
    """RPCs that describe the server and each model."""

    def __init__(
        self,
        repository: Repository,
        config: ServerConfig,
        is_ready: Callable[[], bool],
        version: str,
        extensions: Sequence[str],
    ) -> None:
        """Describe a server of a ``version``, with the ``extensions`` that it has enabled."""
        self._repository = repository
        self._config = config
        self._is_ready = is_ready
        self._server = pb.ServerMetadataResponse(
            name=SERVER_NAME, version=version, extensions=extensions
        ).SerializeToString()

    async def server_live(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002 - as every handler
        """Return true."""
        parse(pb.ServerLiveRequest, message)
        return pb.ServerLiveResponse(live=True).SerializeToString()

    async def server_ready(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Return whether the server accepts requests for its models."""
        parse(pb.ServerReadyRequest, message)
        return pb.ServerReadyResponse(ready=self._is_ready()).SerializeToString()

    async def model_ready(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Return whether a model is served; one that does not exist is not ready."""
        request = parse(pb.ModelReadyRequest, message)
        try:
            self._repository.get(required_name(request.name), request.version)
        except (UnknownModelError, NotServingError):
            return pb.ModelReadyResponse(ready=False).SerializeToString()
        return pb.ModelReadyResponse(ready=True).SerializeToString()

    async def server_metadata(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Return the server's name, version and enabled extensions."""
        parse(pb.ServerMetadataRequest, message)
        return self._server

    async def model_metadata(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Return a model's versions and tensors."""
        request = parse(pb.ModelMetadataRequest, message)
        info = self._repository.get(required_name(request.name), request.version).info
        kind = pb.ModelMetadataResponse.TensorMetadata
        versions = sorted(each.version for each in self._repository.list() if each.name == info.name)
        return pb.ModelMetadataResponse(
            name=info.name,
            versions=map(str, versions),
            platform=PLATFORM,
            inputs=[kind(name=info.input_name, datatype=tensors.DATATYPE, shape=[-1, *tensors.IMAGE_SHAPE])],
            outputs=[kind(name=info.output_name, datatype=outputs.DATATYPE, shape=[-1, len(info.labels)])],
        ).SerializeToString()

    async def model_config(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Return how a model is served."""
        request = parse(pb.ModelConfigRequest, message)
        info = self._repository.get(required_name(request.name), request.version).info
        return pb.ModelConfigResponse(config=describe(info, self._config)).SerializeToString()


def describe(info: ModelInfo, config: ServerConfig) -> pb.ModelConfig:
    """Build the configuration of a model."""
    labels_file = config.models / info.name / _LABELS_NAME
    facts = {**info.metadata, "labels": ",".join(info.labels)}
    return pb.ModelConfig(
        name=info.name,
        platform=PLATFORM,
        backend=_BACKEND,
        version_policy=_versions(config.versions.of(info.name)),
        max_batch_size=config.max_call_images,
        input=[
            pb.ModelInput(
                name=info.input_name,
                data_type=pb.TYPE_UINT8,
                format=pb.ModelInput.FORMAT_NHWC,
                dims=tensors.IMAGE_SHAPE,
            )
        ],
        output=[
            pb.ModelOutput(
                name=info.output_name,
                data_type=pb.TYPE_FP32,
                dims=[len(info.labels)],
                label_filename=_LABELS_NAME if labels_file.is_file() else "",
            )
        ],
        dynamic_batching=_batching(config),
        instance_group=[_instances(info, config)],
        default_model_filename=MODEL_NAME,
        parameters={name: pb.ModelParameter(string_value=fact) for name, fact in facts.items()},
        response_cache=pb.ModelResponseCache(enable=bool(config.cache_mib)),
    )


def _versions(policy: VersionPolicy) -> pb.ModelVersionPolicy:
    kind = pb.ModelVersionPolicy
    if policy.numbers:
        return kind(specific=kind.Specific(versions=sorted(policy.numbers)))
    if policy.latest is None:
        return kind(all=kind.All())
    return kind(latest=kind.Latest(num_versions=policy.latest))


def _batching(config: ServerConfig) -> pb.ModelDynamicBatching:
    return pb.ModelDynamicBatching(
        preferred_batch_size=[config.max_batch],
        max_queue_delay_microseconds=round(config.max_queue_delay_s * 1e6),
        priority_levels=_PRIORITY_LEVELS,
        default_priority_level=1,
        default_queue_policy=pb.ModelQueuePolicy(allow_timeout_override=True),
    )


def _instances(info: ModelInfo, config: ServerConfig) -> pb.ModelInstanceGroup:
    is_on_device = config.provider.name in ON_DEVICE
    return pb.ModelInstanceGroup(
        name=info.provider,
        kind=pb.ModelInstanceGroup.KIND_GPU if is_on_device else pb.ModelInstanceGroup.KIND_CPU,
        count=config.instances * config.workers,
        gpus=[config.provider.device_id or 0] if is_on_device else [],
    )
