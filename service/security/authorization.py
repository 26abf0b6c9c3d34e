"""Decides from a call's method and header fields whether its caller may make it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.errors import PermissionDeniedError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from service.security.api_keys import ApiKeys

_SCHEME = b"bearer "


class Authorizer:
    """Admits calls by API key."""

    def __init__(self, keys: Callable[[], ApiKeys], open_services: Iterable[str]) -> None:
        """Get the current keys from ``keys`` at every call; ``open_services``, full names, need no key."""
        self._keys = keys
        self._open_services = frozenset(open_services)
        self._cache: dict[tuple[str, bytes], float] = {}
        """Expiry of the admitted pairs of path and key, valid for ``_cached_keys`` only."""
        self._cached_keys = keys()

    def admit(self, path: str, metadata: Mapping[bytes, bytes]) -> None:
        """Admit a call of ``/package.Service/Method``.

        Only valid keys are cached, until the file of keys changes. The look-up leaks nothing about keys that
        are nearly right: Python's hash is seeded with a secret of this process, and bytes are compared only
        where all of its 64 bits agree.

        Raises:
            UnauthenticatedError: the call has no valid key.
            PermissionDeniedError: its key may not be used for this method.
        """
        keys = self._keys()
        if keys is not self._cached_keys:
            self._cached_keys = keys
            self._cache.clear()
        presented = _presented(metadata.get(b"authorization"), metadata.get(b"x-api-key"))
        until_s = None if presented is None else self._cache.get((path, presented))
        if until_s is not None and time.time() < until_s:
            return
        method = path[1:]
        if method.partition("/")[0] in self._open_services:
            return
        if presented is None:
            raise UnauthenticatedError(
                "this server wants an API key: send it as 'authorization: Bearer KEY' or 'x-api-key: KEY'"
            )
        self._cache[path, presented] = _expiry(method, presented, keys)


def _expiry(method: str, presented: bytes, keys: ApiKeys) -> float:
    """Return when a key that is valid for the method expires. Raises as ``Authorizer.admit``."""
    key = keys.find(presented)
    if key is None:
        raise UnauthenticatedError("the API key is not known here; it may be mistyped or revoked")
    if key.has_expired:
        raise UnauthenticatedError(f"the API key of {key.name!r} has expired; ask for a new one")
    if not key.allows(method):
        raise PermissionDeniedError(f"the API key of {key.name!r} may not be used for {method}")
    return key.until_s


def _presented(authorization: bytes | None, x_api_key: bytes | None) -> bytes | None:
    """Return the key of a call, None if it has none."""
    if authorization is not None and authorization[: len(_SCHEME)].lower() == _SCHEME:
        return authorization[len(_SCHEME) :].strip()
    return x_api_key
