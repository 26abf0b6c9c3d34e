"""A network's graph in the form that int8 kernels are fastest on: the same function, other convolutions.

In: the graph of a float ``.onnx`` of ours. Out: the same with its preprocessing folded into the first
convolution, so that pixels go in as the bytes they are, and with each pooling made a maximum over channels.
Knows nothing of calibration or scales.

Why: ONNX Runtime's int8 convolution (MlasConvSym) reads the input in groups of four channels and writes
blocks of up to 64; three input channels or 20 output channels leave most of it idle, and of a 5x5
convolution on 32x32 pixels most of the time goes into the 25 addresses a pixel, not into products. A
convolution that is followed by 2x2 maximum pooling is therefore computed for the four pixels of a window at
once: stride 2, a kernel that is one wider, four times the channels. docs/experiments.md has what each step
gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.sources import IMAGE_SHAPE

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

    from training.onnx_graph.nodes import Nodes

    Array = npt.NDArray[Any]

_SIDE, _, _COLOURS = IMAGE_SHAPE
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
_CHANNEL_GROUP = 4  # channels that MlasConvSym reads at once
_WIDEST = 64  # output channels that it computes at once: more gain nothing by being merged
_POOL = 2


@dataclass(frozen=True)
class _Convolution:
    """A convolution of stride 1 with the ReLU and the 2x2 maximum pooling behind it, if they are there."""

    node: onnx.NodeProto
    weight: Array
    """float32 (out, in, k, k)."""
    bias: Array
    padding: int
    pool: onnx.NodeProto | None

    @property
    def output(self) -> str:
        return str((self.pool or self.node).output[0])


def for_int8(nodes: Nodes, largest_weight: int) -> str | None:
    """Rewrite a graph for int8 kernels, as far as it has the layers for it.

    Args:
        nodes: the graph of an ``.onnx`` of ours in float32.
        largest_weight: integer that the largest weight of a channel will become, 127 or 64.

    Returns:
        Name of the tensor of pixels: float32 (n, channels, h, w) whose values are the whole numbers 0 to 255.
        None where preprocessing could not be folded.
    """
    pixels = _fold_preprocessing(nodes, largest_weight)
    for node in list(nodes.of_type("Conv")):
        found = _convolution(nodes, node)
        if found and found.pool is not None and _gains(found):
            _merge_pooling(nodes, found)
    return pixels


def _fold_preprocessing(nodes: Nodes, largest_weight: int) -> str | None:
    """Have the first convolution take pixels: (x / 255 - mean) / std is linear, as it is itself.

    Padding stands for the mean then, channel by channel, which is not one number, so the border is made
    part of the image: its pixels are the mean, rounded to whole levels.
    """
    steps = nodes.chain("images", ["Transpose", "Cast", "Div", "Sub", "Div", "Conv"])
    found = steps and _convolution(nodes, steps[-1])
    if not steps or not found or steps[0].input[0] != "images":
        return None
    divisor, mean, std = (nodes.constant(step.input[1]) for step in steps[2:5])
    if divisor is None or mean is None or std is None or found.weight.shape[1] != _COLOURS:
        return None
    mean, std = (np.broadcast_to(value * divisor, (1, 3, 1, 1)).astype(np.float64) for value in (mean, std))
    weight = _on_grid(found.weight / std, largest_weight)
    # With the weights as they will be, so that rounding them does not shift the sum.
    bias = found.bias - (weight.astype(np.float64) * mean).sum(axis=(1, 2, 3))
    levels = np.rint(mean).clip(0, 255).astype(np.uint8).ravel()
    if found.pool is not None and _output_side(found) % 4 == 0:
        return _first_merged(nodes, found, weight, bias.astype(np.float32), levels)
    return _first_plain(nodes, found, weight, bias.astype(np.float32), levels)


def _first_plain(nodes: Nodes, found: _Convolution, weight: Array, bias: Array, levels: Array) -> str:
    margin = found.padding
    pixels = _with_border(nodes, levels, (margin, margin), (margin, margin))
    value = nodes.add("Reshape", [pixels], shape=[-1, _SIDE + 2 * margin, _SIDE + 2 * margin, _COLOURS])
    value = nodes.add("Transpose", [value], perm=_TO_CHANNELS_FIRST)
    value = nodes.add("Cast", [value], to=1)
    _convolve(nodes, found.node, value, (weight, bias), pads=[0] * 4, strides=[1, 1])
    return value


def _first_merged(nodes: Nodes, found: _Convolution, weight: Array, bias: Array, levels: Array) -> str:
    """Compute two rows and four columns of pixels at once, from columns that are taken four by four.

    Four neighbouring pixels of three colours lie in memory as one of twelve, a multiple of four: no byte has
    to move.
    """
    kernel, side = weight.shape[-1], _output_side(found)
    groups = -(-(3 + kernel) // 4)
    right = 4 * (side // 4 - 1 + groups) - _SIDE - found.padding
    pixels = _with_border(nodes, levels, (found.padding, found.padding), (found.padding, right))
    value = nodes.add("Reshape", [pixels], shape=[-1, _SIDE + 2 * found.padding, side // 4 - 1 + groups, 12])
    value = nodes.add("Transpose", [value], perm=_TO_CHANNELS_FIRST)
    value = nodes.add("Cast", [value], to=1)
    placed = _placed(weight, 2, 4, kernel + 1, 4 * groups)  # (2, 4, out, 3, rows, columns)
    out = len(weight)
    placed = placed.reshape(2, 2, 2, out, _COLOURS, kernel + 1, groups, 4)  # row, window, column, ...
    placed = placed.transpose(0, 2, 1, 3, 7, 4, 5, 6)  # the windows' channels side by side
    placed = placed.reshape(8 * out, 4 * _COLOURS, kernel + 1, groups)
    _convolve(nodes, found.node, value, (placed, np.tile(bias, 8)), pads=[0] * 4, strides=[2, 1])
    _pool_channels(nodes, found, side // 2, together=2)
    return value


def _with_border(nodes: Nodes, levels: Array, rows: tuple[int, int], columns: tuple[int, int]) -> str:
    """Add rows and columns of one colour around the images: uint8 (n, h, 3 w)."""
    before, after = (3 * size for size in columns)
    value = nodes.add("Reshape", ["images"], shape=[-1, _SIDE, _COLOURS * _SIDE])
    if not any((*rows, *columns)):
        return value
    height, width = _SIDE + sum(rows), _SIDE + sum(columns)
    border = np.tile(levels, (height, width))
    border[rows[0] : rows[0] + _SIDE, before : before + _COLOURS * _SIDE] = 0
    pads = nodes.tensor(np.array([0, rows[0], before, 0, rows[1], after]))
    value = nodes.add("Pad", [value, pads, nodes.tensor(np.array(0, np.uint8))])
    return nodes.add("Max", [value, nodes.tensor(border)])


def _merge_pooling(nodes: Nodes, found: _Convolution) -> None:
    """Compute the four pixels of a pooling window as four times the channels."""
    kernel, side = found.weight.shape[-1], _output_side_of(nodes, found)
    if side % _POOL:
        return
    placed = _placed(found.weight, _POOL, _POOL, kernel + 1, kernel + 1)
    placed = placed.reshape(-1, *placed.shape[3:])
    kernel_and_bias = placed, np.tile(found.bias, _POOL * _POOL)
    pads, strides = [found.padding] * 4, [_POOL, _POOL]
    _convolve(nodes, found.node, found.node.input[0], kernel_and_bias, pads=pads, strides=strides)
    _pool_channels(nodes, found, side // _POOL, together=1)


def _convolve(  # noqa: PLR0913 - what ONNX calls a convolution
    nodes: Nodes,
    node: onnx.NodeProto,
    source: str,
    kernel_and_bias: tuple[Array, Array],
    *,
    pads: list[int],
    strides: list[int],
) -> None:
    """Make a convolution another one."""
    shape = list(kernel_and_bias[0].shape[2:])
    inputs = [source, *(nodes.tensor(value) for value in kernel_and_bias)]
    nodes.change(node, inputs, kernel_shape=shape, pads=pads, strides=strides)


def _pool_channels(nodes: Nodes, found: _Convolution, side: int, *, together: int) -> None:
    """Put a maximum over four blocks of channels in the place of a 2x2 pooling.

    Channels are last when int8 kernels run, so that the transpositions here fall away.

    Args:
        nodes: the graph.
        found: the convolution, which computes all pixels of a window already.
        side: of the pooled image, in pixels.
        together: pooled pixels whose channels lie side by side.
    """
    if found.pool is None:
        raise ValueError("there is no pooling to replace")
    channels = len(found.weight)
    value = nodes.add("Transpose", [found.pool.input[0]], perm=_TO_CHANNELS_LAST)
    value = nodes.add("Reshape", [value], shape=[-1, side * side // together, 4, channels * together])
    value = nodes.add("Transpose", [value], perm=_TO_CHANNELS_FIRST)
    value = nodes.add("MaxPool", [value], kernel_shape=[1, 4], strides=[1, 4])
    value = nodes.add("Transpose", [value], perm=_TO_CHANNELS_LAST)
    value = nodes.add("Reshape", [value], shape=[-1, side, side, channels])
    nodes.replace(found.pool, nodes.add("Transpose", [value], perm=_TO_CHANNELS_FIRST))


def _placed(weight: Array, rows: int, columns: int, height: int, width: int) -> Array:
    """Place a kernel at each offset in a larger one: (rows, columns, out, in, height, width)."""
    out, channels, kernel, _ = weight.shape
    placed = np.zeros((rows, columns, out, channels, height, width), np.float32)
    for row in range(rows):
        for column in range(columns):
            placed[row, column, :, :, row : row + kernel, column : column + kernel] = weight
    return placed


def _on_grid(weight: Array, largest: int) -> Array:
    """Round each output channel to whole multiples of its largest weight / ``largest``."""
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / largest
    step[step == 0] = 1
    rounded: Array = (np.rint(weight / step) * step).astype(np.float32)
    return rounded


def _convolution(nodes: Nodes, node: onnx.NodeProto) -> _Convolution | None:
    """Read a convolution of stride 1 with a square kernel; None if it is of another kind."""
    settings = nodes.attributes(node)
    weight = nodes.constant(node.input[1])
    pads = settings.get("pads", [0] * 4)
    is_plain = (
        node.op_type == "Conv"
        and settings.get("group", 1) == 1
        and settings.get("auto_pad", b"NOTSET") == b"NOTSET"
        and set(settings.get("strides", [1])) == {1}
        and set(settings.get("dilations", [1])) == {1}
        and len(set(pads)) == 1
    )
    if not is_plain or weight is None or weight.ndim != 4 or weight.shape[2] != weight.shape[3]:  # noqa: PLR2004
        return None
    bias = nodes.constant(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight), np.float32)  # noqa: PLR2004
    if bias is None:
        return None
    behind = nodes.chain(node.output[0], ["Relu", "MaxPool"])
    pool = behind[-1] if behind and _is_two_by_two(nodes.attributes(behind[-1])) else None
    return _Convolution(node, weight, bias, pads[0], pool)


def _is_two_by_two(settings: dict[str, Any]) -> bool:
    return bool(
        settings.get("kernel_shape") == [_POOL, _POOL]
        and settings.get("strides") == [_POOL, _POOL]
        and not any(settings.get("pads", []))
        and settings.get("auto_pad", b"NOTSET") == b"NOTSET"
        and set(settings.get("dilations", [1])) == {1}
        and settings.get("ceil_mode", 0) == 0
    )


def _gains(found: _Convolution) -> bool:
    out, channels = found.weight.shape[:2]
    return bool(channels % _CHANNEL_GROUP == 0 and out < _WIDEST)


def _output_side(found: _Convolution) -> int:
    return _SIDE + 2 * found.padding - int(found.weight.shape[-1]) + 1


def _output_side_of(nodes: Nodes, found: _Convolution) -> int:
    """Side of the square that the convolution gives; 1, which is odd, where it is unknown or no square."""
    shape = nodes.shape(found.node.output[0])
    return shape[2] if len(shape) == 4 and shape[2] == shape[3] else 1  # noqa: PLR2004
