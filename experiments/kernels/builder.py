"""The programs of a chain of layers while they grow, and the room that their arrays need.

A unit adds the operations of a layer to the program of the forward pass, then, in reverse order, to
that of the backward pass. Arrays between units are channels last.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from experiments.kernels import onednn
from experiments.kernels.onednn import Array, Memory, Primitive, Program, channels_last, plain


class Builder:
    """The two programs of a chain of layers, and the room that their arrays need.

    Places of arrays: "saved" is kept from the forward to the backward pass; "even" and "odd" hold
    by turns what only the next operation reads; "spare" holds the rest. The other places are
    tensors: "x" and "y", their gradients "dx" and "dy", parameters "0", "1", ... and their
    gradients "d0", "d1", ...
    """

    def __init__(self, learns: bool) -> None:
        self.learns = learns
        self.forward, self.backward = Program(), Program()
        self.sizes = {"saved": 0, "even": 0, "odd": 0, "spare": 0}
        self.statistics: list[tuple[nn.Layer, Memory, Memory]] = []
        self.fixed: list[Unit] = []  # normalizations by their running statistics
        self._odd = False

    def result(self, array: Array) -> Memory:
        """Room for the output of a layer, which its backward pass may need."""
        return self.room(array, "saved") if self.learns else self.passing(array)

    def passing(self, array: Array) -> Memory:
        """Room for what only the next operation reads."""
        self._odd = not self._odd
        place = "odd" if self._odd else "even"
        self.sizes[place] = max(self.sizes[place], _lines(array))
        return Memory(array, place)

    def passes(self, memory: Memory) -> bool:
        """Whether only the next operation may read an array."""
        return memory.place in ("even", "odd")

    def room(self, array: Array, place: str) -> Memory:
        """Room of its own, in "saved" or "spare"."""
        offset = self.sizes[place]
        self.sizes[place] += _lines(array)
        return Memory(array, place, offset)

    def copy(self, program: Program, source: Memory, target: Memory) -> Memory:
        """Copy an array into one that lies otherwise; the target."""
        program.add(
            Primitive("reorder", source.array, target.array),
            {onednn.SRC: source, onednn.DST: target},
        )
        return target

    def add(self, program: Program, sources: Sequence[Memory], targets: Sequence[Memory]) -> None:
        """Add each of some arrays to another of the same dimensions."""
        for source, target in zip(sources, targets, strict=True):
            primitive = Primitive("reorder", source.array, target.array, adds=True)
            program.add(primitive, {onednn.SRC: source, onednn.DST: target})

    def arranged(self, program: Program, source: Memory, form: Array) -> Memory:
        """The array of `source` in another form, a copy only where it lies otherwise."""
        if source.array.like(form):
            return source
        return self.copy(program, source, self.room(form, "spare"))

    def entering(self, program: Program, dims: Sequence[int], place: str) -> Memory:
        """The tensor at `place`: images become channels last."""
        if len(dims) == 2:
            return Memory(plain(*dims), place)
        batch, channels, height, width = dims
        form = channels_last(batch, channels, height, width)
        if same_either_way(dims):
            return Memory(form, place)
        room = self.result(form) if program is self.forward else self.passing(form)
        return self.copy(program, Memory(plain(*dims), place), room)

    def leaving(self, program: Program, result: Memory, place: str) -> None:
        """Write a result into the tensor at `place`."""
        self.copy(program, result, Memory(plain(*result.array.dims), place))


class Unit:
    """One layer of a chain.

    Attributes:
        first: The number of its first parameter among those of the chain.
        rereads_output: Whether its output is needed again, or is not as plain as a tensor.
        overwritable: Whether the next unit may write over its output.
        in_place: Whether it may write over its own input.
    """

    first = 0
    rereads_output = True
    overwritable = True
    in_place = False

    def __init__(self, layer: nn.Layer) -> None:
        self.layer = layer

    def parameters(self) -> list[paddle.Tensor]:
        """The tensors that it learns."""
        return []

    def build(self, builder: Builder, source: Memory) -> Memory:
        """Add the forward pass; its output."""
        raise NotImplementedError

    def build_backward(
        self, builder: Builder, gradient: Memory, *, of_input: bool, learns: bool
    ) -> Memory:
        """Add the backward pass.

        Args:
            builder: Whose program it is added to.
            gradient: That of the output.
            of_input: Whether a layer before, or the input of the chain, needs a gradient.
            learns: Whether one of its own parameters needs one.

        Returns:
            The gradient of its input; anything, which nobody reads, unless `of_input`.
        """
        raise NotImplementedError


def _lines(array: Array) -> int:
    """The bytes of an array, up to the end of a line of the cache."""
    return -(-array.bytes // onednn.ALIGNMENT) * onednn.ALIGNMENT


def same_either_way(dims: Sequence[int]) -> bool:
    """Whether images of one channel, or of one pixel, lie in rows as they lie channels last."""
    return dims[1] == 1 or dims[2] * dims[3] == 1
