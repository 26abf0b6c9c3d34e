"""An RPC method and its handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.rpc.context import StreamContext, UnaryContext

UnaryHandler: TypeAlias = "Callable[[bytes, UnaryContext], Awaitable[bytes]]"
"""Returns the response to a request message; raises ServiceError to end the call with its status."""
StreamHandler: TypeAlias = "Callable[[StreamContext], Awaitable[None]]"
"""Receives and sends messages; returns to end the call with OK, or raises ServiceError."""


@dataclass(frozen=True)
class Method:
    """A method; exactly one of the two handlers is set."""

    path: str
    """``/package.Service/Method``."""
    unary: UnaryHandler | None = None
    stream: StreamHandler | None = None
