"""A process group of threads, for tests of reductions without processes."""

from __future__ import annotations

import threading

import torch

from training.learning.data_parallel import ProcessGroup


class Threads:
    """Reduces between threads in place of processes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._barrier = threading.Barrier(size, timeout=60)
        self._values: dict[int, torch.Tensor] = {}

    def group(self, rank: int) -> ProcessGroup:
        group = ProcessGroup(rank, self._size)
        group.all_reduce = lambda values: self._add(rank, values)  # type: ignore[method-assign]
        return group

    def _add(self, rank: int, values: torch.Tensor) -> None:
        self._values[rank] = values.clone()
        self._barrier.wait()
        total = torch.stack([self._values[each] for each in range(self._size)]).sum(dim=0)
        self._barrier.wait()
        values.copy_(total)
