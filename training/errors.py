"""Everything that can go wrong while training, told in one sentence for the terminal.

* TrainingError         the command line prints it and exits with 1, without a traceback
  * DataError           the data set is missing, damaged, or not CIFAR-10 shaped
  * CheckpointError     a run or checkpoint cannot be read, or belongs to another network
  * ExportError         the ONNX file would not answer as the network does, or another is in its place
  * QuantizeError       a model has no narrower form, or lost too much accuracy in it
  * LayerError          a network has no layer of that name, or none with feature maps
  * FolderError         an output folder holds what is not ours to replace
  * WriteError          a file could not be written; nothing half-written is left
  * DeviceError         what was asked for to compute on is not there
  * TeamError           another process of the same run is gone, or has come to other weights
  * MissingPackageError an optional package that the command needs is not installed
* Interrupted           Ctrl-C or SIGTERM: the run was saved and can go on
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class TrainingError(Exception):
    """A failure that the user can understand and mend; the message is the whole story."""


class DataError(TrainingError):
    """The data set is missing, damaged, or not shaped like CIFAR-10."""


class CheckpointError(TrainingError):
    """A run folder or checkpoint cannot be read, or holds another network."""


class ExportError(TrainingError):
    """The exported file does not answer as the network that it came from, or another is in its place."""


class QuantizeError(TrainingError):
    """A model cannot be quantised, or its narrower form has lost too much."""


class LayerError(TrainingError):
    """A network has no layer of that name, or that layer has no feature maps."""

    def __init__(self, layer: str, network: str, layers: Sequence[str], with_maps: Sequence[str]) -> None:
        if not with_maps:
            wrong = f"no layer of {network} has feature maps, leave --layer out"
        elif layer in layers:
            wrong = f"layer {layer} of {network} has no feature maps; those that have: {', '.join(with_maps)}"
        else:
            wrong = f"{network} has no layer {layer!r}; those with feature maps: {', '.join(with_maps)}"
        super().__init__(wrong)


class FolderError(TrainingError):
    """An output folder holds something that is not ours to replace."""

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
    """The device that was asked for is not there."""


class TeamError(TrainingError):
    """The processes of a run cannot go on together."""


class MissingPackageError(TrainingError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs {package}, which is not installed: pip install '.[{extra}]' in the checkout"
        )


class Interrupted(Exception):  # noqa: N818 - not an error: the run was saved as asked
    """The run was stopped by Ctrl-C or SIGTERM, after saving."""

    exit_code = 130
    """What a shell reports for a program ended by Ctrl-C."""

    def __init__(self, run_dir: object, epoch: int, step: int) -> None:
        super().__init__(
            f"stopped and saved at epoch {epoch + 1}, step {step}; "
            f"go on with the same --data and: cifar10net-train fit --resume {run_dir}"
        )
