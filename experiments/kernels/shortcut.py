"""The shortcut of a residual block as operations of oneDNN: where it starts, where it is added."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.kernels import onednn, shapes
from experiments.kernels.builder import Builder, Unit
from experiments.kernels.onednn import Array, Memory, Primitive
from experiments.kernels.residual import Residual


class Start(Unit):
    """The input of a block, which its convolutions and its shortcut share."""

    overwritable = False
    gradient: Sequence[Memory]  # of the pixels that the shortcut takes

    def __init__(self, layer: Residual) -> None:
        super().__init__(layer)
        self.stride = layer._stride

    def build(self, builder: Builder, source: Memory) -> Memory:
        """See `Unit.build`."""
        _, self.channels, height, width = shapes.images(source)
        self.rows, self.columns = (height - 1) // self.stride + 1, (width - 1) // self.stride + 1
        # oneDNN refuses an array whose last row is followed by fewer rows than the others
        whole = self.rows == 1 or self.rows * self.stride <= height
        self.parts = [self.rows] if whole else [self.rows - 1, 1]
        self.source = source
        if builder.passes(source):
            room = builder.room(source.array, "spare")
            self.source = builder.copy(builder.forward, source, room)
        return source

    def build_backward(
        self, builder: Builder, gradient: Memory, *, of_input: bool, learns: bool
    ) -> Memory:
        """See `Unit.build_backward`."""
        builder.add(builder.backward, self.gradient, self.pixels(gradient, self.stride))
        return gradient

    def pixels(self, images: Memory, stride: int = 1) -> list[Memory]:
        """The shortcut's channels of every `stride`-th pixel, in parts."""
        batch, channels, height, width = images.array.dims
        line, found, row = width * channels, [], 0
        for rows in self.parts:
            dims = [batch, self.channels, rows, self.columns]
            part = Array(dims, [height * line, 1, stride * line, stride * channels])
            offset = images.offset + onednn.ITEM * stride * line * row
            found.append(Memory(part, images.place, offset))
            row += rows
        return found


class End(Unit):
    """The sum of convolutions and shortcut, and ReLU."""

    overwritable = False

    def __init__(self, start: Start) -> None:
        super().__init__(start.layer)
        self.start = start

    def build(self, builder: Builder, source: Memory) -> Memory:
        """See `Unit.build`."""
        start, result, array = self.start, source, source.array
        _, channels, *sizes = shapes.images(source)
        if channels < start.channels or sizes != [start.rows, start.columns]:
            raise onednn.Unsupported("the convolutions of a block do not fit its shortcut")
        if not self.in_place:
            result = builder.copy(builder.forward, source, builder.result(array))
        pixels = start.pixels(start.source, start.stride)
        builder.add(builder.forward, pixels, start.pixels(result))
        arguments = onednn.FORWARD_TRAINING, onednn.RELU, array, array, 0.0, 0.0
        self.primitive = Primitive("eltwise_forward", *arguments)
        builder.forward.add(self.primitive, {onednn.SRC: result, onednn.DST: result})
        self.result = result
        return result

    def build_backward(
        self, builder: Builder, gradient: Memory, *, of_input: bool, learns: bool
    ) -> Memory:
        """See `Unit.build_backward`."""
        array = gradient.array
        result = builder.room(array, "spare")  # where it stays until the start has read it
        arguments = onednn.RELU, array, array, array, 0.0, 0.0, self.primitive
        primitive = Primitive("eltwise_backward", *arguments)
        arrays = {onednn.DST: self.result, onednn.DIFF_DST: gradient, onednn.DIFF_SRC: result}
        builder.backward.add(primitive, arrays)
        self.start.gradient = self.start.pixels(result)
        return result
