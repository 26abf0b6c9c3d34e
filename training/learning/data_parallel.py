"""Data parallelism: the group of processes, started by ``torchrun``, that train one network together.

They communicate through gloo between CPUs, and NCCL between GPUs.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import torch
from torch import distributed

from training.errors import ProcessGroupError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


class ProcessGroup:
    """The processes of a run, by default this one alone, and the device of the tensors that they exchange."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size = rank, size
        self._device = device or torch.device("cpu")

    @property
    def is_leader(self) -> bool:
        """Whether this process validates, reports and writes files."""
        return self.rank == 0

    def shard(self, n: int) -> slice:
        """Return this process's part of ``n`` items; sizes of parts differ by one at most."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def all_reduce(self, values: torch.Tensor) -> None:
        """Replace ``values`` by their sum over all processes, the same bits in each.

        Raises:
            ProcessGroupError: another process is gone.
        """
        if self.size == 1:
            return
        try:
            distributed.all_reduce(values)
        except RuntimeError as error:  # gloo and NCCL raise nothing more specific for a lost peer
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ProcessGroupError(
                f"process {self.rank} of {self.size} lost another one ({reason}); the last checkpoint is in "
                "the run folder: start all processes again with --resume"
            ) from error

    def any(self, claim: bool) -> bool:  # noqa: FBT001 - the only argument
        """Return whether the claim holds in at least one process. Raises ProcessGroupError."""
        votes = torch.tensor([float(claim)], device=self._device)
        self.all_reduce(votes)
        return bool(votes.item())

    def barrier(self) -> None:
        """Wait until every process has called this. Raises ProcessGroupError."""
        self.any(claim=False)

    def check_equal(self, values: torch.Tensor) -> None:
        """Check that every process has the values of the leader.

        Raises:
            ProcessGroupError: another process is gone, or has other values.
        """
        if self.size == 1:
            return
        leading = values.clone() if self.is_leader else torch.zeros_like(values)
        self.all_reduce(leading)
        if self.any(not torch.equal(leading, values)):
            raise ProcessGroupError(
                f"the {self.size} processes have different weights; start a new run, with the same software "
                "on the same kind of machine for all of them"
            )


def world_size() -> int:
    """Return the number of processes of the run."""
    return int(os.environ["WORLD_SIZE"]) if _by_torchrun() else 1


def local_world_size() -> int:
    """Return the number of processes of the run on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _by_torchrun() else 1


def local_rank() -> int:
    """Return the number of this process among those on this machine, from 0."""
    return int(os.environ["LOCAL_RANK"]) if _by_torchrun() else 0


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started, until the block ends; without torchrun, a group of one.

    Raises:
        ProcessGroupError: the other processes cannot be reached.
    """
    if not _by_torchrun():
        yield ProcessGroup(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group(_BACKENDS[device.type])
    except (RuntimeError, ValueError) as error:
        raise ProcessGroupError(f"the processes of this run cannot reach each other: {error}") from error
    try:
        yield ProcessGroup(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
