"""Decides of each call whether its caller may make it.

In: a call's method, and the header fields that came with it. Out: nothing, or the error that it ends with.
Knows nothing of connections.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.errors import PermissionDeniedError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from service.security.api_keys import Keys

_SCHEME = b"bearer "


class Guard:
    """Asks for keys."""

    def __init__(self, keys: Callable[[], Keys], open_services: Iterable[str]) -> None:
        """Let the callers of some services pass without one.

        Args:
            keys: returns those that are in force.
            open_services: full names, such as ``grpc.health.v1.Health``.
        """
        self._keys = keys
        self._open_services = frozenset(open_services)
        self._remembered: dict[tuple[str, bytes], float] = {}
        """What was admitted, by method and key, and until when; of ``_remembered_of`` only."""
        self._remembered_of = keys()

    def admit(self, path: str, metadata: Mapping[bytes, bytes]) -> None:
        """Let a call of ``/package.Service/Method`` pass.

        A key that was admitted once is remembered, as long as the same keys are in force, and nothing else
        that callers send. Python finds it by a hash that a secret of this process goes into, and compares
        bytes only where all 64 bits of it agree, so that the time tells nothing about keys that are nearly
        right.

        Raises:
            UnauthenticatedError: it has no key that is valid.
            PermissionDeniedError: it has one, and not for this method.
        """
        keys = self._keys()
        if keys is not self._remembered_of:
            self._remembered_of = keys
            self._remembered.clear()
        shown = _shown(metadata.get(b"authorization"), metadata.get(b"x-api-key"))
        until_s = None if shown is None else self._remembered.get((path, shown))
        if until_s is not None and time.time() < until_s:
            return
        method = path[1:]
        if method.partition("/")[0] in self._open_services:
            return
        if shown is None:
            raise UnauthenticatedError(
                "this server wants an API key: send it as 'authorization: Bearer KEY' or 'x-api-key: KEY'"
            )
        self._remembered[path, shown] = _look_at(method, shown, keys)


def _look_at(method: str, shown: bytes, keys: Keys) -> float:
    """Return until when a key is good for ``package.Service/Method``. Raises as ``Guard.admit``."""
    key = keys.find(shown)
    if key is None:
        raise UnauthenticatedError("the API key is not known here; it may be mistyped or revoked")
    if key.has_expired:
        raise UnauthenticatedError(f"the API key of {key.name!r} has expired; ask for a new one")
    if not key.allows(method):
        raise PermissionDeniedError(f"the API key of {key.name!r} may not be used for {method}")
    return key.until_s


def _shown(authorization: bytes | None, x_api_key: bytes | None) -> bytes | None:
    """Return the key that a call comes with."""
    if authorization is not None and authorization[: len(_SCHEME)].lower() == _SCHEME:
        return authorization[len(_SCHEME) :].strip()
    return x_api_key
