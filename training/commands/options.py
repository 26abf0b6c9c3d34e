"""What several commands share: the data set, a trained model by its path, and how a table looks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from training.learning.config import TrainConfig
from training.learning.run import CHECKPOINT_NAME, Checkpoint, load_checkpoint

DEFAULTS: dict[str, Any] = asdict(TrainConfig())

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="CIFAR10NET_DATA",
    help="cifar-10-python.tar.gz or its folder, or a folder or zip with train/<class>/* and "
    "test/<class>/* images. Without it the official archive is downloaded.",
)
cache_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="CIFAR10NET_CACHE_DIR",
    help="Where downloads and decoded pixels are kept. Default: the user's cache folder.",
)


def checkpoint_at(model: Path) -> Checkpoint:
    """Read the checkpoint of a run folder, or of its file. Raises CheckpointError."""
    return load_checkpoint(model / CHECKPOINT_NAME if model.is_dir() else model)


def table(title: str) -> Table:
    """Make a table that fits 80 columns."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
