"""A method that can be called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.rpc.call import Call

UnaryHandler: TypeAlias = "Callable[[bytes, Call], Awaitable[bytes]]"
"""From the request message to the answer; raises ServiceError to end the call with its status."""
StreamHandler: TypeAlias = "Callable[[Call], Awaitable[None]]"
"""Receives and sends messages through the call as it likes, and returns to end the call well."""


@dataclass(frozen=True)
class Method:
    """One method; exactly one of the two handlers is set."""

    path: str
    """``/package.Service/Method``."""
    unary: UnaryHandler | None = None
    stream: StreamHandler | None = None
