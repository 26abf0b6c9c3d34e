"""A client stub of the Open Inference Protocol, made from its descriptor, for tests alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifar10net.pb import inference_pb2 as pb

if TYPE_CHECKING:
    import grpc

_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]


class InferenceStub:
    """One callable for each RPC, named as in the proto."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None:
        for method in _SERVICE.methods:
            shape = "_".join("stream" if streams else "unary" for streams in (
                method.client_streaming, method.server_streaming,
            ))  # fmt: skip
            call = getattr(channel, shape)(
                f"/{_SERVICE.full_name}/{method.name}",
                request_serializer=getattr(pb, method.input_type.name).SerializeToString,
                response_deserializer=getattr(pb, method.output_type.name).FromString,
            )
            setattr(self, method.name, call)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
