"""``RepositoryIndex``, ``RepositoryModelLoad`` and ``RepositoryModelUnload``.

In: names of models. Out: what the repository has, and changes of it, in every process of the server. Knows
nothing of how a model is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from service.errors import InvalidRequestError, ModelError
from service.repository import State
from service.servicers.inference.requests import required_name
from service.servicers.parsing import parse

if TYPE_CHECKING:
    from service.repository import Repository
    from service.rpc.context import UnaryContext


class RepositoryControl:
    """Tells of a repository, and changes it."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._looking: asyncio.Task[None] | None = None

    async def index(self, message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG002 - as every handler
        """Answer as the proto says."""
        request = parse(pb.RepositoryIndexRequest, message)
        _check_repository(request.repository_name)
        await self._look()
        kind = pb.RepositoryIndexResponse.ModelIndex
        models = [
            kind(name=entry.name, version=str(entry.version), state=entry.state, reason=entry.reason)
            for entry in self._repository.index()
            if entry.state is State.READY or not request.ready
        ]
        return pb.RepositoryIndexResponse(models=models).SerializeToString()

    async def load(self, message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG002
        """Answer as the proto says."""
        request = parse(pb.RepositoryModelLoadRequest, message)
        _check_repository(request.repository_name)
        if request.parameters:
            raise InvalidRequestError(
                f"there are parameters ({', '.join(sorted(request.parameters))[:200]}), expected none: "
                "a model is loaded from its folder, as it lies there"
            )
        await self._repository.load_everywhere(required_name(request.model_name))
        return pb.RepositoryModelLoadResponse().SerializeToString()

    async def unload(self, message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG002
        """Answer as the proto says."""
        request = parse(pb.RepositoryModelUnloadRequest, message)
        _check_repository(request.repository_name)
        await self._repository.unload_everywhere(required_name(request.model_name))
        return pb.RepositoryModelUnloadResponse().SerializeToString()

    async def _look(self) -> None:
        """Have the index tell what lies in the folder now; those who ask at the same time share a look."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._repository.look())
            self._looking.add_done_callback(self._on_looked)
        with contextlib.suppress(ModelError):  # then the index is what the last look found
            await asyncio.shield(self._looking)

    def _on_looked(self, looking: asyncio.Task[None]) -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()  # it is told to those who wait, if anybody still does


def _check_repository(name: str) -> None:
    if name:
        raise InvalidRequestError(
            f"repository_name is {name[:100]!r}, expected none: there is one repository"
        )
