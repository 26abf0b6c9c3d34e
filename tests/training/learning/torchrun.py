"""Several trainings in a process of torchrun; test_data_parallel.py starts it.

Its arguments: the data set, a cache folder, and a folder, where each training gets one of its own. What the
trainings are: of each network by the command line; ``signal``, in which process 1 alone is told to stop, and
which is resumed; and ``death``, in which process 1 is killed. To import PyTorch takes as long as all of them.

The processes find each other once: where they do it again, one may read where another was before.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import distributed

from tests.training.learning.test_data_parallel import MUON, NETWORKS, SETTINGS
from training.data.dataset import DataSet
from training.errors import Interrupted, ProcessGroupError
from training.learning.data_parallel import ProcessGroup, process_group
from training.learning.learner import Learner
from training.learning.run import Run
from training.learning.train import fit, resume

if TYPE_CHECKING:
    from training.data.dataset import Split

_AT = (1, 4)  # epoch, step


class _Silent:
    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        pass

    def on_epoch(self, row: dict[str, Any]) -> None:
        pass


def main(data: str, cache: str, folder: str) -> None:
    """Train."""
    gather = distributed.init_process_group

    def gather_once(backend: str) -> None:
        if not distributed.is_initialized():
            gather(backend)

    with (
        patch.object(distributed, "init_process_group", gather_once),
        patch.object(distributed, "destroy_process_group"),
    ):
        for network in NETWORKS:
            where = ("--data", data, "--cache-dir", cache, "--out", f"{folder}/{network}")
            _by_the_command_line("fit", *where, "--network", network, *SETTINGS)
        images = DataSet(Path(data), Path(cache)).split("train")
        for what, number in (("signal", signal.SIGTERM), ("death", signal.SIGKILL)):
            with process_group(torch.device("cpu")) as group:
                _train(what, number, Run(Path(folder) / what), images, group)


def _by_the_command_line(*arguments: str) -> None:
    """Do what ``python -m training`` does."""
    sys.argv = ["training", *arguments]
    try:
        runpy.run_module("training", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code:
            raise


def _train(what: str, number: int, run: Run, images: Split, group: ProcessGroup) -> None:
    """Train until process 1 gets the signal, and go on if it lives."""
    before = Learner.batch

    def batch(self: Learner, indices: Any, epoch: int, step: int) -> Any:
        if (epoch, step) == _AT and group.rank == 1:
            os.kill(os.getpid(), number)
        return before(self, indices, epoch, step)

    Learner.batch = batch  # type: ignore[method-assign]
    try:
        fit(run, MUON, images, _Silent(), group=group)
    except ProcessGroupError as error:
        sys.stdout.write(f"{what}: process {group.rank} says: {error}\n")
        raise SystemExit(1) from error
    except Interrupted:
        saved = run.load()
        sys.stdout.write(f"{what}: process {group.rank} stopped at {saved.epoch}, {saved.step}\n")
        group.barrier()
        resume(run, images, _Silent(), group=group)
    finally:
        Learner.batch = before  # type: ignore[method-assign]


if __name__ == "__main__":
    main(*sys.argv[1:])
