"""The errors of the service, and the gRPC status or exit code that each becomes.

``cifar10net.errors`` has those that client and server share: ImageError and ConfigError.

* ServiceError             the whole call fails: sent to the caller with its ``code``
  * InvalidRequestError    INVALID_ARGUMENT: the request breaks a rule of the proto
  * UnauthenticatedError   UNAUTHENTICATED: no API key, or an invalid one
  * PermissionDeniedError  PERMISSION_DENIED: the API key does not allow this call
  * UnknownModelError      NOT_FOUND: no such model or version
  * ModelLoadError         FAILED_PRECONDITION: the model to load is refused; nothing changed
  * ModelControlError      FAILED_PRECONDITION: the server does not let clients load and unload models
  * ModelBusyError         ABORTED: another load or unload is under way, retry later
  * UnknownServiceError    NOT_FOUND: a health check of a service that is not served
  * UnknownRegionError     NOT_FOUND: no shared-memory region has that name
  * RegionExistsError      ALREADY_EXISTS: a shared-memory region has that name
  * DisabledError          FAILED_PRECONDITION: the call needs a feature that the server was started without
  * OverloadedError        RESOURCE_EXHAUSTED: too much is queued, retry later
    * MessageTooLargeError RESOURCE_EXHAUSTED: a message is over a limit, retrying does not help
  * DeadlineError          DEADLINE_EXCEEDED: the answer would come too late, so it is not computed
    * StalledRequestError  DEADLINE_EXCEEDED: the client went silent in the middle of a call
  * NotServingError        UNAVAILABLE: the server is starting or stopping, safe to retry
* StartupError             the server does not start: exit code 1 and this one sentence
  * ModelError             a model file is missing, damaged or of another signature
  * ProviderError          the requested execution provider is not active
  * AddressError           the server cannot listen on the address
  * CertificateError       a certificate, key or revocation list is missing, damaged or does not match
  * ApiKeysError           the file of API keys is missing or has an invalid line
* JobError                 a batch job cannot start or continue: exit code 2, rows already written stay
  * SourceError            a source of images is missing, damaged or of an unknown format
  * OutputError            the rows cannot be written
"""

from __future__ import annotations

import random
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

from cifar10net.protocol import RETRY_PUSHBACK

if TYPE_CHECKING:
    from collections.abc import Mapping


_RETRY_AFTER_MS = (100, 400)


class Code(IntEnum):
    """The gRPC status codes that the server uses; importing grpc for them would take 20 MiB."""

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
    """The whole call fails; ``code`` and the message go to the caller."""

    code: ClassVar[Code] = Code.INTERNAL

    @property
    def metadata(self) -> Mapping[str, str]:
        """Trailing metadata that is sent with the status."""
        return {}


class InvalidRequestError(ServiceError):
    """The request breaks a rule of the proto."""

    code = Code.INVALID_ARGUMENT


class UnauthenticatedError(ServiceError):
    """The call has no API key, or an invalid one."""

    code = Code.UNAUTHENTICATED


class PermissionDeniedError(ServiceError):
    """The API key is valid, but does not allow this call."""

    code = Code.PERMISSION_DENIED


class UnknownModelError(ServiceError):
    """The server has no such model or version."""

    code = Code.NOT_FOUND


class ModelLoadError(ServiceError):
    """A worker refuses the model to load."""

    code = Code.FAILED_PRECONDITION


class ModelControlError(ServiceError):
    """The server does not let clients load and unload models."""

    code = Code.FAILED_PRECONDITION


class ModelBusyError(ServiceError):
    """Another load or unload is under way."""

    code = Code.ABORTED


class UnknownServiceError(ServiceError):
    """A health check names a service that is not served."""

    code = Code.NOT_FOUND


class UnknownRegionError(ServiceError):
    """No shared-memory region has that name."""

    code = Code.NOT_FOUND


class RegionExistsError(ServiceError):
    """A shared-memory region has that name."""

    code = Code.ALREADY_EXISTS


class DisabledError(ServiceError):
    """The call needs a feature that the server was started without."""

    code = Code.FAILED_PRECONDITION


class OverloadedError(ServiceError):
    """The server holds as much as it is allowed to."""

    code = Code.RESOURCE_EXHAUSTED

    @property
    def metadata(self) -> Mapping[str, str]:
        """A random pushback (gRFC A6), so that calls refused together do not retry together."""
        return {RETRY_PUSHBACK: str(random.randint(*_RETRY_AFTER_MS))}  # noqa: S311 - nothing is secret


class MessageTooLargeError(OverloadedError):
    """A message is over the limit, as sent or decompressed."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """A pushback that says not to retry."""
        return {RETRY_PUSHBACK: "-1"}


class DeadlineError(ServiceError):
    """The caller's deadline has passed, or would before the answer is ready."""

    code = Code.DEADLINE_EXCEEDED


class StalledRequestError(DeadlineError):
    """The client neither continues its request nor reads its answer."""


class NotServingError(ServiceError):
    """The server is starting or stopping."""

    code = Code.UNAVAILABLE


class StartupError(Exception):
    """The server cannot start; the message is all that is printed."""


class ModelError(StartupError):
    """A model file is missing, damaged, of another signature, or fails its warm-up."""


class ProviderError(StartupError):
    """The requested execution provider is not active."""


class AddressError(StartupError):
    """The server cannot listen on the address."""


class CertificateError(StartupError):
    """A certificate, key or revocation list is missing, damaged or does not match."""


class ApiKeysError(StartupError):
    """The file of API keys is missing or has an invalid line."""


class JobError(Exception):
    """A batch job cannot start or continue; the message is all that is printed."""


class SourceError(JobError):
    """A source of images cannot be read; a single unreadable image is an ImageError."""


class OutputError(JobError):
    """The rows cannot be written, or something else is in their place."""
