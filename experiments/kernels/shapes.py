"""The shapes of images, windows and weights that the layers of a chain work on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle

from experiments.kernels import onednn
from experiments.kernels.onednn import Memory

Window = tuple[list[int], list[int], list[int], list[int], list[int]]


def numbers(padding: Any) -> bool:
    """Whether a padding is a number, two, or four; it may also be a word or pairs of all axes."""
    if isinstance(padding, int):
        return True
    whole = isinstance(padding, (list, tuple)) and all(isinstance(n, int) for n in padding)
    return whole and len(padding) in (2, 4)


def window(size: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    """Size, stride, padding before and after, and gaps between taps, each [height, width]."""
    size, stride, dilation = (
        [value, value] if isinstance(value, int) else list(value)
        for value in (size, stride, dilation)
    )
    padding = [padding] * 4 if isinstance(padding, int) else list(padding)
    if len(padding) == 2:
        padding = [padding[0], padding[0], padding[1], padding[1]]
    return size, stride, padding[::2], padding[1::2], [gap - 1 for gap in dilation]


def expect(shape: Sequence[int], tensor: paddle.Tensor | None) -> None:
    """Refuse a tensor of another shape: oneDNN would read beyond it."""
    if tensor is not None and tensor.shape != list(shape):
        raise onednn.Unsupported(f"expected weights of the shape {list(shape)}, got {tensor.shape}")


def images(source: Memory) -> tuple[int, ...]:
    """The dimensions of an array of images."""
    if len(source.array.dims) != 4:
        raise onednn.Unsupported(f"expected images, got {source.array.dims}")
    return source.array.dims


def windowed(source: Memory, channels: int, *window: list[int]) -> tuple[int, int, int, int]:
    """The output of a window over the input: [batch, channels, height, width]."""
    batch, _, *sizes = images(source)
    rows, columns = (
        (length + before + after - (taps - 1) * (gap + 1) - 1) // stride + 1
        for length, taps, stride, before, after, gap in zip(sizes, *window, strict=True)
    )
    if min(rows, columns) < 1:
        raise onednn.Unsupported("the window is larger than the input")
    return batch, channels, rows, columns
