"""An LSTM that reads an image as a sequence of rows, from top to bottom.

Hochreiter and Schmidhuber 1997, "Long short-term memory". 32 steps of 96 values (32 pixels of 3 colours); the
last output is classified.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from training.networks.network import CLASSES, Network

if TYPE_CHECKING:
    import torch

_ROW = 32 * 3
_HIDDEN = 128  # 3.67 million multiply-adds in the LSTM: CIFAR10Net has 3.92


class Rows(nn.Module):
    """Turns (n, 3, h, w) into (n, h, w * 3), a sequence of rows from top to bottom."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Join the values of each row, pixel by pixel."""
        return images.permute(0, 2, 3, 1).flatten(2)


class LastState(nn.Module):
    """An LSTM that returns only the output of the last step."""

    def __init__(self, wide_in: int, wide_out: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(wide_in, wide_out, batch_first=True)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Map (n, steps, in) to (n, out)."""
        outputs: torch.Tensor = self.lstm(rows)[0]
        return outputs[:, -1]


class Recurrent(Network):
    """Images (n, 32, 32, 3) uint8 to logits (n, 10) float32."""

    description = "An LSTM that reads the image row by row, 32 steps of 96 values."

    @staticmethod
    def _make_layers() -> OrderedDict[str, nn.Module]:
        return OrderedDict[str, nn.Module](
            rows=Rows(), lstm=LastState(_ROW, _HIDDEN), fc=nn.Linear(_HIDDEN, CLASSES)
        )
