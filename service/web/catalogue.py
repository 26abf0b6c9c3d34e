"""Which models there are, as whoever answers last said; and which one is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from cifar10net.errors import ClientError

if TYPE_CHECKING:
    from cifar10net.messages import ModelDescription
    from service.web.backend import Answers


class Catalogue:
    """The models of somebody who answers."""

    def __init__(self, answers: Answers) -> None:
        """Ask ``answers`` for them, when somebody wants to know."""
        self.answers = answers
        self._known: dict[tuple[str, str], ModelDescription] = {}

    async def all(self) -> list[ModelDescription]:
        """List them as they are now, default first. Raises ClientError."""
        models = await self.answers.models()
        self._known = {(model.name, model.version): model for model in models}
        return models

    async def find(self, name: str, version: str) -> ModelDescription:
        """Find the model that is meant now.

        Args:
            name: empty is the default.
            version: empty is the newest.

        Raises:
            ClientError: there is none, or nobody answers.
        """
        models = await self.all()
        found = [
            model
            for model in models
            if (model.name == name if name else model.is_default) and version in {"", model.version}
        ]
        if not found:
            named = " ".join(filter(None, (name, version)))
            there = ", ".join(f"{model.name} {model.version}" for model in models)
            raise ClientError(
                grpc.StatusCode.NOT_FOUND, f"there is no model {named[:200]!r}; there are: {there}"
            )
        return max(found, key=lambda model: int(model.version) if model.version.isdecimal() else 0)

    async def of(self, name: str, version: str) -> ModelDescription:
        """Describe who has given an answer. Raises ClientError."""
        if (name, version) not in self._known:
            return await self.find(name, version)
        return self._known[name, version]
