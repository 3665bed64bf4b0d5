"""Layers as operations of oneDNN: which are covered, and the programs of a chain of them.

A unit is one covered layer. It adds its operations to the program of the forward pass, then, in
reverse order, to that of the backward pass. Arrays between units are channels last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import paddle
from paddle import nn

from experiments.kernels import conv_block, onednn, shapes, shortcut
from experiments.kernels.builder import Builder, Unit, same_either_way
from experiments.kernels.onednn import Memory, Primitive, channels_last, plain
from experiments.kernels.residual import Residual


def _tensor(layer: nn.Layer, name: str) -> paddle.Tensor:
    """An attribute, looked up where it usually is: that is ten times as fast."""
    own = layer._parameters
    return own[name] if name in own else getattr(layer, name)


class _Weighted(Unit):
    """A layer with a weight, and perhaps a bias."""

    primitive: Primitive
    array: onednn.Array
    bias: onednn.Array | None
    source: Memory
    weight: Memory

    def parameters(self) -> list[paddle.Tensor]:
        weight, bias = _tensor(self.layer, "weight"), _tensor(self.layer, "bias")
        return [weight] if bias is None else [weight, bias]

    def _add_forward(self, builder: Builder, source: Memory, weight: Memory) -> Memory:
        """Add the primitive to the forward pass; its output."""
        arguments = {
            onednn.SRC: source,
            onednn.WEIGHTS: weight,
            onednn.DST: (destination := builder.result(self.array)),
        }
        if self.bias:
            arguments[onednn.BIAS] = Memory(self.bias, f"{self.first + 1}")
        builder.forward.add(self.primitive, arguments)
        return destination

    def _add_gradients(self, builder: Builder, gradient: Memory, primitive: Primitive) -> None:
        """Add a primitive that computes the gradients of weight and bias to the backward pass."""
        target = Memory(self.weight.array, f"d{self.first}")
        form = primitive.chosen(onednn.DIFF_WEIGHTS)
        direct = target.array.like(form)
        result = target if direct else builder.room(form, "spare")
        arguments = {
            onednn.SRC: self.source,
            onednn.DIFF_DST: gradient,
            onednn.DIFF_WEIGHTS: result,
        }
        if self.bias:
            arguments[onednn.DIFF_BIAS] = Memory(self.bias, f"d{self.first + 1}")
        builder.backward.add(primitive, arguments)
        if not direct:
            builder.copy(builder.backward, result, target)


class _Convolution(_Weighted):
    def build(self, builder: Builder, source: Memory) -> Memory:
        layer, self.source = self.layer, source
        size, strides, padding, after, spread = shapes.window(
            layer.weight.shape[2:], layer._stride, layer._padding, layer._dilation
        )
        shape = shapes.windowed(
            source, layer.weight.shape[0], size, strides, padding, after, spread
        )
        shapes.expect([shape[1], source.array.dims[1], *size], layer.weight)
        shapes.expect([shape[1]], layer.bias)
        self.array, self.form = channels_last(*shape), onednn.any_format(*layer.weight.shape)
        self.bias = None if layer.bias is None else plain(layer.weight.shape[0])
        self.window = strides, spread, padding, after
        kind = onednn.FORWARD_TRAINING, onednn.CONVOLUTION_DIRECT
        arrays = source.array, self.form, self.bias, self.array
        self.primitive = Primitive("convolution_forward", *kind, *arrays, *self.window)
        self.weight = Memory(plain(*layer.weight.shape), f"{self.first}")
        form = self.primitive.chosen(onednn.WEIGHTS)
        weight = builder.arranged(builder.forward, self.weight, form)
        return self._add_forward(builder, source, weight)

    def build_backward(
        self, builder: Builder, gradient: Memory, *, of_input: bool, learns: bool
    ) -> Memory:
        if learns:
            primitive = Primitive(
                "convolution_backward_weights",
                onednn.CONVOLUTION_DIRECT,
                *(self.source.array, self.form, self.bias, self.array, *self.window),
                self.primitive,
            )
            self._add_gradients(builder, gradient, primitive)
        if not of_input:
            return gradient
        primitive = Primitive(
            "convolution_backward_data",
            onednn.CONVOLUTION_DIRECT,
            *(self.source.array, self.form, self.array, *self.window, self.primitive),
        )
        form = primitive.chosen(onednn.WEIGHTS)
        arguments = {
            onednn.DIFF_DST: gradient,
            onednn.WEIGHTS: builder.arranged(builder.backward, self.weight, form),
            onednn.DIFF_SRC: (result := builder.passing(self.source.array)),
        }
        builder.backward.add(primitive, arguments)
        return result


class _Normalization(Unit):
    def parameters(self) -> list[paddle.Tensor]:
        return [_tensor(self.layer, "weight"), _tensor(self.layer, "bias")]

    def build(self, builder: Builder, source: Memory) -> Memory:
        layer, self.source = self.layer, source
        channels = shapes.images(source)[1]
        for tensor in (layer.weight, layer.bias, layer._mean, layer._variance):
            shapes.expect([channels], tensor)
        statistics, training = plain(layer.weight.shape[0]), layer.training
        self.flags = onednn.USE_SCALE | onednn.USE_SHIFT
        if training:
            place = "saved" if builder.learns else "spare"
            self.mean, self.variance = (builder.room(statistics, place) for _ in range(2))
            builder.statistics.append((layer, self.mean, self.variance))
        else:
            self.flags |= onednn.USE_GLOBAL_STATISTICS
            builder.fixed.append(self)
            self.mean = Memory(statistics, f"mean {self.first}")
            self.variance = Memory(statistics, f"variance {self.first}")
        arrays = source.array, source.array
        kind = onednn.FORWARD_TRAINING if training else onednn.FORWARD_INFERENCE
        self.primitive = Primitive(
            "batch_normalization_forward", kind, *arrays, float(layer._epsilon), self.flags
        )
        self.scale = Memory(statistics, f"{self.first}")
        arguments = {
            onednn.SRC: source,
            onednn.DST: (destination := builder.result(source.array)),
            onednn.MEAN: self.mean,
            onednn.VARIANCE: self.variance,
            onednn.SCALE: self.scale,
            onednn.SHIFT: Memory(statistics, f"{self.first + 1}"),
        }
        builder.forward.add(self.primitive, arguments)
        return destination

    def build_backward(
        self, builder: Builder, gradient: Memory, *, of_input: bool, learns: bool
    ) -> Memory:
        array, statistics = self.source.array, self.scale.array
        epsilon = float(self.layer._epsilon)
        primitive = Primitive(
            "batch_normalization_backward",
            onednn.BACKWARD, array, array, array, epsilon, self.flags, self.primitive,
        )  # fmt: skip
        arguments = {
            onednn.SRC: self.source,
            onednn.MEAN: self.mean,
            onednn.VARIANCE: self.variance,
            onednn.SCALE: self.scale,
            onednn.DIFF_DST: gradient,
            onednn.DIFF_SRC: (result := builder.passing(array)),
            onednn.DIFF_SCALE: Memory(statistics, f"d{self.first}"),
            onednn.DIFF_SHIFT: Memory(statistics, f"d{self.first + 1}"),
        }
        builder.backward.add(primitive, arguments)
        return result


class _Activation(Unit):
    overwritable = False

    def build(self, builder: Builder, source: Memory) -> Memory:
        self.kind = onednn.RELU if type(self.layer) is nn.ReLU else onednn.TANH
        array = source.array
        self.destination = source if self.in_place else builder.result(array)
        arguments = onednn.FORWARD_TRAINING, self.kind, array, array, 0.0, 0.0
        self.primitive = Primitive("eltwise_forward", *arguments)
        builder.forward.add(self.primitive, {onednn.SRC: source, onednn.DST: self.destination})
        return self.destination

    def build_backward(
        self, builder: Builder, gradient: Memory, *, of_input: bool, learns: bool
    ) -> Memory:
        array = self.destination.array
        arguments = self.kind, array, array, array, 0.0, 0.0, self.primitive
        primitive = Primitive("eltwise_backward", *arguments)
        result = gradient if builder.passes(gradient) else builder.passing(array)
        arrays = {onednn.DST: self.destination, onednn.DIFF_DST: gradient, onednn.DIFF_SRC: result}
        builder.backward.add(primitive, arrays)
        return result


class _Pool(Unit):
    def build(self, builder: Builder, source: Memory) -> Memory:
        layer, self.source = self.layer, source
        if type(layer) is nn.AdaptiveAvgPool2D:  # to one pixel
            layer = nn.AvgPool2D([*shapes.images(source)[2:]])
        self.kind = onednn.POOLING_MAX
        if type(layer) is nn.AvgPool2D:
            self.kind = onednn.POOLING_AVERAGE if layer.exclusive else onednn.POOLING_AVERAGE_ALL
        stride = layer.ksize if layer.stride is None else layer.stride
        size, strides, padding, after, spread = shapes.window(layer.ksize, stride, layer.padding, 1)
        shape = shapes.windowed(source, source.array.dims[1], size, strides, padding, after, spread)
        self.array, self.window = channels_last(*shape), (strides, size, spread, padding, after)
        kind = onednn.FORWARD_TRAINING if builder.learns else onednn.FORWARD_INFERENCE
        self.primitive = Primitive(
            "pooling_forward", kind, self.kind, source.array, self.array, *self.window
        )
        arguments = {onednn.SRC: source, onednn.DST: (destination := builder.result(self.array))}
        if builder.learns and self.kind == onednn.POOLING_MAX:
            self.winners = builder.room(self.primitive.chosen(onednn.WORKSPACE), "saved")
            arguments[onednn.WORKSPACE] = self.winners
        builder.forward.add(self.primitive, arguments)
        return destination

    def build_backward(
        self, builder: Builder, gradient: Memory, *, of_input: bool, learns: bool
    ) -> Memory:
        arrays = self.source.array, self.array
        primitive = Primitive("pooling_backward", self.kind, *arrays, *self.window, self.primitive)
        arguments = {
            onednn.DIFF_DST: gradient,
            onednn.DIFF_SRC: (result := builder.passing(self.source.array)),
        }
        if self.kind == onednn.POOLING_MAX:
            arguments[onednn.WORKSPACE] = self.winners
        builder.backward.add(primitive, arguments)
        return result


class _Flattening(Unit):
    overwritable = False  # it may be the memory of the activation before it

    def build(self, builder: Builder, source: Memory) -> Memory:
        self.dims = dims = source.array.dims
        if len(dims) == 2:
            return source
        form = plain(dims[0], math.prod(dims[1:]))
        if same_either_way(dims):
            return Memory(form, source.place, source.offset)
        result = builder.result(form)
        builder.copy(builder.forward, source, Memory(plain(*dims), result.place, result.offset))
        return result

    def build_backward(
        self, builder: Builder, gradient: Memory, *, of_input: bool, learns: bool
    ) -> Memory:
        if len(self.dims) == 2:
            return gradient
        form = channels_last(*self.dims)
        if same_either_way(self.dims):
            return Memory(form, gradient.place, gradient.offset)
        source = Memory(plain(*self.dims), gradient.place, gradient.offset)
        return builder.copy(builder.backward, source, builder.passing(form))


class _Linear(_Weighted):
    rereads_output = False

    def build(self, builder: Builder, source: Memory) -> Memory:
        layer, self.source = self.layer, source
        count = layer.weight.shape[-1]
        shapes.expect([*source.array.dims[1:], count], layer.weight)
        shapes.expect([count], layer.bias)
        width = layer.weight.shape[0]
        self.form = onednn.Array([count, width], [1, count])  # Paddle's order is [width, count]
        self.bias = None if layer.bias is None else plain(count)
        self.array = plain(source.array.dims[0], count)
        arrays = source.array, self.form, self.bias, self.array
        kind = onednn.FORWARD_TRAINING
        self.primitive = Primitive("inner_product_forward", kind, *arrays)
        self.weight = Memory(self.form, f"{self.first}")
        return self._add_forward(builder, source, self.weight)

    def build_backward(
        self, builder: Builder, gradient: Memory, *, of_input: bool, learns: bool
    ) -> Memory:
        if learns:
            count, width = self.form.dims
            few = width >= 32 * count  # then it is faster as [count, width], with the same bits
            form = plain(count, width) if few else self.form
            arrays = self.source.array, form, self.bias, self.array
            hint = Primitive("inner_product_forward", onednn.FORWARD_TRAINING, *arrays)
            primitive = Primitive("inner_product_backward_weights", *arrays, hint)
            self._add_gradients(builder, gradient, primitive)
        if not of_input:
            return gradient
        primitive = Primitive(
            "inner_product_backward_data",
            *(self.source.array, self.form, self.array, self.primitive),
        )
        arguments = {
            onednn.DIFF_DST: gradient,
            onednn.WEIGHTS: self.weight,
            onednn.DIFF_SRC: (result := builder.passing(self.source.array)),
        }
        builder.backward.add(primitive, arguments)
        return result


_KINDS: dict[type, type[Unit]] = {
    nn.Conv2D: _Convolution,
    nn.BatchNorm2D: _Normalization,
    nn.ReLU: _Activation,
    nn.Tanh: _Activation,
    nn.MaxPool2D: _Pool,
    nn.AvgPool2D: _Pool,
    nn.AdaptiveAvgPool2D: _Pool,
    nn.Flatten: _Flattening,
    nn.Linear: _Linear,
}


def of_layers(layers: Sequence[nn.Layer]) -> list[Unit]:
    """The units of covered layers, in the order of their computation."""
    units = [unit for layer in layers for unit in _of_layer(layer)]
    for i in range(len(units) - 1):  # the largest of a window is the largest after ReLU, too
        if type(units[i].layer) is nn.ReLU and type(units[i + 1].layer) is nn.MaxPool2D:
            units[i : i + 2] = units[i + 1], units[i]
    count = 0
    for before, unit in zip([None, *units], units, strict=False):
        unit.first, count = count, count + len(unit.parameters())
        unit.in_place = before is not None and before.overwritable
    return units


def _of_layer(layer: nn.Layer) -> Iterator[Unit]:
    """The units of a covered layer."""
    if type(layer) is conv_block.ConvBlock:
        yield from (_Convolution(layer), _Pool(nn.MaxPool2D(2)), _Activation(nn.ReLU()))
    elif isinstance(layer, nn.Sequential):
        for inner in layer._sub_layers.values():
            yield from _of_layer(inner)
    elif type(layer) is Residual:
        yield (start := shortcut.Start(layer))
        yield from _of_layer(layer.convolutions)
        yield shortcut.End(start)
    else:
        yield _KINDS[type(layer)](layer)


def covered(layer: nn.Layer) -> bool:
    """Whether oneDNN can compute this layer; a subclass is not covered."""
    kind = type(layer)
    if kind in (nn.ReLU, nn.Tanh, nn.Linear):
        return True
    if kind is nn.Flatten:
        return (layer.start_axis, layer.stop_axis) == (1, -1)
    if kind is conv_block.ConvBlock:
        return conv_block.kernel() == "stock"
    if kind is nn.BatchNorm2D:
        parameters = layer.weight is not None and layer.bias is not None
        return parameters and layer._data_format == "NCHW" and layer._use_global_stats is None
    if kind is nn.Conv2D:
        return (layer._groups, layer._padding_mode, layer._data_format) == (
            1,
            "zeros",
            "NCHW",
        ) and shapes.numbers(layer._padding)
    if kind is nn.AdaptiveAvgPool2D:
        return layer._data_format == "NCHW" and layer._output_size in (1, [1, 1], (1, 1))
    if kind is nn.MaxPool2D:
        plain_pool = not (layer.return_mask or layer.ceil_mode)
    elif kind is nn.AvgPool2D:
        plain_pool = not (layer.divisor or layer.ceil_mode)
    else:
        return False
    return plain_pool and layer.data_format == "NCHW" and shapes.numbers(layer.padding)
