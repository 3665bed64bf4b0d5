"""The conv block of experiments/kernels/conv_block.py once more, in Python with Numba.

To answer "would Python do?".

Nothing but train_speed.py uses this. It is for 5x5 kernels with padding 2, images of even size, and
float32.

The idea is the same. The forward pass keeps one byte per pooled window, the winner: which of its
four pixels won (0..3 = 2 row + column), or DEAD where the ReLU is flat. The backward pass visits
live winners alone, and each adds "its gradient times a row of floats" to a gradient.

What differs is how vectors come about. LLVM makes them of inner loops over consecutive floats, and
four things decide what it makes:
- it is told that arrays do not overlap: else each loop tests for it, and sums lie in memory, not
  registers. Only a flag that is not public tells it, so it is set where NUMBA_BLOCK=private is in
  the environment alone;
- sums keep the order they are written in (no "reassoc"), as in its own order more values are alive
  than there are registers;
- indices are unsigned, or each is tested for being negative;
- AVX-512 has to be asked for, or vectors are half as long.
Forward, 16 images lie side by side, and one pass over two rows of sums does the 25 taps of a
kernel. Backward, an image lies channels last, and a row of sums stays in registers while a list of
winners goes by.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import paddle
from llvmlite import binding
from numba.core.compiler import Compiler
from paddle.autograd import PyLayer
from paddle.nn import functional as F

numba.config.CPU_NAME = binding.get_host_cpu_name()  # without the name the features do not count
numba.config.CPU_FEATURES = binding.get_host_cpu_features().flatten() + ",-prefer-256-bit"


class Apart(Compiler):
    """Numba's compiler, told that a function's arrays do not overlap, as `restrict` does in C."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


jit = numba.njit(
    pipeline_class=Apart if os.environ.get("NUMBA_BLOCK") == "private" else Compiler,
    fastmath={"contract", "nsz"},
    nogil=True,
    error_model="numpy",
    cache="NUMBA_CACHE_DIR" in os.environ,
)

U = np.uintp
LANES, PADDING, RIM = U(16), U(2), U(4)
DEAD = 4
ZERO = np.float32(0)


@jit
def kernel_column(w, at):
    return w[at], w[at + U(5)], w[at + U(10)], w[at + U(15)], w[at + U(20)]


@jit
def six_below(x, at, line):
    two, three = line + line, line + line + line
    return x[at], x[at + line], x[at + two], x[at + three], x[at + two + two], x[at + two + three]


@jit
def add_column(s, v, w):
    """The column's taps, into three sums: additions to one sum wait for each other."""
    return s[0] + v[0] * w[0] + v[3] * w[3], s[1] + v[1] * w[1] + v[4] * w[4], s[2] + v[2] * w[2]


@jit
def convolve(x, at, line, w, tap, sums, upper, length):
    """Add a channel's part of two rows of the convolution.

    `length` floats from `upper`, and the next.

    Taps are written out, column by column: both rows share the pixels, and the weights stay in
    registers.
    """
    lower = upper + length
    w0, w1, w2 = kernel_column(w, tap), kernel_column(w, tap + U(1)), kernel_column(w, tap + U(2))
    w3, w4 = kernel_column(w, tap + U(3)), kernel_column(w, tap + U(4))
    for i in range(length):
        v = six_below(x, at + i, line)
        s, t = add_column((ZERO, ZERO, ZERO), v[:5], w0), add_column((ZERO, ZERO, ZERO), v[1:], w0)
        v = six_below(x, at + i + LANES, line)
        s, t = add_column(s, v[:5], w1), add_column(t, v[1:], w1)
        v = six_below(x, at + i + U(2) * LANES, line)
        s, t = add_column(s, v[:5], w2), add_column(t, v[1:], w2)
        v = six_below(x, at + i + U(3) * LANES, line)
        s, t = add_column(s, v[:5], w3), add_column(t, v[1:], w3)
        v = six_below(x, at + i + U(4) * LANES, line)
        s, t = add_column(s, v[:5], w4), add_column(t, v[1:], w4)
        sums[upper + i] += s[0] + s[1] + s[2]
        sums[lower + i] += t[0] + t[1] + t[2]


@jit
def forward(x, w, bias, y, winner, beside, sums):
    """x [n, in, height, width], w [out, in, 5, 5] -> y and winner, both [n, out, height / 2.

    Width / 2].

    Scratch: `beside` [in, height + 4, width + 4, 16], zero at first, holds 16 images side by side;
    `sums` [out, 2, width, 16] two rows of their convolution.
    """
    n, ins, outs = U(x.shape[0]), U(x.shape[1]), U(w.shape[0])
    height, width = U(x.shape[2]), U(x.shape[3])
    line, length, taps = (width + RIM) * LANES, width * LANES, w.reshape(-1)
    value, which = np.empty(16, np.float32), np.empty(16, np.int32)
    for first in range(U(0), n, LANES):
        count = min(LANES, n - first)
        for c in range(ins):
            for row in range(height):
                at = (c * (height + RIM) + row + PADDING) * line + PADDING * LANES
                for lane in range(count):
                    for column in range(width):
                        beside[at + column * LANES + lane] = x[first + lane, c, row, column]
        for row in range(U(0), height, U(2)):
            sums[:] = 0
            for c in range(ins):
                for o in range(outs):
                    at = (c * (height + RIM) + row) * line
                    convolve(
                        beside,
                        at,
                        line,
                        taps,
                        (o * ins + c) * U(25),
                        sums,
                        U(2) * o * length,
                        length,
                    )
            for o in range(outs):
                shift = bias[o]
                for column in range(width // U(2)):
                    at = U(2) * o * length + U(2) * column * LANES
                    for lane in range(LANES):
                        # the first of equal pixels wins, as in Paddle
                        best, won = sums[at + lane], np.int32(0)
                        other = sums[at + LANES + lane]
                        won = won if best >= other else np.int32(1)
                        best = best if best >= other else other
                        other = sums[at + length + lane]
                        won = won if best >= other else np.int32(2)
                        best = best if best >= other else other
                        other = sums[at + length + LANES + lane]
                        won = won if best >= other else np.int32(3)
                        best = best if best >= other else other
                        best += shift
                        value[lane] = best if best > ZERO else ZERO
                        which[lane] = won if best > ZERO else np.int32(DEAD)
                    for lane in range(count):
                        y[first + lane, o, row // U(2), column] = value[lane]
                        winner[first + lane, o, row // U(2), column] = which[lane]


def adder(floats: int) -> Callable[..., None]:
    """A function that adds gradient x row to `total`, over a list.

    Rows have `floats`, a multiple of 16.
    """
    floats = U(floats)  # a constant: LLVM unrolls the inner loop and keeps the sums in registers

    @jit
    def add_rows(total, to, rows, base, places, gradients, first, last):
        for i in range(U(first), U(last)):
            place, gradient = places[i] + base, gradients[i]
            for k in range(floats):
                total[to + k] += gradient * rows[place + k]

    return add_rows


@jit
def add_tall(total, to, rows, places, gradients, count):
    """The same for 32 floats, four rows at once.

    Each sum waits for the one before, and here are only two.
    """
    i = U(0)
    while i + U(4) <= count:
        a, b, c, d = places[i], places[i + U(1)], places[i + U(2)], places[i + U(3)]
        ga, gb, gc, gd = gradients[i], gradients[i + U(1)], gradients[i + U(2)], gradients[i + U(3)]
        for k in range(U(TALL)):
            total[to + k] += (ga * rows[a + k] + gb * rows[b + k]) + (
                gc * rows[c + k] + gd * rows[d + k]
            )
        i += U(4)
    while i < count:
        place, gradient = places[i], gradients[i]
        for k in range(U(TALL)):
            total[to + k] += gradient * rows[place + k]
        i += U(1)


CHANNELS = 20  # of a pixel in the backward pass
TALL, WIDE, SURROUNDINGS = (
    32,
    112,
    128,
)  # floats: 5 x 5, 5 x CHANNELS and 6 x CHANNELS, in whole vectors
add_wide, add_surroundings = adder(WIDE), adder(SURROUNDINGS)


@jit
def weight_gradient(x, winner, dy, dw, dbias, image, sums, places, gradients):
    """dw [out, in, 5, 5] and dbias [out] from x, winner and dy.

    Scratch: `image` [height + 4, width + 4, pixel], zero at first, one image, channels last, so
    that what a kernel sees is five rows of floats; of one channel, a pixel holds the four below
    too, and it is one row.
    """
    n, ins, height, width = x.shape
    outs, rows, columns = winner.shape[1:]
    tall = ins == 1
    pixel = 5 if tall else CHANNELS
    line = (width + 4) * pixel
    sums[:] = 0
    dbias[:] = 0
    for k in range(n):
        for c in range(ins):
            for row in range(height):
                for i in range(min(5, row + 3) if tall else 1):
                    at = (row + 2 - i) * line + 2 * pixel + c + i
                    for column in range(width):
                        image[U(at + column * pixel)] = x[k, c, row, column]
        for o in range(outs):
            count, total = U(0), ZERO
            for row in range(rows):
                for column in range(columns):
                    which = winner[k, o, row, column]
                    gradients[count] = dy[k, o, row, column]
                    places[count] = (2 * row + (which >> 1)) * line + (
                        2 * column + (which & 1)
                    ) * pixel
                    count += U(which != DEAD)  # without a branch: nobody can predict who lives
            for i in range(count):
                total += gradients[i]
            dbias[o] += total
            if tall:
                add_tall(sums, U(o * TALL), image, places, gradients, count)
            else:
                for i in range(5):
                    to = U((o * 5 + i) * WIDE)
                    add_wide(sums, to, image, U(i * line), places, gradients, 0, count)
    for o in range(outs):
        for c in range(ins):
            for i in range(5):
                for j in range(5):
                    at = o * TALL + j * 5 + i if tall else (o * 5 + i) * WIDE + j * pixel + c
                    dw[o, c, i, j] = sums[at]


@jit
def input_gradient(w, winner, dy, dx, image, kernels, places, gradients, starts, ends):
    """dx [n, in, height, width] from w, winner and dy.

    Each window has a list of its winners, `places` and `gradients` [columns, 2 out + 1], which
    grows from its
    middle: those of its upper row behind it, of its lower row before. Row i of the six around the
    window takes row i of the kernel from the upper ones and row i - 1 from the lower ones. Scratch:
    `image` [height + 4, width + 4, CHANNELS]; `kernels` [6, out, SURROUNDINGS], zero at first, the
    kernel's rows from [1] on, each behind a pixel of zeros: a winner on the right takes these too,
    one on the left starts behind them; `starts` and `ends` [columns] of the lists.
    """
    outs, ins = w.shape[:2]
    n, _, rows, columns = winner.shape
    line, room, kernel_row = (2 * columns + 4) * CHANNELS, 2 * outs + 1, outs * SURROUNDINGS
    for o in range(outs):
        for c in range(ins):
            for i in range(5):
                for j in range(5):
                    kernels[(i + 1) * kernel_row + o * SURROUNDINGS + (j + 1) * CHANNELS + c] = w[
                        o, c, i, j
                    ]
    for k in range(n):
        image[:] = 0
        for row in range(rows):
            for column in range(columns):
                end = column * room + outs
                start, nowhere = end - 1, end + outs
                for o in range(outs):
                    which = winner[k, o, row, column]
                    is_lower = which >> 1 == 1
                    slot = U(nowhere if which == DEAD else start if is_lower else end)
                    gradients[slot] = dy[k, o, row, column]
                    place = o * SURROUNDINGS + (1 - (which & 1)) * CHANNELS
                    places[slot] = place if is_lower else place + kernel_row
                    end += which < 2
                    start -= is_lower
                starts[column], ends[column] = start + 1, end
            for i in range(6):
                for column in range(columns):
                    middle = column * room + outs
                    first, last = (
                        middle if i == 0 else starts[column],
                        middle if i == 5 else ends[column],
                    )
                    to = U((2 * row + i) * line + 2 * column * CHANNELS)
                    add_surroundings(
                        image, to, kernels, U(i * kernel_row), places, gradients, first, last
                    )
        for c in range(ins):
            for row in range(2 * rows):
                at = (row + 2) * line + 2 * CHANNELS + c
                for column in range(2 * columns):
                    dx[k, c, row, column] = image[U(at + column * CHANNELS)]


@functools.cache
def scratch(use: str, floats: int, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Zeros that begin on a vector, the same ones for the same arguments.

    New ones each time cost more.

    `shape` [in, height, width] is given where a rim has to stay zero: it lies elsewhere for another
    shape.
    """
    room = np.zeros(floats + 16, "float32")
    start = -room.ctypes.data % 64 // 4
    return room[start : start + floats]


class Fused(PyLayer):
    """The kernels on Paddle's tape."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
        n, ins, height, width = x.shape
        outs = weight.shape[0]
        y = paddle.empty([n, outs, height // 2, width // 2], "float32")
        ctx.winner = array(paddle.empty(y.shape, "uint8"))
        ctx.inputs, ctx.of_input = (array(x), array(weight)), not x.stop_gradient
        beside = scratch("beside", ins * (height + 4) * (width + 4) * 16, (ins, height, width))
        sums = scratch("sums", outs * 2 * width * 16)
        forward(*ctx.inputs, array(bias), array(y), ctx.winner, beside, sums)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Any) -> tuple[Any, Any, Any]:
        (x, w), (_, outs, rows, columns) = ctx.inputs, ctx.winner.shape
        _, ins, height, width = x.shape
        dweight, dbias, dx = paddle.empty(w.shape, "float32"), paddle.empty([outs], "float32"), None
        pixels, given = (height + 4) * (width + 4), array(dy.contiguous())
        room = max(rows * columns + 1, columns * (2 * outs + 1))
        places, gradients = scratch("places", 2 * room).view("uintp"), scratch("gradients", room)
        floats = pixels * (5 if ins == 1 else CHANNELS) + WIDE
        image = scratch("image of weight", floats, (ins, height, width))
        sums = scratch("sums of weight", outs * 5 * WIDE)
        weight_gradient(
            x, ctx.winner, given, array(dweight), array(dbias), image, sums, places, gradients
        )
        if ctx.of_input:
            dx = paddle.empty(x.shape, "float32")
            image = scratch("image of input", pixels * CHANNELS + SURROUNDINGS)
            kernels = scratch("kernels", 6 * outs * SURROUNDINGS + CHANNELS)
            limits = (
                scratch("starts", 2 * columns).view("int64"),
                scratch("ends", 2 * columns).view("int64"),
            )
            input_gradient(
                w, ctx.winner, given, array(dx), image, kernels, places, gradients, *limits
            )
        return dx, dweight, dbias


def array(tensor: Any) -> np.ndarray:
    """The tensor's own memory."""
    return np.from_dlpack(tensor.detach())


class NumbaBlock(paddle.nn.Conv2D):
    """relu(max_pool2d(conv2d(x))), as experiments.kernels.conv_block.ConvBlock.

    For 5x5 kernels with padding 2.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        if in_channels not in (1, CHANNELS):
            raise ValueError(f"made for 1 or {CHANNELS} channels, not {in_channels}")
        super().__init__(in_channels, out_channels, 5, padding=2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return Fused.apply(x.contiguous(), self.weight, self.bias)


def check(images: np.ndarray) -> None:
    """Raise unless both layers of the convnet give what Paddle's operators do, for images [n, 1.

    28, 28].
    """
    x, random = paddle.to_tensor(images), np.random.default_rng(0)
    for ins in (1, 20):
        block, found = NumbaBlock(ins, 20), []
        block.bias.set_value(random.normal(0, 0.1, 20).astype("float32"))
        x.stop_gradient = False
        stock = F.relu(F.max_pool2d(F.conv2d(x, block.weight, block.bias, padding=2), 2))
        dy = paddle.to_tensor(random.normal(size=stock.shape).astype("float32"))
        for y in (stock, block(x)):
            inputs = [x, block.weight, block.bias]
            found.append([y, *paddle.grad(y, inputs, dy)])
        for name, a, b in zip(("y", "dx", "dweight", "dbias"), *found, strict=True):
            error = float((a - b).abs().max() / a.abs().max())
            if not error < 1e-4:
                raise ArithmeticError(
                    f"{name}, {ins} channels: off by {error:.1e} of its largest value"
                )
        x = stock.detach()
