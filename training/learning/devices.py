"""The device of a training run: the CPU or a GPU, without a fallback."""

from __future__ import annotations

import torch

from training.errors import DeviceError


def open_device(name: str, index: int = 0) -> torch.device:
    """Return the device ``cpu``, or the GPU of this index for ``cuda``.

    Raises:
        DeviceError: there is no such device, or PyTorch was built without CUDA.
    """
    if name == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if index >= count:
        raise DeviceError(
            f"device is cuda, and process {index} of this machine finds {count} CUDA devices (PyTorch "
            f"{torch.__version__}); use --device cpu, or fewer processes, or a CUDA build of PyTorch"
        )
    return torch.device("cuda", index)
