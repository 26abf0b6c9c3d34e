"""The processes that train one network together: who takes which images, and how they come to agree.

``torchrun`` starts them and says in the environment who each is; here they find each other, through gloo
between CPUs and NCCL between GPUs. In: numbers of one process. Out: their sum over all. Knows nothing of
networks or images.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import torch
from torch import distributed

from training.errors import TeamError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


class Team:
    """The processes of a run; by default this one alone, which waits for nobody."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        """Say who this process is.

        Args:
            rank: its number, from 0.
            size: how many there are.
            device: where the numbers lie that are exchanged; None is the CPU.
        """
        self.rank, self.size = rank, size
        self._device = device or torch.device("cpu")

    @property
    def leads(self) -> bool:
        """Whether this is the one that validates, reports and writes."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Which of ``n`` things are this process's; shares differ by one at most."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def add(self, values: torch.Tensor) -> None:
        """Replace ``values`` by their sum over all processes, the same bits in each. Raises TeamError."""
        if self.size == 1:
            return
        try:
            distributed.all_reduce(values)
        except RuntimeError as error:  # gloo and NCCL have no narrower one for a peer that is gone
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TeamError(
                f"process {self.rank} of {self.size} lost another one ({reason}); what was saved last is in "
                "the run folder: start all of them again, with --resume"
            ) from error

    def any(self, claim: bool) -> bool:  # noqa: FBT001 - it is the one thing that is asked
        """Whether the claim holds in some process. Raises TeamError."""
        votes = torch.tensor([float(claim)], device=self._device)
        self.add(votes)
        return bool(votes.item())

    def wait(self) -> None:
        """Go on when every process has come here. Raises TeamError."""
        self.any(claim=False)

    def compare(self, values: torch.Tensor) -> None:
        """Make sure that every process has what the leading one has.

        Raises:
            TeamError: another process is gone, or has other values, and would go on to other weights.
        """
        if self.size == 1:
            return
        leading = values.clone() if self.leads else torch.zeros_like(values)
        self.add(leading)
        if self.any(not torch.equal(leading, values)):
            raise TeamError(
                f"the {self.size} processes have come to different weights; give each the same software and "
                "kind of machine, and begin the run again"
            )


def processes() -> int:
    """How many processes the run has."""
    return int(os.environ["WORLD_SIZE"]) if _by_torchrun() else 1


def local_size() -> int:
    """How many processes of the run are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _by_torchrun() else 1


def local_rank() -> int:
    """Number of this process among those on this machine."""
    return int(os.environ["LOCAL_RANK"]) if _by_torchrun() else 0


@contextlib.contextmanager
def gathered(device: torch.device) -> Iterator[Team]:
    """Find the other processes that torchrun started, and leave them at the end; alone without torchrun.

    Args:
        device: what this process computes on.

    Raises:
        TeamError: they cannot be found.
    """
    if not _by_torchrun():
        yield Team(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group(_BACKENDS[device.type])
    except (RuntimeError, ValueError) as error:
        raise TeamError(f"the processes of this run do not find each other: {error}") from error
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
