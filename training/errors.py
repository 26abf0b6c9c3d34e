"""Errors of training; the command line prints each as one sentence.

* TrainingError         printed without a traceback; exit code 1
  * DataError           the data set is missing, damaged, or not CIFAR-10 shaped
  * CheckpointError     a run, checkpoint or model file cannot be read, or holds another network
  * ExportError         the ONNX file disagrees with the network, or its version holds another model
  * QuantizeError       a model cannot be quantised, or loses too much accuracy
  * LayerError          a network has no layer of that name, or it has no feature maps
  * FolderError         an output folder holds files that are not ours to replace
  * WriteError          a file could not be written; nothing half-written is left
  * DeviceError         the requested device is not available
  * ProcessGroupError   another process of the run is gone, or has other weights
  * MissingPackageError an optional package that the command needs is not installed
* Interrupted           Ctrl-C or SIGTERM: the run was saved and can be resumed
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class TrainingError(Exception):
    """A failure that the user can understand and fix; the message says how."""


class DataError(TrainingError):
    """The data set is missing, damaged, or not shaped like CIFAR-10."""


class CheckpointError(TrainingError):
    """A run, checkpoint or model file cannot be read, or holds another network."""


class ExportError(TrainingError):
    """The exported file disagrees with its network, or its version holds another model."""


class QuantizeError(TrainingError):
    """A model cannot be quantised, or loses too much accuracy."""


class LayerError(TrainingError):
    """A network has no layer of that name, or that layer has no feature maps."""

    def __init__(self, layer: str, network: str, layers: Sequence[str], with_maps: Sequence[str]) -> None:
        if not with_maps:
            wrong = f"no layer of {network} has feature maps, leave --layer out"
        elif layer in layers:
            wrong = (
                f"layer {layer} of {network} has no feature maps; layers that have: {', '.join(with_maps)}"
            )
        else:
            wrong = f"{network} has no layer {layer!r}; layers with feature maps: {', '.join(with_maps)}"
        super().__init__(wrong)


class FolderError(TrainingError):
    """An output folder holds files that are not ours to replace."""

    def __init__(self, folder: object, held: str) -> None:
        super().__init__(f"{folder} {held}; choose another --out, or an empty folder")


class WriteError(TrainingError):
    """A file could not be written."""

    def __init__(self, path: object, reason: OSError) -> None:
        super().__init__(
            f"cannot write {path}: {reason.strerror or reason}; free some space or choose another "
            "folder, nothing half-written was left there"
        )


class DeviceError(TrainingError):
    """The requested device is not available."""


class ProcessGroupError(TrainingError):
    """The processes of a run cannot continue together."""


class MissingPackageError(TrainingError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs {package}, which is not installed: pip install '.[{extra}]' in the checkout"
        )


@contextlib.contextmanager
def required(extra: str) -> Iterator[None]:
    """Raise MissingPackageError, naming an extra to install, if an import within the block fails."""
    try:
        yield
    except ImportError as error:
        raise MissingPackageError(str(error.name).partition(".")[0], extra) from error


class Interrupted(Exception):  # noqa: N818 - not an error: the run was saved as requested
    """The run was stopped by Ctrl-C or SIGTERM, after saving."""

    exit_code = 130
    """Exit code of a program ended by Ctrl-C, by convention of shells."""

    def __init__(self, run_dir: object, epoch: int, step: int) -> None:
        super().__init__(
            f"stopped and saved at epoch {epoch + 1}, step {step}; "
            f"continue with the same --data and: cifar10net-train fit --resume {run_dir}"
        )
