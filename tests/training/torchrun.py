"""A process of a training by torchrun, to which something happens at a step; test_parallel.py starts it.

Its arguments: the data set, a cache folder, a run folder, and what happens: ``signal`` (process 1 alone is
told to stop, and the run is resumed) or ``death`` (process 1 is killed).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from tests.training.test_parallel import MUON
from training.dataset import DataSet
from training.errors import Interrupted, TeamError
from training.learner import Learner
from training.parallel import Team, gathered
from training.run import Run
from training.train import fit, resume

_AT = (1, 4)  # epoch, step


class _Silent:
    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        pass

    def on_epoch(self, row: dict[str, Any]) -> None:
        pass


def _happen(what: str, team: Team) -> None:
    """Have something happen to process 1 in the middle of a step."""
    before = Learner.batch

    def batch(self: Learner, indices: Any, epoch: int, step: int) -> Any:
        if (epoch, step) == _AT and team.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM if what == "signal" else signal.SIGKILL)
        return before(self, indices, epoch, step)

    Learner.batch = batch  # type: ignore[method-assign]


def main(data: str, cache: str, folder: str, what: str) -> None:
    """Train."""
    with gathered(torch.device("cpu")) as team:
        images = DataSet(Path(data), Path(cache)).split("train")
        run = Run(Path(folder))
        _happen(what, team)
        try:
            fit(run, MUON, images, _Silent(), team=team)
        except TeamError as error:
            sys.stdout.write(f"process {team.rank} says: {error}\n")
            raise SystemExit(1) from error
        except Interrupted:
            saved = run.load()
            sys.stdout.write(f"process {team.rank} stopped at {saved.epoch}, {saved.step}\n")
            team.wait()
            resume(run, images, _Silent(), team=team)


if __name__ == "__main__":
    main(*sys.argv[1:])
