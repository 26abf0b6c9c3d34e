"""Has a running server answer, by the asynchronous client."""

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
_PARTS = ("queue", "batch", "compute")
"""Of the server's own timing; it decodes nothing here."""
_MOST_ATTEMPTS = 2
"""Whoever looks at the page wants to know soon that nobody answers, and asks again by themselves."""


class ServerAnswers:
    """Asks one server, or several alike; to be made within the event loop."""

    kind = "server"

    def __init__(self, address: str, access: Access, deadline_s: float) -> None:
        """Prepare to ask. Raises ConfigError as ``AsyncClient``."""
        self.address = address
        config = ClientConfig(deadline_s=deadline_s, max_attempts=_MOST_ATTEMPTS, access=access)
        self._client = AsyncClient(address, config)

    async def models(self) -> list[ModelDescription]:
        return await self._client.models()

    async def classify(
        self, images: npt.NDArray[np.uint8], *, model: str, version: str, top_k: int, is_bulk: bool = False
    ) -> Answer:
        parts: dict[str, float] = {}
        began_s = clock()
        results = await self._client.classify(
            images,
            on_timing=parts.update,
            model=model,
            version=version,
            top_k=top_k,
            priority="bulk" if is_bulk else "interactive",
        )
        call_ms = _MS * (clock() - began_s)
        served_ms = parts.get("total", 0.0)
        times_ms = {"network": max(0.0, call_ms - served_ms)}
        times_ms |= {name: parts[name] for name in _PARTS if name in parts}
        return Answer(results, {**times_ms, "total": call_ms})

    async def close(self) -> None:
        await self._client.close()
