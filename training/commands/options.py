"""Options shared by several commands: data set, settings, model repository; checkpoints and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich import box
from rich.table import Table

from training.learning.run import CHECKPOINT_NAME, Checkpoint, load_checkpoint
from training.settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    Command = TypeVar("Command", bound=Callable[..., Any])

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="CIFAR10NET_DATA",
    help="cifar-10-python.tar.gz or its folder, or a folder or zip with train/<class>/* and "
    "test/<class>/* images. Default: the official archive is downloaded.",
)
cache_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="CIFAR10NET_CACHE_DIR",
    help="Folder for downloads and decoded pixels. Default: the user's cache folder.",
)


def repository_options(command: Command) -> Command:
    """Add ``--to``, ``--model-version`` and ``--replace``: where a command writes a model."""
    to = click.option(
        "--to",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("exported_models"),
        help="Model repository to write into.",
    )
    version = click.option("--model-version", type=click.IntRange(min=1), default=1, help="Version folder.")
    replace = click.option(
        "--replace", is_flag=True, help="Replace another model of that version instead of refusing."
    )
    return to(version(replace(command)))


def setting_options(
    config: type, defaults: Mapping[str, Any], *, leave_out: Collection[str] = (), recipe: str | None = None
) -> Callable[[Command], Command]:
    """Add an option for each setting of a configuration dataclass; the dataclass checks the ranges.

    Args:
        config: the dataclass.
        defaults: values of its fields.
        leave_out: settings without an option.
        recipe: where the defaults come from; the help names it, and a setting that is not given is None.
    """

    def decorate(command: Command) -> Command:
        for name, setting in reversed(settings_of(config).items()):
            if name in leave_out:
                continue
            default, note = defaults[name], ""
            if recipe is not None:
                default, note = None, f" [{recipe}: {'none' if default == '' else default}]"
            kind = click.Choice(setting.choices) if setting.choices else type(defaults[name])
            option = click.option(
                f"--{name.replace('_', '-')}", type=kind, default=default, help=f"{setting.help}{note}"
            )
            command = option(command)
        return command

    return decorate


def checkpoint_at(model: Path) -> Checkpoint:
    """Read the checkpoint of a run folder, or the checkpoint file itself. Raises CheckpointError."""
    return load_checkpoint(model / CHECKPOINT_NAME if model.is_dir() else model)


def table(title: str) -> Table:
    """Make a table that fits 80 columns."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
