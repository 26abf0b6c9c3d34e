"""Backend that asks a running server, through the asynchronous client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net import AsyncClient
from cifar10net.config import ClientConfig
from service.observability.timing import clock
from service.web.backend import Answer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cifar10net.config import Access
    from cifar10net.messages import ModelDescription

_MS = 1_000
_PHASES = ("queue", "batch", "compute")
"""Of the server's own timing; it decodes nothing, since it gets pixels."""
_MAX_ATTEMPTS = 2
"""The page reports soon that the server is away, and tries again by itself."""


class RemoteBackend:
    """Asks one server, or several with the same models; to be made within the event loop."""

    kind = "server"

    def __init__(self, address: str, access: Access, deadline_s: float) -> None:
        """Prepare to connect. Raises ConfigError as ``AsyncClient`` does."""
        self.address = address
        config = ClientConfig(deadline_s=deadline_s, max_attempts=_MAX_ATTEMPTS, access=access)
        self._client = AsyncClient(address, config)

    async def models(self) -> list[ModelDescription]:
        return await self._client.models()

    async def classify(
        self, images: npt.NDArray[np.uint8], *, model: str, version: str, top_k: int, is_bulk: bool = False
    ) -> Answer:
        server_ms: dict[str, float] = {}
        began_s = clock()
        results = await self._client.classify(
            images,
            on_timing=server_ms.update,
            model=model,
            version=version,
            top_k=top_k,
            priority="bulk" if is_bulk else "interactive",
        )
        call_ms = _MS * (clock() - began_s)
        times_ms = {"network": max(0.0, call_ms - server_ms.get("total", 0.0))}
        times_ms |= {phase: server_ms[phase] for phase in _PHASES if phase in server_ms}
        return Answer(results, {**times_ms, "total": call_ms})

    async def close(self) -> None:
        await self._client.close()
