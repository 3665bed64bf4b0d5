"""Chains of ordinary layers in a `Sequential`, computed by oneDNN.

`install` lets each `nn.Sequential` of a network find its chains, neighbours that `units.py` covers,
and compute each chain, forward and backward, as one operation: the arrays between its layers keep
the form that is fast for a CPU, channels last. The network's layers, the names of its weights, its
values and its export stay as they are. Paddle's own operators compute what is not covered: other
layers, subclasses, layers with hooks, other types and devices, static graphs, and everything where
oneDNN is absent or FAIRLOSS_KERNEL=stock. Second derivatives are refused.
"""

from __future__ import annotations

import collections
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

from experiments.kernels import conv_block, onednn, plan, tape, units
from experiments.kernels.plan import Plan
from experiments.kernels.residual import Residual

_log = logging.getLogger(__name__)

_MOST_PLANS = 8  # of a chain: batches of training, the last one, evaluation


class Chained(nn.Sequential):
    """An `nn.Sequential` that computes its chains by oneDNN."""

    @paddle.jit.not_to_static
    def forward(self, x: Any) -> Any:
        """The same values as those of `nn.Sequential`, up to rounding."""
        for part in _parts(self) if paddle.in_dynamic_mode() else self._sub_layers.values():
            x = part(x)
        return x


def install(network: nn.Layer) -> None:
    """Let each `nn.Sequential` in `network` compute its chains by oneDNN."""
    for layer in network.sublayers(include_self=True):
        if type(layer) is nn.Sequential:
            layer.__class__ = Chained


def kernel(network: nn.Layer) -> str:
    """What can compute the network: "fused-avx512" or "fused-avx2" (conv blocks), "onednn-VERSION".

    Both are joined by "+"; "stock" where all is left to Paddle's own operators.
    """
    parts = [conv_block.kernel(network)]
    if _computed(network) and _permitted() and not _obstacle():
        parts.append(f"onednn-{onednn.library().version}")
    return "+".join(part for part in parts if part != "stock") or "stock"


def notices(network: nn.Layer) -> tuple[tuple[int, str], ...]:
    """Levels and sentences about what can compute the network, for its user."""
    layers = [layer for layer in network.sublayers() if not layer._sub_layers]
    computed = _computed(network)
    before = conv_block.notices(network)
    if not computed or not _permitted():
        return before
    if obstacle := _obstacle():
        text = f"Paddle's own operators compute all layers, slower than oneDNN: {obstacle}"
        return *before, (logging.WARNING, f"{text} (FAIRLOSS_KERNEL=stock ends the warning)")
    others = [type(layer).__name__ for layer in layers if id(layer) not in computed]
    text = f"oneDNN {onednn.library().version} can compute {len(computed)} of {len(layers)} layers"
    text += f", not {', '.join(dict.fromkeys(others))}" if others else ""
    return *before, (logging.INFO, text)


def _computed(network: nn.Layer) -> set[int]:
    """The `id` of each layer that oneDNN computes where the `Sequential` around it is called."""
    around = [each for each in network.sublayers(include_self=True) if type(each) is Chained]
    inner = {id(each) for outer in around for each in outer._sub_layers.values()}
    outermost = (each for each in around if id(each) not in inner or _hooked(each))
    parts = itertools.chain.from_iterable(_chains(_flat(each)) for each in outermost)
    return {id(each) for part in parts if isinstance(part, Chain) for each in _leaves(part.layers)}


OffTape = tuple[paddle.Tensor, plan.Continuation]


def outputs_of(network: nn.Layer, x: paddle.Tensor) -> OffTape | tuple[paddle.Tensor, None]:
    """The outputs of a network, and where they are constants what continues a backward pass.

    It is there where a chain at the end of the network has all of its weights and can compute this
    input: without Paddle's tape, a step of a small network takes half the time.
    """
    if type(network) is not Chained or _hooked(network) or not paddle.in_dynamic_mode():
        return network(x), None
    *others, last = _parts(network) or [network]
    for part in others:
        x = part(x)
    return (isinstance(last, Chain) and last.off_tape(x)) or (last(x), None)


def _permitted() -> bool:
    """Whether oneDNN may be used in this process."""
    return os.environ.get("FAIRLOSS_KERNEL") != "stock" and paddle.get_device() == "cpu"


@functools.cache
def _obstacle() -> str:
    """Why oneDNN cannot be used; empty where it computes a small case as Paddle does."""
    try:
        return "" if _trial() else "it does not compute what Paddle's operators compute"
    except (RuntimeError, OSError, AttributeError) as error:  # another build of the library
        return str(error)


def _trial() -> bool:
    """Whether a small chain has the values and gradients of Paddle's operators."""
    numbers = np.sin(np.arange(216, dtype=np.float32))
    default = paddle.get_default_dtype()
    paddle.set_default_dtype("float32")  # code of the user's may have set another
    try:
        with paddle.utils.unique_name.guard():  # neither names nor the random stream are touched
            first, second = (
                paddle.ParamAttr(
                    initializer=nn.initializer.Assign(numbers[: math.prod(shape)].reshape(shape))
                )
                for shape in ((4, 3, 3, 3), (2, 4, 3, 3))
            )
            chain = Chain(
                [nn.Conv2D(3, 4, 3, padding=1, weight_attr=first), nn.BatchNorm2D(4), nn.ReLU(),
                 nn.MaxPool2D(2), nn.Conv2D(4, 2, 3, weight_attr=second), nn.Tanh(),
                 nn.AvgPool2D(2)]
            )  # fmt: skip
    finally:
        paddle.set_default_dtype(default)
    parameters, results = chain.parameters(), []
    trial = Plan(chain.units, (2, 3, 14, 14), True, [True] * len(parameters))
    for compute in (chain.stock, lambda x: plan.compute(trial, x, parameters)):
        x = paddle.to_tensor(np.resize(numbers, (2, 3, 14, 14)), stop_gradient=False)
        with paddle.enable_grad():  # the first use may be an evaluation
            y = compute(x)
            results.append([y, *paddle.grad(y.square().sum(), [x, *parameters])])
    return all(
        np.allclose(expected.numpy(), result.numpy(), rtol=1e-3, atol=1e-3)
        for expected, result in zip(*results, strict=True)
    )


class Chain:
    """Neighbouring layers that are computed as one operation."""

    def __init__(self, layers: Sequence[nn.Layer]) -> None:
        self.layers = layers
        self.units = units.of_layers(layers)
        self.normalizations = [each for each in _leaves(layers) if type(each) is nn.BatchNorm2D]
        self.plans: collections.OrderedDict[Any, Plan | None] = collections.OrderedDict()
        self._last: tuple[Any, Plan | None] = None, None

    def __call__(self, x: paddle.Tensor) -> paddle.Tensor:
        """The output of the last layer for the input of the first."""
        parameters = self.parameters()
        chosen = self._plan(x, parameters)
        return self.stock(x) if chosen is None else plan.compute(chosen, x, parameters)

    def off_tape(self, x: paddle.Tensor) -> OffTape | None:
        """What `plan.compute_off_tape` gives for a constant input; None where it cannot."""
        parameters = self.parameters()
        chosen = self._plan(x, parameters) if x.stop_gradient else None
        shared = len(set(map(id, parameters))) < len(parameters)  # by two layers
        if chosen is None or not chosen.learns or shared or any(map(tape.hooked, parameters)):
            return None
        return plan.compute_off_tape(chosen, x, parameters)

    def parameters(self) -> list[paddle.Tensor]:
        """The tensors that its layers learn, in the order of its units."""
        return [tensor for unit in self.units for tensor in unit.parameters()]

    def stock(self, x: paddle.Tensor) -> paddle.Tensor:
        """The same by Paddle's own operators."""
        for layer in self.layers:
            x = layer(x)
        return x

    def _plan(self, x: paddle.Tensor, parameters: Sequence[paddle.Tensor]) -> Plan | None:
        """How to compute this input; None where Paddle's own operators have to."""
        training = [layer.training for layer in self.normalizations]
        others = [*parameters]
        for layer in self.normalizations:
            others += layer._mean, layer._variance
        forms = [  # weights may be replaced; where they lie says on which device
            (each.dtype, each.shape, each.stop_gradient, each.is_contiguous(), each.data_ptr())
            for each in others
        ]
        of_input = x.dtype, x.shape, x.stop_gradient, x.place._type()
        seen = paddle.is_grad_enabled(), training, of_input, forms
        last, chosen = self._last
        if seen != last:
            with plan.lock:
                chosen = self._planned(x, parameters, others, training)
            self._last = seen, chosen
        return chosen

    def _planned(
        self,
        x: paddle.Tensor,
        parameters: Sequence[paddle.Tensor],
        others: Sequence[paddle.Tensor],
        training: Sequence[bool],
    ) -> Plan | None:
        """The plan for an input; `others` are parameters and running statistics."""
        if not (
            len(x.shape) in (2, 4)
            and x.shape[0] > 0
            and all(
                each.dtype == paddle.float32 and each.place.is_cpu_place() for each in (x, *others)
            )
            and all(each.is_contiguous() for each in others)
        ):
            return None
        records = paddle.is_grad_enabled()
        of_input, *of_parameters = (records and not each.stop_gradient for each in (x, *parameters))
        if (of_input or any(of_parameters)) and not all(training):
            return None  # the gradient through fixed statistics is another
        key = of_input, *of_parameters, *training, *(tuple(each.shape) for each in (x, *parameters))
        if key in self.plans:
            self.plans.move_to_end(key)
            return self.plans[key]
        try:
            chosen = Plan(self.units, tuple(x.shape), of_input, of_parameters)
        except onednn.Unsupported as error:
            chosen = None
            _log.warning("Paddle's own operators compute inputs %s: %s", x.shape, error)
        self.plans[key] = chosen
        if len(self.plans) > _MOST_PLANS:
            self.plans.popitem(last=False)
        return chosen


Part = Callable[[paddle.Tensor], paddle.Tensor]
Member = tuple[nn.Layer, bool, Any]  # a layer, whether it has hooks, the members of a block
_split: weakref.WeakKeyDictionary[nn.Layer, tuple[list[Member], list[Part]]] = (
    weakref.WeakKeyDictionary()
)


def _parts(sequential: nn.Sequential) -> list[Part]:
    """The chains of a `Sequential`, and the layers between them."""
    members = list(_flat(sequential))
    split = _split.get(sequential)
    if split is None or split[0] != members:
        usable = _permitted() and not _obstacle()
        parts = _chains(members) if usable else (layer for layer, *_ in members)
        split = _split[sequential] = members, list(parts)
    return split[1]


def _flat(around: nn.Layer) -> Iterator[Member]:
    """The layers of a `Sequential` or a block, those of a `Sequential` in it in its place."""
    for layer in around._sub_layers.values():
        hooked = _hooked(layer)
        if type(layer) is Chained and not hooked:
            yield from _flat(layer)
        else:
            yield layer, hooked, list(_flat(layer)) if type(layer) is Residual else None


def _leaves(layers: Iterable[nn.Layer]) -> Iterator[nn.Layer]:
    """Layers, those that a block consists of in its place."""
    for layer in layers:
        yield from (each for each in layer.sublayers(include_self=True) if not each._sub_layers)


def _learns(part: Part) -> bool:
    return isinstance(part, Chain) or (isinstance(part, nn.Layer) and bool(part.parameters()))


def _hooked(layer: nn.Layer) -> bool:
    """Whether a layer computes more, or something else, than its class says."""
    replaced = "forward" in vars(layer)
    return bool(layer._forward_pre_hooks or layer._forward_post_hooks or replaced)


def _chains(members: Iterable[Member]) -> Iterator[Part]:
    """The chains, neighbours that oneDNN can compute; and the other layers.

    A chain has a convolution, or it has all the weights: shorter ones would take longer.
    """
    groups = itertools.groupby(list(members), lambda member: _able(*member))
    parts = [(able, [layer for layer, *_ in group]) for able, group in groups]
    weights = [any(map(_learns, layers)) for _, layers in parts]
    for (able, layers), learns in zip(parts, weights, strict=True):
        convolves = any(isinstance(each, nn.Conv2D) for each in _leaves(layers))
        if able and (convolves or (learns and sum(weights) == 1)):
            yield Chain(layers)
        else:
            yield from layers


def _able(layer: nn.Layer, hooked: bool, inner: Sequence[Member] | None) -> bool:
    """Whether a layer can be part of a chain."""
    if inner is not None:
        return not hooked and bool(inner) and all(_able(*member) for member in inner)
    return not hooked and units.covered(layer)
