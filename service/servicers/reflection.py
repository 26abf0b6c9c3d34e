"""Service ``grpc.reflection.v1alpha.ServerReflection``: what the server can be asked, for tools.

The answers are the grpcio-reflection library's.
"""

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
"""The same messages under the name that newer tools ask for first."""


@cache
def _pool() -> DescriptorPool:
    """What this process knows, and the newer name's descriptors, which the library does not bring."""
    pool = Default()
    known = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(known)
    text = text_format.MessageToString(known).replace("v1alpha", "v1")
    newer = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    pool.AddSerializedFile(newer.SerializeToString())
    return pool


class Reflection:
    """Tells tools such as grpcurl which services and messages there are."""

    def __init__(self, services: Iterable[str]) -> None:
        """Tell of these services, and of reflection itself."""
        self._services = (*services, SERVICE_NAME, _NEWER_NAME)

    def methods(self) -> tuple[Method, ...]:
        """What can be called."""
        return tuple(
            Method(f"/{name}/ServerReflectionInfo", stream=self.answer)
            for name in (SERVICE_NAME, _NEWER_NAME)
        )

    async def answer(self, call: StreamContext) -> None:
        """Answer message by message."""
        # It brings the whole of grpc, 20 MiB; most servers are never asked.
        from grpc_reflection.v1alpha.reflection import ReflectionServicer  # noqa: PLC0415

        library = ReflectionServicer(self._services, pool=_pool())
        while (message := await call.receive()) is not None:
            request = parse(pb.ServerReflectionRequest, message)
            for response in library.ServerReflectionInfo(iter((request,)), None):  # type: ignore[arg-type]
                await call.send(response.SerializeToString())
            call.release()
