"""A chain of layers for one shape of input: its programs, their memory, and Paddle's tape.

Threads compute one after the other: a plan, and the memory that it works in, serves one computation
at a time.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import numpy as np
import paddle
from paddle.autograd import PyLayer

from experiments.kernels import onednn, tape
from experiments.kernels.builder import Builder, Unit

lock = threading.Lock()  # held while plans are built, and while they and the buffers are used


class Buffer:
    """Memory that begins at a line of the cache."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._bytes = np.empty(size + onednn.ALIGNMENT, np.uint8)
        start = self._bytes.ctypes.data
        self.address = start + -start % onednn.ALIGNMENT


buffers: list[Buffer] = []  # that nobody uses: new memory costs more than the work on it


def _take(size: int) -> Buffer:
    """The smallest of at least `size` bytes; where all are too small, the largest is replaced."""
    fitting = None
    for buffer in buffers:
        if buffer.size >= size and (fitting is None or buffer.size < fitting.size):
            fitting = buffer
    if fitting is None and buffers:
        buffers.remove(max(buffers, key=lambda buffer: buffer.size))
    elif fitting is not None:
        buffers.remove(fitting)
    return fitting or Buffer(size)


class Plan:
    """The programs of a chain for one shape of input.

    Args:
        parts: The units of the chain.
        shape: [batch, channels, height, width] of an input, or [batch, features].
        of_input: Whether its gradient will be needed.
        of_parameters: The same of each parameter. Without any gradient there is no backward pass.

    Raises:
        Unsupported: The shapes do not fit each other, or oneDNN is slow for them.
    """

    def __init__(
        self,
        parts: Sequence[Unit],
        shape: tuple[int, ...],
        of_input: bool,
        of_parameters: Sequence[bool],
    ) -> None:
        self.learns = of_input or any(of_parameters)
        self._of_input, self._of_parameters = of_input, of_parameters
        builder = self._builder = Builder(self.learns)
        result = builder.entering(builder.forward, shape, "x")
        for unit in parts:
            result = unit.build(builder, result)
        self._shape = list(result.array.dims)
        if parts[-1].rereads_output:
            builder.leaving(builder.forward, result, "y")
        else:
            result.place, result.offset = "y", 0
        if self.learns:
            self._build_backward(parts)
        self._sizes = [builder.sizes[place] for place in ("even", "odd", "spare")]
        self._names = [str(i) for i in range(len(of_parameters))]

    def _build_backward(self, parts: Sequence[Unit]) -> None:
        """Add the backward pass, down to the first layer that learns or to the input."""
        builder = self._builder
        gradient = builder.entering(builder.backward, self._shape, "dy")
        for unit in reversed(parts):
            before = self._of_input or any(self._of_parameters[: unit.first])
            end = unit.first + len(unit.parameters())
            learns = any(self._of_parameters[unit.first : end])
            gradient = unit.build_backward(builder, gradient, of_input=before, learns=learns)
            if not before:
                return
        builder.leaving(builder.backward, gradient, "dx")

    def forward(
        self, x: paddle.Tensor, parameters: Sequence[paddle.Tensor], *, again: bool = False
    ) -> tuple[paddle.Tensor, Buffer]:
        """The output, and what the backward pass needs; `again` leaves running statistics alone."""
        x, y = x.contiguous(), tape.empty(self._shape)
        saved, spare = _take(self._builder.sizes["saved"]), self._spare()
        addresses = self._addresses(saved, spare, parameters)
        for unit in self._builder.fixed:
            addresses[f"mean {unit.first}"] = unit.layer._mean.data_ptr()
            addresses[f"variance {unit.first}"] = unit.layer._variance.data_ptr()
        self._builder.forward.execute(addresses | {"x": x.data_ptr(), "y": y.data_ptr()})
        if not again:
            for layer, *memories in self._builder.statistics:
                keep = np.float32(layer._momentum)
                for old, memory in zip((layer._mean, layer._variance), memories, strict=True):
                    running = _floats(old.data_ptr(), old.size)
                    running *= keep
                    new = _floats(addresses[memory.place] + memory.offset, old.size)
                    running += (np.float32(1) - keep) * new
        buffers.append(spare)
        return y, saved

    def backward(
        self,
        x: paddle.Tensor,
        parameters: Sequence[paddle.Tensor],
        saved: Buffer,
        dy: np.ndarray,
    ) -> list[paddle.Tensor | None]:
        """The gradients of x and of the parameters, None of what needs none."""
        x, dy, spare = x.contiguous(), np.ascontiguousarray(dy, np.float32), self._spare()
        gradients = [tape.empty(tensor.shape) for tensor in parameters]
        addresses = self._addresses(saved, spare, parameters)
        addresses |= {f"d{i}": tensor.data_ptr() for i, tensor in enumerate(gradients)}
        addresses |= {"x": x.data_ptr(), "dy": dy.ctypes.data}
        dx = None
        if self._of_input:
            dx = tape.empty(x.shape)
            addresses["dx"] = dx.data_ptr()
        self._builder.backward.execute(addresses)
        buffers.append(spare)
        pairs = zip(gradients, self._of_parameters, strict=True)
        return [dx, *(gradient if learns else None for gradient, learns in pairs)]

    def _spare(self) -> Buffer:
        return _take(sum(self._sizes))

    def _addresses(
        self, saved: Buffer, spare: Buffer, parameters: Sequence[paddle.Tensor]
    ) -> dict[str, int]:
        even, odd, _ = self._sizes
        addresses = {
            "saved": saved.address,
            "even": spare.address,
            "odd": spare.address + even,
            "spare": spare.address + even + odd,
        }
        for name, tensor in zip(self._names, parameters, strict=True):
            addresses[name] = tensor.data_ptr()
        return addresses


def _floats(address: int, count: int) -> np.ndarray:
    """The float32 numbers at an address, without a copy."""
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))


def compute(plan: Plan, x: paddle.Tensor, parameters: Sequence[paddle.Tensor]) -> paddle.Tensor:
    """The output of a chain."""
    with lock:
        if plan.learns:
            return _Operation.apply(plan, [tape.anchor(), x, *parameters])
        y, unused = plan.forward(x, parameters)
        buffers.append(unused)
        return y


class Continuation:
    """Continues a backward pass through a chain that was computed off Paddle's tape.

    Attributes:
        parameters: Of the chain. Those that learn get gradients, without hooks on them.
    """

    def __init__(
        self, plan: Plan, x: paddle.Tensor, parameters: Sequence[paddle.Tensor], saved: Buffer
    ) -> None:
        self.parameters = parameters
        self._plan, self._x, self._saved = plan, x, [saved]
        self._versions = _versions([x, *parameters])

    def __call__(self, dy: np.ndarray) -> None:
        """Add the gradients of the parameters, from that of the output; once."""
        x, parameters = self._x, self.parameters
        _check_unchanged(self._versions, _versions([x, *parameters]))
        with lock:
            saved = self._saved.pop()  # IndexError at a second call
            _, *gradients = self._plan.backward(x, parameters, saved, dy)
            buffers.append(saved)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                before = parameter._grad_ivar()
                parameter.grad_ = gradient if before is None else before + gradient  # no copy


def compute_off_tape(
    plan: Plan, x: paddle.Tensor, parameters: Sequence[paddle.Tensor]
) -> tuple[paddle.Tensor, Continuation]:
    """The output of a chain that learns, as a constant; and what continues a backward pass."""
    with lock:
        y, saved = plan.forward(x, parameters)
    return y, Continuation(plan, x, parameters, saved)


def _versions(tensors: Sequence[paddle.Tensor]) -> list[int]:
    """How often each tensor was changed in place."""
    return [tensor.inplace_version for tensor in tensors]


def _check_unchanged(before: Sequence[int], now: Sequence[int]) -> None:
    if before != now:
        raise RuntimeError(
            "the input or a weight of a layer was changed in place between the forward and the "
            "backward pass, so the gradient cannot be computed; change a copy, or call "
            "backward() first"
        )


class _Operation(PyLayer):
    """A chain on Paddle's tape."""

    @staticmethod
    def forward(ctx, plan, tensors):
        _, x, *parameters = tensors
        y, ctx.saved = plan.forward(x, parameters)
        ctx.save_for_backward(*tensors)
        ctx.plan = plan
        ctx.versions = _versions(tensors)
        return y

    @staticmethod
    def backward(ctx, dy):
        _, x, *parameters = tensors = ctx.saved_tensor()
        _check_unchanged(ctx.versions, _versions(tensors))
        if paddle.is_grad_enabled():
            raise RuntimeError(
                "layers that oneDNN computes have no second derivative (create_graph=True); set "
                "FAIRLOSS_KERNEL=stock in the environment to run Paddle's own operators"
            )
        with lock:
            saved, ctx.saved = ctx.saved, None
            if saved is None:  # a second backward pass through a graph that was retained
                _, saved = ctx.plan.forward(x, parameters, again=True)
            gradients = ctx.plan.backward(x, parameters, saved, dy.numpy())
            buffers.append(saved)
        return ([None, *gradients],)
