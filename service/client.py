"""The client's former place, kept for one release: import ``cifar10net`` instead."""

import warnings

from cifar10net import *  # noqa: F403 - the same names, whatever they are
from cifar10net import __all__ as __all__  # noqa: PLC0414

warnings.warn(
    "service.client has moved: write `from cifar10net import Client`; the next release has no service.client",
    DeprecationWarning,
    stacklevel=2,
)
