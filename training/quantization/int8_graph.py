"""Rewrites a float graph into an equivalent one on which int8 kernels are faster.

Preprocessing is folded into the first convolution, which then takes uint8 pixels, and 2x2 max pooling becomes
a maximum over channels.

ONNX Runtime's int8 convolution (MlasConvSym) reads input channels in groups of four and writes up to 64
output channels at once, so 3 input or 20 output channels leave most of it idle. In a 5x5 convolution on 32x32
pixels most of the time goes into computing 25 addresses for each pixel, not into products. A convolution
followed by 2x2 max pooling is therefore computed for the four pixels of a window at once: stride 2, a kernel
one pixel wider, four times the channels. docs/experiments.md has the gain of each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.cifar10 import IMAGE_SHAPE

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

    from training.onnx_graph.nodes import GraphEditor

    Array = npt.NDArray[Any]

_SIDE, _, _COLOURS = IMAGE_SHAPE
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
_CHANNEL_GROUP = 4  # input channels that MlasConvSym reads at once
_WIDEST = 64  # output channels that it computes at once; merging more gains nothing
_POOL = 2


@dataclass(frozen=True)
class _Convolution:
    """A convolution of stride 1, with the 2x2 max pooling behind its ReLU, if there is one."""

    node: onnx.NodeProto
    weight: Array
    """float32 (out, in, k, k)."""
    bias: Array
    padding: int
    pool: onnx.NodeProto | None

    @property
    def can_gain(self) -> bool:
        out, channels = self.weight.shape[:2]
        return bool(channels % _CHANNEL_GROUP == 0 and out < _WIDEST)


def rewrite_for_int8(nodes: GraphEditor, largest_weight: int) -> str | None:
    """Rewrite the convolutions of a graph for int8 kernels, where that is possible.

    Args:
        nodes: the graph of an exported float32 model.
        largest_weight: integer that the largest weight of a channel will become, 127 or 64.

    Returns:
        Name of the tensor of pixels, float32 (n, channels, h, w) with integer values 0 to 255; None if
        preprocessing could not be folded.
    """
    pixels = _fold_preprocessing(nodes, largest_weight)
    for node in list(nodes.of_type("Conv")):
        found = _convolution(nodes, node)
        if found and found.pool is not None and found.can_gain:
            _merge_pooling(nodes, found)
    return pixels


def _fold_preprocessing(nodes: GraphEditor, largest_weight: int) -> str | None:
    """Fold the linear (x / 255 - mean) / std into the first convolution, which then takes pixels.

    Its padding would have to be the mean of each channel, which is not one number. So the border becomes part
    of the image, with pixels of the mean colour, rounded to integers.
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
    # Uses the rounded weights, so that rounding does not shift the sum.
    bias = found.bias - (weight.astype(np.float64) * mean).sum(axis=(1, 2, 3))
    levels = np.rint(mean).clip(0, 255).astype(np.uint8).ravel()
    if found.pool is not None and _output_side(nodes, found) % 4 == 0:
        return _first_merged(nodes, found, weight, bias.astype(np.float32), levels)
    return _first_plain(nodes, found, weight, bias.astype(np.float32), levels)


def _first_plain(nodes: GraphEditor, found: _Convolution, weight: Array, bias: Array, levels: Array) -> str:
    margin = found.padding
    pixels = _with_border(nodes, levels, (margin, margin), (margin, margin))
    value = nodes.add("Reshape", [pixels], shape=[-1, _SIDE + 2 * margin, _SIDE + 2 * margin, _COLOURS])
    value = nodes.add("Transpose", [value], perm=_TO_CHANNELS_FIRST)
    value = nodes.add("Cast", [value], to=1)
    _convolve(nodes, found.node, value, (weight, bias), pads=[0] * 4, strides=[1, 1])
    return value


def _first_merged(nodes: GraphEditor, found: _Convolution, weight: Array, bias: Array, levels: Array) -> str:
    """Compute two rows and four columns of pixels at once, with four columns as one of twelve channels.

    Four neighbouring pixels of three colours have the same memory layout as one of twelve, so no byte moves.
    """
    kernel, side = weight.shape[-1], _output_side(nodes, found)
    groups = -(-(3 + kernel) // 4)
    right = 4 * (side // 4 - 1 + groups) - _SIDE - found.padding
    pixels = _with_border(nodes, levels, (found.padding, found.padding), (found.padding, right))
    value = nodes.add("Reshape", [pixels], shape=[-1, _SIDE + 2 * found.padding, side // 4 - 1 + groups, 12])
    value = nodes.add("Transpose", [value], perm=_TO_CHANNELS_FIRST)
    value = nodes.add("Cast", [value], to=1)
    placed = _placed(weight, 2, 4, kernel + 1, 4 * groups)  # (2, 4, out, 3, rows, columns)
    out = len(weight)
    placed = placed.reshape(2, 2, 2, out, _COLOURS, kernel + 1, groups, 4)  # row, window, column, ...
    placed = placed.transpose(0, 2, 1, 3, 7, 4, 5, 6)  # channels of the windows side by side
    placed = placed.reshape(8 * out, 4 * _COLOURS, kernel + 1, groups)
    _convolve(nodes, found.node, value, (placed, np.tile(bias, 8)), pads=[0] * 4, strides=[2, 1])
    _pool_channels(nodes, found, side // 2, together=2)
    return value


def _with_border(nodes: GraphEditor, levels: Array, rows: tuple[int, int], columns: tuple[int, int]) -> str:
    """Add rows and columns of one colour around the images; returns uint8 (n, h, 3 w)."""
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


def _merge_pooling(nodes: GraphEditor, found: _Convolution) -> None:
    """Compute the four pixels of each pooling window as four times the channels."""
    kernel, side = found.weight.shape[-1], _output_side(nodes, found)
    if side % _POOL:
        return
    placed = _placed(found.weight, _POOL, _POOL, kernel + 1, kernel + 1)
    placed = placed.reshape(-1, *placed.shape[3:])
    kernel_and_bias = placed, np.tile(found.bias, _POOL * _POOL)
    pads, strides = [found.padding] * 4, [_POOL, _POOL]
    _convolve(nodes, found.node, found.node.input[0], kernel_and_bias, pads=pads, strides=strides)
    _pool_channels(nodes, found, side // _POOL, together=1)


def _convolve(  # noqa: PLR0913 - the parameters of ONNX
    nodes: GraphEditor,
    node: onnx.NodeProto,
    source: str,
    kernel_and_bias: tuple[Array, Array],
    *,
    pads: list[int],
    strides: list[int],
) -> None:
    """Replace input, weights and geometry of a convolution."""
    shape = list(kernel_and_bias[0].shape[2:])
    inputs = [source, *(nodes.tensor(value) for value in kernel_and_bias)]
    nodes.change(node, inputs, kernel_shape=shape, pads=pads, strides=strides)


def _pool_channels(nodes: GraphEditor, found: _Convolution, side: int, *, together: int) -> None:
    """Replace a 2x2 pooling by a maximum over four blocks of channels.

    int8 kernels run with channels last, so ONNX Runtime drops the transpositions.

    Args:
        nodes: the graph.
        found: the convolution, which already computes all pixels of a window as channels.
        side: side of the pooled image in pixels.
        together: pooled pixels whose channels are side by side.
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
    """Place a kernel at each offset in a larger one; returns (rows, columns, out, in, height, width)."""
    out, channels, kernel, _ = weight.shape
    placed = np.zeros((rows, columns, out, channels, height, width), np.float32)
    for row in range(rows):
        for column in range(columns):
            placed[row, column, :, :, row : row + kernel, column : column + kernel] = weight
    return placed


def _on_grid(weight: Array, largest: int) -> Array:
    """Round each output channel to integer multiples of its largest weight / ``largest``."""
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / largest
    step[step == 0] = 1
    rounded: Array = (np.rint(weight / step) * step).astype(np.float32)
    return rounded


def _convolution(nodes: GraphEditor, node: onnx.NodeProto) -> _Convolution | None:
    """Read a convolution of stride 1 with a square kernel; None for any other node."""
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


def _output_side(nodes: GraphEditor, found: _Convolution) -> int:
    """Return the side of the square output of a convolution; 1, which is odd, if unknown or not square."""
    shape = nodes.shape(found.node.output[0])
    return shape[2] if len(shape) == 4 and shape[2] == shape[3] else 1  # noqa: PLR2004
