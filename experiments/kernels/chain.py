"""Runs of ordinary layers in a `Sequential`, computed by oneDNN.

`install` lets each `nn.Sequential` of a network find the runs of neighbouring layers in it that
`units.py` covers, and compute each run, forward and backward, as one operation: the arrays between
its layers keep the form that is fast for a CPU, channels last. The network's layers, the names of
its weights, its values and its export stay as they are. Paddle's own operators compute what is not
covered: other layers, subclasses, layers with hooks, other types and devices, static graphs, and
everything where oneDNN is absent or FAIRLOSS_KERNEL=stock. Second derivatives are refused.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import itertools
import logging
import math
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.autograd import PyLayer

from experiments.kernels import conv_block, onednn, units
from experiments.kernels.builder import Builder

_log = logging.getLogger(__name__)

_MOST_PLANS = 8  # of a run of layers: batches of training, the last one, evaluation


class Chained(nn.Sequential):
    """An `nn.Sequential` that computes runs of its layers by oneDNN."""

    @paddle.jit.not_to_static
    def forward(self, x: Any) -> Any:
        """The same values as those of `nn.Sequential`, up to rounding."""
        for part in _parts(self) if paddle.in_dynamic_mode() else self._sub_layers.values():
            x = part(x)
        return x


def install(network: nn.Layer) -> None:
    """Let each `nn.Sequential` in `network` compute its runs of layers by oneDNN."""
    for layer in network.sublayers(include_self=True):
        if type(layer) is nn.Sequential:
            layer.__class__ = Chained


def kernel(network: nn.Layer) -> str:
    """What computes the network: "fused-avx512" or "fused-avx2" (conv blocks), "onednn-VERSION".

    Both are joined by "+"; "stock" where all is left to Paddle's own operators.
    """
    parts = [conv_block.kernel(network)]
    if _computed(network) and _permitted() and not _obstacle():
        parts.append(f"onednn-{onednn.library().version}")
    return "+".join(part for part in parts if part != "stock") or "stock"


def notices(network: nn.Layer) -> tuple[tuple[int, str], ...]:
    """Levels and sentences about what computes the network, for its user."""
    layers = [layer for layer in network.sublayers() if not layer._sub_layers]
    computed = {id(layer) for layer in _computed(network)}
    before = conv_block.notices(network)
    if not computed or not _permitted():
        return before
    if obstacle := _obstacle():
        text = f"Paddle's own operators compute all layers, slower than oneDNN: {obstacle}"
        return *before, (logging.WARNING, f"{text} (FAIRLOSS_KERNEL=stock ends the warning)")
    others = [type(layer).__name__ for layer in layers if id(layer) not in computed]
    text = f"oneDNN {onednn.library().version} computes {len(computed)} of {len(layers)} layers"
    text += f", not {', '.join(dict.fromkeys(others))}" if others else ""
    return *before, (logging.INFO, text)


def _computed(network: nn.Layer) -> list[nn.Layer]:
    """The layers of `network` that oneDNN can compute."""
    chains = [each for each in network.sublayers(include_self=True) if type(each) is Chained]
    inner = {id(child) for chain in chains for child in chain._sub_layers.values()}
    parts = [part for chain in chains if id(chain) not in inner for part in _runs(_flat(chain))]
    return [layer for part in parts if isinstance(part, _Run) for layer in part.layers]


def _permitted() -> bool:
    """Whether oneDNN may be used in this process."""
    return os.environ.get("FAIRLOSS_KERNEL") != "stock" and paddle.get_device() == "cpu"


@functools.cache
def _obstacle() -> str:
    """Why oneDNN cannot be used; empty where it computes a small case as Paddle does."""
    numbers = np.sin(np.arange(216, dtype=np.float32))
    first, second = (
        paddle.ParamAttr(
            initializer=nn.initializer.Assign(numbers[: math.prod(shape)].reshape(shape))
        )
        for shape in ((4, 3, 3, 3), (2, 4, 3, 3))
    )
    with paddle.utils.unique_name.guard():  # neither names nor the random stream are touched
        layers = [
            nn.Conv2D(3, 4, 3, padding=1, weight_attr=first), nn.BatchNorm2D(4), nn.ReLU(),
            nn.MaxPool2D(2), nn.Conv2D(4, 2, 3, weight_attr=second), nn.Tanh(), nn.AvgPool2D(2),
        ]  # fmt: skip
    run, results = _Run(layers), []
    try:
        plan = _Plan(run.units, (2, 3, 14, 14), True, True)
    except onednn.Unsupported as error:
        return str(error)
    for compute in (run.stock, lambda x: _Operation.apply(x, plan, *run.parameters())):
        x = paddle.to_tensor(np.resize(numbers, (2, 3, 14, 14)), stop_gradient=False)
        with paddle.enable_grad():  # the first use may be an evaluation
            y = compute(x)
            results.append([y, *paddle.grad(y.square().sum(), [x, *run.parameters()])])
    for expected, found in zip(*results, strict=True):
        if not np.allclose(expected.numpy(), found.numpy(), rtol=1e-3, atol=1e-3):
            return "it does not compute what Paddle's operators compute"
    return ""


class _Run:
    """Neighbouring layers that are computed as one operation."""

    def __init__(self, layers: Sequence[nn.Layer]) -> None:
        self.layers = layers
        self.units = units.of_layers(layers)
        self.normalizations = [layer for layer in layers if type(layer) is nn.BatchNorm2D]
        self._plans: collections.OrderedDict[Any, _Plan | None] = collections.OrderedDict()

    def __call__(self, x: paddle.Tensor) -> paddle.Tensor:
        """The output of the last layer for the input of the first."""
        parameters = self.parameters()
        plan = self._plan(x, parameters) if self._covers(x, parameters) else None
        if plan is None:
            return self.stock(x)
        if plan.learns:
            return _Operation.apply(x, plan, *parameters)
        y, unused = plan.forward(x, parameters)
        _buffers.append(unused)
        return y

    def parameters(self) -> list[paddle.Tensor]:
        """The tensors that its layers learn, in the order of its units."""
        return [tensor for unit in self.units for tensor in unit.parameters()]

    def stock(self, x: paddle.Tensor) -> paddle.Tensor:
        """The same by Paddle's own operators."""
        for layer in self.layers:
            x = layer(x)
        return x

    def _covers(self, x: paddle.Tensor, parameters: Sequence[paddle.Tensor]) -> bool:
        return (
            len(x.shape) in (2, 4)
            and x.shape[0] > 0
            and all(
                tensor.dtype == paddle.float32 and tensor.place.is_cpu_place()
                for tensor in (x, *parameters)
            )
            and all(tensor.is_contiguous() for tensor in parameters)
        )

    def _plan(self, x: paddle.Tensor, parameters: Sequence[paddle.Tensor]) -> _Plan | None:
        """How to compute this input; None where Paddle's own operators have to."""
        learns = paddle.is_grad_enabled() and not (
            x.stop_gradient and all(tensor.stop_gradient for tensor in parameters)
        )
        training = tuple(layer.training for layer in self.normalizations)
        if learns and not all(training):
            return None  # the gradient through fixed statistics is another
        shapes = [tuple(tensor.shape) for tensor in parameters]  # weights may be replaced
        shape, of_input = tuple(x.shape), learns and not x.stop_gradient
        key = shape, learns, of_input, training, *shapes
        if key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        try:
            plan = _Plan(self.units, shape, learns, of_input)
        except onednn.Unsupported as error:
            plan = None
            _log.warning("Paddle's own operators compute inputs %s: %s", x.shape, error)
        self._plans[key] = plan
        if len(self._plans) > _MOST_PLANS:
            self._plans.popitem(last=False)
        return plan


class _Buffer:
    """Memory that begins at a line of the cache."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._bytes = np.empty(size + onednn.ALIGNMENT, np.uint8)
        start = self._bytes.ctypes.data
        self.address = start + -start % onednn.ALIGNMENT


_buffers: list[_Buffer] = []  # that nobody uses: new memory costs more than the work on it


def _take(size: int) -> _Buffer:
    """A buffer of at least `size` bytes; where all are too small, the largest is replaced."""
    _buffers.sort(key=lambda buffer: buffer.size)
    for i, buffer in enumerate(_buffers):
        if buffer.size >= size:
            return _buffers.pop(i)
    if _buffers:
        _buffers.pop()
    return _Buffer(size)


class _Plan:
    """The programs of a run of layers for one shape of input.

    Args:
        parts: The units of the run.
        shape: [batch, channels, height, width] of an input.
        learns: Whether there will be a gradient.
        of_input: Whether the input needs one, too.
    """

    def __init__(
        self, parts: Sequence[units.Unit], shape: tuple[int, ...], learns: bool, of_input: bool
    ) -> None:
        self.learns, self._of_input = learns, of_input
        builder = self._builder = Builder(learns)
        found, needed, wanted = builder.entering(builder.forward, shape, "x"), of_input, []
        for unit in parts:
            found = unit.build(builder, found)
            wanted.append(needed)
            needed = needed or bool(unit.parameters())
        self._shape = list(found.array.dims)
        builder.leaving(builder.forward, found, "y")
        if learns:
            found = builder.entering(builder.backward, self._shape, "dy")
            for unit, needed in zip(reversed(parts), reversed(wanted), strict=True):
                found = unit.build_backward(builder, found, needed)
            if of_input:
                builder.leaving(builder.backward, found, "dx")

    def forward(
        self, x: paddle.Tensor, parameters: Sequence[paddle.Tensor], *, again: bool = False
    ) -> tuple[paddle.Tensor, _Buffer]:
        """The output, and what the backward pass needs; `again` leaves running statistics alone."""
        x, y = x.contiguous(), _empty(self._shape)
        saved, spare = _take(self._builder.sizes["saved"]), self._spare()
        addresses = self._addresses(saved, spare, parameters)
        for unit in self._builder.fixed:
            addresses[f"mean {unit.first}"] = unit.layer._mean.data_ptr()
            addresses[f"variance {unit.first}"] = unit.layer._variance.data_ptr()
        self._builder.forward.run(addresses | {"x": x.data_ptr(), "y": y.data_ptr()})
        if not again:
            for layer, *found in self._builder.statistics:
                keep = np.float32(layer._momentum)
                for old, memory in zip((layer._mean, layer._variance), found, strict=True):
                    running = _floats(old.data_ptr(), old.size)
                    running *= keep
                    new = _floats(addresses[memory.place] + memory.offset, old.size)
                    running += (np.float32(1) - keep) * new
        _buffers.append(spare)
        return y, saved

    def backward(
        self,
        x: paddle.Tensor,
        parameters: Sequence[paddle.Tensor],
        saved: _Buffer,
        dy: paddle.Tensor,
    ) -> list[paddle.Tensor | None]:
        """The gradients of x, None where it needs none, and of the parameters."""
        x, dy, spare = x.contiguous(), dy.contiguous(), self._spare()
        gradients = [_empty(tensor.shape) for tensor in parameters]
        addresses = self._addresses(saved, spare, parameters)
        addresses |= {f"d{i}": tensor.data_ptr() for i, tensor in enumerate(gradients)}
        addresses |= {"x": x.data_ptr(), "dy": dy.data_ptr()}
        dx = None
        if self._of_input:
            dx = _empty(x.shape)
            addresses["dx"] = dx.data_ptr()
        self._builder.backward.run(addresses)
        _buffers.append(spare)
        return [dx, *gradients]

    def _spare(self) -> _Buffer:
        return _take(sum(self._builder.sizes[place] for place in ("even", "odd", "spare")))

    def _addresses(
        self, saved: _Buffer, spare: _Buffer, parameters: Sequence[paddle.Tensor]
    ) -> dict[str, int]:
        sizes, start = self._builder.sizes, spare.address
        addresses = {f"{i}": tensor.data_ptr() for i, tensor in enumerate(parameters)}
        return addresses | {
            "saved": saved.address,
            "even": start,
            "odd": start + sizes["even"],
            "spare": start + sizes["even"] + sizes["odd"],
        }


def _empty(shape: Sequence[int]) -> paddle.Tensor:
    """A tensor that oneDNN will fill."""
    return paddle.empty(shape, "float32")


def _floats(address: int, count: int) -> np.ndarray:
    """The float32 numbers at an address, without a copy."""
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))


class _Operation(PyLayer):
    """A run of layers on Paddle's tape."""

    @staticmethod
    def forward(ctx, x, plan, *parameters):
        y, ctx.saved = plan.forward(x, parameters)
        ctx.save_for_backward(x, *parameters)
        ctx.plan = plan
        ctx.versions = [tensor.inplace_version for tensor in (x, *parameters)]
        ctx.wanted = [not tensor.stop_gradient for tensor in (x, *parameters)]
        return y

    @staticmethod
    def backward(ctx, dy):
        inputs = x, *parameters = ctx.saved_tensor()
        if ctx.versions != [tensor.inplace_version for tensor in inputs]:
            raise RuntimeError(
                "the input or a weight of a layer was changed in place between the forward and the "
                "backward pass, so the gradient cannot be computed; change a copy, or call "
                "backward() first"
            )
        if paddle.is_grad_enabled():
            raise RuntimeError(
                "layers that oneDNN computes have no second derivative (create_graph=True); set "
                "FAIRLOSS_KERNEL=stock in the environment to run Paddle's own operators"
            )
        saved, ctx.saved = ctx.saved, None
        if saved is None:  # a second backward pass through a graph that was retained
            _, saved = ctx.plan.forward(x, parameters, again=True)
        gradients = ctx.plan.backward(x, parameters, saved, dy)
        _buffers.append(saved)
        return tuple(
            gradient if wanted else None
            for gradient, wanted in zip(gradients, ctx.wanted, strict=True)
        )


Part = Callable[[paddle.Tensor], paddle.Tensor]
Member = tuple[nn.Layer, bool]  # a layer, and whether it has hooks
_split: weakref.WeakKeyDictionary[nn.Layer, tuple[list[Member], list[Part]]] = (
    weakref.WeakKeyDictionary()
)


def _parts(sequential: nn.Sequential) -> list[Part]:
    """The runs of a `Sequential`, and the layers between them."""
    members = list(_flat(sequential))
    known = _split.get(sequential)
    if known is None or known[0] != members:
        usable = _permitted() and not _obstacle()
        parts = _runs(members) if usable else (layer for layer, _ in members)
        known = _split[sequential] = members, list(parts)
    return known[1]


def _flat(sequential: nn.Sequential) -> Iterator[Member]:
    """The layers of a `Sequential`, those of a `Sequential` in it in its place."""
    for layer in sequential._sub_layers.values():
        hooked = bool(layer._forward_pre_hooks or layer._forward_post_hooks)
        if type(layer) is Chained and not hooked:
            yield from _flat(layer)
        else:
            yield layer, hooked


def _runs(members: Iterable[Member]) -> Iterator[Part]:
    """Neighbours that oneDNN can compute as one run, if there is a convolution; and the others."""
    for able, group in itertools.groupby(members, lambda member: _able(*member)):
        layers = [layer for layer, _ in group]
        if able and any(isinstance(layer, nn.Conv2D) for layer in layers):
            yield _Run(layers)
        else:
            yield from layers


def _able(layer: nn.Layer, hooked: bool) -> bool:
    """Whether a layer can be part of a run."""
    return not hooked and units.covered(layer)
