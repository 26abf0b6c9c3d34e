"""What a network learns on: the CPU or a GPU.

In: a name of the configuration. Out: a device that is there. Nothing is used in place of another.
"""

from __future__ import annotations

import torch

from training.errors import DeviceError


def open_device(name: str, index: int = 0) -> torch.device:
    """Find a device.

    Args:
        name: ``cpu`` or ``cuda``.
        index: which of the GPUs, from 0.

    Raises:
        DeviceError: there is no such device, or PyTorch was built without it.
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
