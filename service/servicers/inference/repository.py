"""``RepositoryIndex``, ``RepositoryModelLoad`` and ``RepositoryModelUnload``.

In: names of models. Out: what the repository has, and changes of it. Knows nothing of how a model is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.pb import inference_pb2 as pb
from service.servicers.parsing import parse

if TYPE_CHECKING:
    from service.repository import Repository
    from service.rpc.call import Call

_READY = "READY"


class RepositoryControl:
    """Tells of a repository, and changes it."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def index(self, message: bytes, call: Call) -> bytes:  # noqa: ARG002 - as every handler
        """Answer as the proto says."""
        parse(pb.RepositoryIndexRequest, message)
        kind = pb.RepositoryIndexResponse.ModelIndex
        infos = sorted(self._repository.list(), key=lambda info: (info.name, info.version))
        models = [kind(name=info.name, version=str(info.version), state=_READY) for info in infos]
        return pb.RepositoryIndexResponse(models=models).SerializeToString()
