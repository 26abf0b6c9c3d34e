"""Training as tutorials write it: the baseline of ``make bench-train``.

A Dataset that opens a file and transforms a picture at each access, a DataLoader with a worker for each core,
the textbook order of layers, and the textbook loop in float32. It runs in a process of its own, where our
trainer's settings (determinism, memory) do not apply.
"""

from __future__ import annotations

import random
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from collections.abc import Generator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from training.data.dataset import Split

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)  # of CIFAR-10, as tutorials have them
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)


def write_pictures(split: Split, folder: Path) -> None:
    """Write the images of a split as PNG files, a folder for each class, as tutorials expect them."""
    for index, (pixels, label) in enumerate(zip(split.images, split.labels, strict=True)):
        path = folder / str(label) / f"{index:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Opens, mirrors, crops and normalises a picture at each access."""

    def __init__(self, folder: Path, shift_px: int) -> None:
        self._paths = sorted(folder.glob("*/*.png"))
        self._shift_px = shift_px

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, shift = self._paths[index], self._shift_px
        image = Image.open(path).convert("RGB")
        if random.random() < 0.5:  # noqa: PLR2004, S311 - a coin
            image = ImageOps.mirror(image)
        padded = ImageOps.expand(image, border=shift)
        left, top = random.randint(0, 2 * shift), random.randint(0, 2 * shift)  # noqa: S311 - dice
        image = padded.crop((left, top, left + image.width, top + image.height))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels - MEAN) / STD, int(path.parent.name)


def network() -> nn.Sequential:
    """Make CIFAR10Net with batch normalisation in its textbook place; (n, 3, 32, 32) to (n, 10)."""
    layers: list[nn.Module] = []
    for wide_in, wide_out in ((3, 16), (16, 20), (20, 20)):
        layers += [
            nn.Conv2d(wide_in, wide_out, 5, padding=2),
            nn.BatchNorm2d(wide_out),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(320, 10))


def train(folder: Path, batch_size: int, shift_px: int, workers: int) -> Generator[float]:
    """Train without end; yield the loss of each step."""
    loader = DataLoader(
        Pictures(folder, shift_px),
        batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=True,  # begun once, which is to its advantage, and counted without a gap
    )
    model = network()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    model.train()
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            yield loss.item()


def train_apart(folder: Path, batch_size: int, shift_px: int, workers: int) -> Generator[float]:
    """Train as ``train`` does, in another process, one step for each item taken; it ends with this process.

    Raises EOFError if that process ends first.
    """
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, folder, batch_size, shift_px, workers))
    process.start()
    there.close()
    try:
        while True:
            here.send(None)
            yield here.recv()
    finally:
        here.close()
        process.join()


def _serve(there: Connection, folder: Path, batch_size: int, shift_px: int, workers: int) -> None:
    """Take a step for each message, until the other side has gone."""
    torch.set_num_threads(workers)
    losses = train(folder, batch_size, shift_px, workers)
    try:
        while True:
            there.recv()
            there.send(next(losses))
    except (EOFError, BrokenPipeError):
        losses.close()
