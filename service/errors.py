"""Everything that can go wrong while serving, and the gRPC status or exit code it becomes.

``cifar10net.errors`` has what client and server share: ImageError and ConfigError.

* ServiceError             a call as a whole fails: sent to the caller with its ``code``
  * InvalidRequestError    INVALID_ARGUMENT: the request breaks a rule of the proto
  * UnauthenticatedError   UNAUTHENTICATED: no key, or none that is valid
  * PermissionDeniedError  PERMISSION_DENIED: the key may not be used for this
  * UnknownModelError      NOT_FOUND: no such model or version
  * ModelLoadError         FAILED_PRECONDITION: a model that was to be loaded is refused; nothing changed
  * ModelControlError      FAILED_PRECONDITION: models are not to be loaded or unloaded by call
  * ModelBusyError         ABORTED: another load or unload is under way, repeat it later
  * UnknownServiceError    NOT_FOUND: asked for the health of a service that is not served
  * UnknownRegionError     NOT_FOUND: no region of shared memory has that name
  * RegionExistsError      ALREADY_EXISTS: a region of shared memory has that name
  * DisabledError          FAILED_PRECONDITION: the server was started without what the call needs
  * OverloadedError        RESOURCE_EXHAUSTED: too much is queued, retry later
    * MessageTooLargeError RESOURCE_EXHAUSTED: a message is over a limit, no retry helps
  * DeadlineError          DEADLINE_EXCEEDED: the answer would come too late, it is not worked out
    * StalledRequestError  DEADLINE_EXCEEDED: the client went silent in the middle of a call
  * NotServingError        UNAVAILABLE: starting or stopping, safe to retry
* StartupError             the process exits with 1 and this one sentence; nothing is served
  * ModelError             a model file is missing, damaged or of another signature
  * ProviderError          the execution provider that was asked for is not active
  * AddressError           the address cannot be listened on
  * CertificateError       a certificate, a key or a list of revoked ones is missing, damaged or no match
  * ApiKeysError           the file of API keys is missing, or a line of it makes no sense
* JobError                 a batch job cannot run, or cannot go on: exit code 2, what was written stays
  * SourceError            a source of images is missing, damaged or of a form that nobody knows
  * OutputError            rows cannot be written where they should be
"""

from __future__ import annotations

import random
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

from cifar10net.protocol import RETRY_PUSHBACK

if TYPE_CHECKING:
    from collections.abc import Mapping


_COME_AGAIN_MS = (100, 400)


class Code(IntEnum):
    """The gRPC status codes that the server uses; grpc itself, 20 MiB, is for the client."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class ServiceError(Exception):
    """A call that fails as a whole; ``code`` and the message go to the caller."""

    code: ClassVar[Code] = Code.INTERNAL

    @property
    def metadata(self) -> Mapping[str, str]:
        """Trailing metadata that goes with the status."""
        return {}


class InvalidRequestError(ServiceError):
    """The request breaks a rule of the proto."""

    code = Code.INVALID_ARGUMENT


class UnauthenticatedError(ServiceError):
    """The call comes without a key, or with none that is valid."""

    code = Code.UNAUTHENTICATED


class PermissionDeniedError(ServiceError):
    """The call's key is valid, and not for this."""

    code = Code.PERMISSION_DENIED


class UnknownModelError(ServiceError):
    """The server has no such model or version."""

    code = Code.NOT_FOUND


class ModelLoadError(ServiceError):
    """A model that was to be loaded is refused, somewhere."""

    code = Code.FAILED_PRECONDITION


class ModelControlError(ServiceError):
    """The server does not let models be loaded or unloaded by call."""

    code = Code.FAILED_PRECONDITION


class ModelBusyError(ServiceError):
    """Another model is being loaded or unloaded."""

    code = Code.ABORTED


class UnknownServiceError(ServiceError):
    """The server has no such service to tell the health of."""

    code = Code.NOT_FOUND


class UnknownRegionError(ServiceError):
    """No region of shared memory has that name."""

    code = Code.NOT_FOUND


class RegionExistsError(ServiceError):
    """A region of shared memory has that name."""

    code = Code.ALREADY_EXISTS


class DisabledError(ServiceError):
    """The server was started without what the call needs."""

    code = Code.FAILED_PRECONDITION


class OverloadedError(ServiceError):
    """More is waiting than the server is allowed to hold."""

    code = Code.RESOURCE_EXHAUSTED

    @property
    def metadata(self) -> Mapping[str, str]:
        """When to come again, so that those refused together do not come together (gRFC A6, "pushback")."""
        return {RETRY_PUSHBACK: str(random.randint(*_COME_AGAIN_MS))}  # noqa: S311 - nothing is secret


class MessageTooLargeError(OverloadedError):
    """A message is over the limit, or unfolds to more."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Not to come again."""
        return {RETRY_PUSHBACK: "-1"}


class DeadlineError(ServiceError):
    """The caller's deadline has passed, or would before the answer is ready."""

    code = Code.DEADLINE_EXCEEDED


class StalledRequestError(DeadlineError):
    """The client neither goes on with its request nor reads its answer."""


class NotServingError(ServiceError):
    """The server is starting or stopping."""

    code = Code.UNAVAILABLE


class StartupError(Exception):
    """The server cannot start; the message is the whole story."""


class ModelError(StartupError):
    """A model file is missing, damaged, of another signature, or fails its warm-up."""


class ProviderError(StartupError):
    """The execution provider that was asked for is not active."""


class AddressError(StartupError):
    """The address cannot be listened on."""


class CertificateError(StartupError):
    """A certificate, a key or a list of revoked ones is missing, damaged or does not fit the others."""


class ApiKeysError(StartupError):
    """The file of API keys is missing, or makes no sense."""


class JobError(Exception):
    """A batch job cannot run or go on; the message is the whole story."""


class SourceError(JobError):
    """A source of images cannot be read as such; one image that cannot be read is an ImageError."""


class OutputError(JobError):
    """Rows cannot be written, or something is in their place."""
