"""Service ``grpc.reflection.v1alpha.ServerReflection``, also as ``v1``, answered by grpcio-reflection."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor_pool import Default, DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2 as pb

from service.rpc.method import Method
from service.servicers.parsing import parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.rpc.context import StreamContext

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ServerReflection"].full_name
_NEWER_NAME = SERVICE_NAME.replace("v1alpha", "v1")
"""The same messages under the name that newer tools try first."""


@cache
def _pool() -> DescriptorPool:
    """Return the default pool with the descriptors of ``v1`` added, which the library lacks."""
    pool = Default()
    known = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(known)
    text = text_format.MessageToString(known).replace("v1alpha", "v1")
    newer = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    pool.AddSerializedFile(newer.SerializeToString())
    return pool


class ReflectionServicer:
    """Describes the services and messages to tools such as grpcurl."""

    def __init__(self, services: Iterable[str]) -> None:
        """Describe these services, and reflection itself."""
        self._services = (*services, SERVICE_NAME, _NEWER_NAME)

    def methods(self) -> tuple[Method, ...]:
        """Return the RPC methods."""
        return tuple(
            Method(f"/{name}/ServerReflectionInfo", stream=self.reflect)
            for name in (SERVICE_NAME, _NEWER_NAME)
        )

    async def reflect(self, context: StreamContext) -> None:
        """Answer message by message."""
        # It imports all of grpc, 20 MiB, which most servers never need.
        from grpc_reflection.v1alpha import reflection  # noqa: PLC0415

        library = reflection.ReflectionServicer(self._services, pool=_pool())
        while (message := await context.receive()) is not None:
            request = parse(pb.ServerReflectionRequest, message)
            for response in library.ServerReflectionInfo(iter((request,)), None):  # type: ignore[arg-type]
                await context.send(response.SerializeToString())
            context.release()
