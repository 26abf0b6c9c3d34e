"""``RepositoryIndex``, ``RepositoryModelLoad`` and ``RepositoryModelUnload``."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from service.errors import InvalidRequestError, ModelError
from service.repository import VersionState
from service.servicers.inference.requests import required_name
from service.servicers.parsing import parse

if TYPE_CHECKING:
    from service.repository import Repository
    from service.rpc.context import UnaryContext


class ModelRepositoryHandlers:
    """RPCs that list the models of a repository, load and unload them, in every worker."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._refreshing: asyncio.Task[None] | None = None

    async def index(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002 - as every handler
        """List the model versions in the repository's folder, ready or not."""
        request = parse(pb.RepositoryIndexRequest, message)
        _check_repository(request.repository_name)
        await self._refresh()
        kind = pb.RepositoryIndexResponse.ModelIndex
        models = [
            kind(name=entry.name, version=str(entry.version), state=entry.state, reason=entry.reason)
            for entry in self._repository.index()
            if entry.state is VersionState.READY or not request.ready
        ]
        return pb.RepositoryIndexResponse(models=models).SerializeToString()

    async def load(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Load or reload a model in every worker."""
        request = parse(pb.RepositoryModelLoadRequest, message)
        _check_repository(request.repository_name)
        if request.parameters:
            raise InvalidRequestError(
                f"there are parameters ({', '.join(sorted(request.parameters))[:200]}), expected none: "
                "a model is loaded as it is in its folder"
            )
        await self._repository.load(required_name(request.model_name))
        return pb.RepositoryModelLoadResponse().SerializeToString()

    async def unload(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Unload a model in every worker."""
        request = parse(pb.RepositoryModelUnloadRequest, message)
        _check_repository(request.repository_name)
        await self._repository.unload(required_name(request.model_name))
        return pb.RepositoryModelUnloadResponse().SerializeToString()

    async def _refresh(self) -> None:
        """Scan the folder; concurrent callers share one scan."""
        if self._refreshing is None:
            self._refreshing = asyncio.get_running_loop().create_task(self._repository.scan())
            self._refreshing.add_done_callback(self._on_refreshed)
        with contextlib.suppress(ModelError):  # the index then shows what the last scan found
            await asyncio.shield(self._refreshing)

    def _on_refreshed(self, refreshing: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not refreshing.cancelled():
            refreshing.exception()  # mark it as retrieved: those who waited may have hung up


def _check_repository(name: str) -> None:
    if name:
        raise InvalidRequestError(
            f"repository_name is {name[:100]!r}, expected it to be empty: there is one repository"
        )
