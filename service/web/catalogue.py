"""The models of a backend, by name and version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from cifar10net.errors import ClientError

if TYPE_CHECKING:
    from cifar10net.messages import ModelDescription
    from service.web.backend import Backend


class Catalogue:
    """Looks models up, and remembers the last list."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._known: dict[tuple[str, str], ModelDescription] = {}

    async def models(self) -> list[ModelDescription]:
        """List the models as they are now, default first. Raises ClientError."""
        models = await self.backend.models()
        self._known = {(model.name, model.version): model for model in models}
        return models

    async def find(self, name: str, version: str) -> ModelDescription:
        """Find a model as it is now.

        Args:
            name: empty is the default model.
            version: empty is the newest.

        Raises:
            ClientError: there is no such model, or the backend does not answer.
        """
        models = await self.models()
        found = [
            model
            for model in models
            if (model.name == name if name else model.is_default) and version in {"", model.version}
        ]
        if not found:
            wanted = " ".join(filter(None, (name, version)))
            known = ", ".join(f"{model.name} {model.version}" for model in models)
            raise ClientError(
                grpc.StatusCode.NOT_FOUND, f"there is no model {wanted[:200]!r}; there are: {known}"
            )
        return max(found, key=lambda model: int(model.version) if model.version.isdecimal() else 0)

    async def describe(self, name: str, version: str) -> ModelDescription:
        """Describe the model that gave an answer, asking only if it is unknown. Raises ClientError."""
        if (name, version) not in self._known:
            return await self.find(name, version)
        return self._known[name, version]
