"""Deprecated alias for ``cifar10net``, kept for one release."""

import warnings

from cifar10net import *  # noqa: F403
from cifar10net import __all__ as __all__  # noqa: PLC0414

warnings.warn(
    "service.client has moved: write `from cifar10net import Client`; the next release has no service.client",
    DeprecationWarning,
    stacklevel=2,
)
