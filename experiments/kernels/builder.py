"""The programs of a chain of layers while they grow, and the room that their arrays need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paddle import nn

from experiments.kernels import onednn
from experiments.kernels.onednn import Array, Memory, Primitive, Program, channels_last, plain

if TYPE_CHECKING:
    from experiments.kernels.units import Unit


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


def _lines(array: Array) -> int:
    """The bytes of an array, up to the end of a line of the cache."""
    return -(-array.bytes // onednn.ALIGNMENT) * onednn.ALIGNMENT


def same_either_way(dims: Sequence[int]) -> bool:
    """Whether images of one channel, or of one pixel, lie in rows as they lie channels last."""
    return dims[1] == 1 or dims[2] * dims[3] == 1
