"""Conv blocks against Paddle's own operators: values, gradients, NaN and inf.

Building and falling back.

Where no kernel can be built, the same tests run on the stock operators, and those that need it are
skipped.
"""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from helpers.conv_blocks import assert_same, block_of, pooled, run_block, run_stock, whole_numbers
from paddle import nn
from paddle.nn import functional as F

from experiments import models
from experiments.kernels import conv_block
from experiments.kernels.conv_block import ConvBlock, kernel

# batch, in, height, width, out, kernel, padding
SHAPES = [
    (1, 1, 28, 28, 20, 5, 2),  # the two blocks of the tutorial's network
    (7, 1, 28, 28, 20, 5, 2),
    (100, 1, 28, 28, 20, 5, 2),
    (1, 20, 14, 14, 20, 5, 2),
    (7, 20, 14, 14, 20, 5, 2),
    (100, 20, 14, 14, 20, 5, 2),
    (16, 3, 9, 11, 32, 3, 1),  # odd sizes
    (17, 3, 13, 8, 1, 5, 0),
    (33, 1, 7, 7, 3, 3, 0),
    (9, 32, 6, 7, 3, 3, 2),
    (8, 20, 5, 5, 7, 5, 1),
    (4, 2, 2, 2, 5, 1, 0),  # one window
    (5, 1, 1, 1, 4, 3, 3),  # nearly all of it padding
    (2, 40, 6, 6, 33, 7, 3),  # longer rows than registers hold
    (3, 65, 4, 5, 2, 3, 1),
]
LARGE = [(1000, 1, 28, 28, 20, 5, 2), (1000, 20, 14, 14, 20, 5, 2)]
each_shape = pytest.mark.parametrize(
    "shape", [*SHAPES, *(pytest.param(shape, marks=pytest.mark.slow) for shape in LARGE)], ids=str
)


def real_numbers(shape, seed=0):
    """Normal float64 numbers.

    No gradient where a window's winner or its sign is in doubt in float32.
    """
    batch, channels, height, width, out, size, padding = shape
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, channels, height, width)).astype("float32").astype("float64")
    weight = rng.standard_normal((out, channels, size, size)) / np.sqrt(channels * size * size)
    weight = weight.astype("float32").astype("float64")
    bias = np.linspace(-1, 1, out).astype("float32")
    dy = rng.standard_normal(pooled(shape)).astype("float32").astype("float64")
    _, _, rows, columns = dy.shape
    full = F.conv2d(paddle.to_tensor(x), paddle.to_tensor(weight), padding=padding).numpy()
    full = full[:, :, : 2 * rows, : 2 * columns] + bias[:, None, None]
    halves = full.reshape(batch, out, rows, 2, columns, 2).transpose(0, 1, 2, 4, 3, 5)
    windows = np.sort(halves.reshape(*dy.shape, 4), axis=-1)
    clear = (windows[..., 3] - windows[..., 2] > 1e-4) & (abs(windows[..., 3]) > 1e-4)
    return x, weight, bias.astype("float64"), padding, dy * clear


def as_type(dtype, inputs):
    return [part.astype(dtype) if isinstance(part, np.ndarray) else part for part in inputs]


@each_shape
def test_equals_stock_to_the_bit_where_sums_are_exact(shape):
    """Values, winners of ties, and every gradient: with small integers nothing is rounded."""
    inputs = whole_numbers(shape)
    assert_same(run_block(*inputs), run_stock(*inputs))


@each_shape
def test_rounds_no_worse_than_stock(shape):
    """In values and gradients, against float64, the block errs as Paddle's float32 operators do."""
    exact = real_numbers(shape)
    single = as_type("float32", exact)
    for ours, theirs, truth in zip(
        run_block(*single), run_stock(*single), run_stock(*exact), strict=True
    ):
        scale = np.linalg.norm(truth) + 1e-30
        error, stock_error = (np.linalg.norm(each - truth) / scale for each in (ours, theirs))
        assert error <= max(2 * stock_error, 3e-7), (error, stock_error)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("bias", [0.0, 2.0, -2.0])
def test_ties(value, bias):
    """A constant image makes every window a tie.

    Zeros without bias are dead: ReLU's slope at 0 is 0.
    """
    x, weight, biases, padding, dy = whole_numbers((3, 2, 8, 8, 4, 3, 1))
    x[:], biases[:] = value, bias
    ours = run_block(x, weight, biases, padding, dy)
    assert_same(ours, run_stock(x, weight, biases, padding, dy))
    if value == 0 and bias <= 0:
        assert not any(part.any() for part in ours)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "weight", "bias", "dy"])
def test_what_is_not_finite_spreads_as_in_stock_operators(bad, where):
    x, weight, bias, padding, dy = whole_numbers((19, 2, 8, 9, 5, 3, 1))
    {"x": x, "weight": weight, "bias": bias, "dy": dy}[where].flat[3] = bad
    ours, theirs = run_block(x, weight, bias, padding, dy), run_stock(x, weight, bias, padding, dy)
    if where == "bias" and bad == np.inf:  # a tie of four only if the bias comes before the pool
        ours, theirs = ours[:1], theirs[:1]
    assert_same(ours, theirs)


def test_overflow_is_infinite_as_in_stock_operators():
    x, weight, bias, padding, dy = whole_numbers((3, 2, 8, 8, 4, 3, 1))
    x, weight = abs(x) * np.float32(1e30), abs(weight) * np.float32(1e30)
    ours = run_block(x, weight, bias, padding, dy)[0]
    assert np.isinf(ours).any()
    np.testing.assert_array_equal(ours, run_stock(x, weight, bias, padding, dy)[0])


def test_any_strides():
    """Views, of the input and of the gradient, give what their copies give."""
    x, weight, bias, padding, dy = whole_numbers((7, 3, 10, 12, 5, 3, 1))
    expected = run_block(x, weight, bias, padding, dy)
    wide = np.zeros((9, 12, 10, 6), "float32")
    wide[2:, :, :, 1::2] = x.transpose(0, 3, 2, 1)
    leaf = paddle.to_tensor(wide, stop_gradient=False)
    view = leaf[2:, :, :, 1::2].transpose([0, 3, 2, 1])
    layer = block_of(weight, bias, padding)
    y = layer(view)
    turned = y.transpose([3, 2, 1, 0])
    (turned * paddle.to_tensor(dy.transpose(3, 2, 1, 0).copy())).sum().backward()
    of_view = leaf.grad.numpy()[2:, :, :, 1::2].transpose(0, 3, 2, 1)
    assert_same([y, of_view, layer.weight.grad, layer.bias.grad], expected)


def test_other_types_run_the_stock_operators_or_are_refused():
    inputs = as_type("float64", whole_numbers((5, 2, 8, 8, 4, 3, 1)))
    ours = run_block(*inputs)
    assert ours[0].dtype == np.float64
    assert_same(ours, run_stock(*inputs))
    layer = ConvBlock(2, 4, 3, padding=1)
    wrong = {"float64": ([1, 2, 8, 8], "float64"), "channels": ([1, 3, 8, 8],), "4D": ([2, 8, 8],)}
    for words, given in wrong.items():
        with pytest.raises(ValueError, match=words):
            layer(paddle.zeros(*given))
    assert layer(paddle.zeros([0, 2, 8, 8])).shape == [0, 4, 4, 4]


@pytest.mark.parametrize("frozen", ["x", "weight", "bias"])
def test_gradients_nobody_asked_for(frozen):
    """What has stop_gradient gets no gradient, and the others get the same as ever."""
    x, weight, bias, padding, dy = whole_numbers((5, 2, 8, 8, 4, 3, 1))
    results = run_block(x, weight, bias, padding, dy)
    expected = dict(zip(("y", "x", "weight", "bias"), results, strict=True))
    layer = block_of(weight, bias, padding)
    tensors = {"x": paddle.to_tensor(x), "weight": layer.weight, "bias": layer.bias}
    for name, tensor in tensors.items():
        tensor.stop_gradient = name == frozen
    layer(tensors["x"]).backward(paddle.to_tensor(dy))
    for name, tensor in tensors.items():
        if name == frozen:
            assert tensor.grad is None
        else:
            np.testing.assert_array_equal(tensor.grad.numpy(), expected[name])


@pytest.mark.parametrize("chosen", ["x", "weight", "bias"])
def test_the_gradient_of_one_tensor(fused, chosen):
    x, weight, bias, padding, dy = whole_numbers((5, 2, 8, 8, 4, 3, 1))
    layer = block_of(weight, bias, padding)
    tensors = {"x": paddle.to_tensor(x, stop_gradient=False)}
    tensors |= {"weight": layer.weight, "bias": layer.bias}
    y, dy = layer(tensors["x"]), paddle.to_tensor(dy)
    (gradient,) = paddle.grad(y, [tensors[chosen]], dy, retain_graph=True)
    y.backward(dy)
    np.testing.assert_array_equal(gradient, tensors[chosen].grad)


def test_repeats_to_the_bit_and_every_image_for_itself():
    inputs = as_type("float32", real_numbers((37, 20, 14, 14, 20, 5, 2)))
    once = run_block(*inputs)
    assert_same(run_block(*inputs), once)
    if kernel() != "stock":
        layer = block_of(*inputs[1:4])
        some = layer(paddle.to_tensor(inputs[0][30:35]))
        np.testing.assert_array_equal(some.numpy(), once[0][30:35])


def test_a_network_without_conv_blocks_runs_the_stock_operators():
    assert kernel(models.convnet(10)) == kernel()
    assert kernel(models.mlp(10)) == kernel(models.lenet5(10)) == "stock"


def test_without_gradients_the_values_are_the_same():
    x, weight, bias, padding, _ = whole_numbers((21, 3, 9, 8, 6, 3, 1))
    layer, x = block_of(weight, bias, padding), paddle.to_tensor(x)
    tracked = layer(x)
    with paddle.no_grad():
        free = layer(x)
    assert free.stop_gradient and not tracked.stop_gradient
    np.testing.assert_array_equal(free.numpy(), tracked.numpy())


def test_parameters_are_those_of_conv2d():
    paddle.seed(3)
    theirs, after = nn.Conv2D(3, 8, 5, padding=2), paddle.rand([4]).numpy()
    paddle.seed(3)
    ours, ours_after = ConvBlock(3, 8, 5, padding=2), paddle.rand([4]).numpy()
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight", "bias"]
    np.testing.assert_array_equal(ours.weight.numpy(), theirs.weight.numpy())
    np.testing.assert_array_equal(ours.bias.numpy(), theirs.bias.numpy())
    np.testing.assert_array_equal(after, ours_after)


def test_runs_fused_where_it_can(fused):
    y = ConvBlock(1, 4, 3, padding=1)(paddle.zeros([2, 1, 8, 8]))
    assert "Fused" in y.grad_fn.name()
    assert kernel() in ("fused-avx2", "fused-avx512")


def test_refuses_second_derivatives_and_changed_inputs(fused):
    layer, x = ConvBlock(1, 4, 3, padding=1), paddle.ones([2, 1, 8, 8])
    x.stop_gradient = False
    inputs = [x, layer.weight, layer.bias]
    with pytest.raises(OSError, match="second derivative"):
        paddle.grad(layer(x).sum(), inputs, create_graph=True)
    x = paddle.ones([2, 1, 8, 8])
    y = layer(x)
    x.add_(paddle.ones_like(x))
    with pytest.raises(OSError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize("full_graph", [True, False])
def test_exports_as_stock_operators(tmp_path, full_graph):
    """Exported, the network is Paddle's operators alone, and computes the same."""
    paddle.seed(0)
    network = nn.Sequential(
        ConvBlock(1, 4, 3, padding=1), ConvBlock(4, 5, 3), nn.Flatten(), nn.Linear(45, 10)
    )
    network.eval()
    x = paddle.rand([6, 1, 16, 16])
    expected = network(x).numpy()
    spec = [paddle.static.InputSpec([None, 1, 16, 16], "float32")]
    traced = paddle.jit.to_static(
        network, input_spec=spec if full_graph else None, full_graph=full_graph
    )
    np.testing.assert_allclose(traced(x).numpy(), expected, atol=1e-5)
    paddle.jit.save(traced, str(tmp_path / "network"))
    loaded = paddle.jit.load(str(tmp_path / "network"))
    np.testing.assert_allclose(loaded(x).numpy(), expected, atol=1e-5)
    if full_graph:
        program = traced.forward.concrete_program.main_program
        names = [op.name() for op in program.global_block().ops]
        assert [names.count(f"pd_op.{each}") for each in ("conv2d", "pool2d", "relu")] == [2, 2, 2]
        assert not any("py" in name.removeprefix("pd_op") for name in names)


def curve(steps):
    """Losses of training two blocks and a head on scikit-learn's digits."""
    from sklearn.datasets import load_digits

    digits, labels = load_digits(return_X_y=True)
    wide = np.kron(digits.reshape(-1, 1, 8, 8) / 16, np.ones((2, 2))).astype("float32")
    images, labels = paddle.to_tensor(wide), paddle.to_tensor(labels)
    paddle.seed(0)
    blocks = ConvBlock(1, 20, 5, padding=2), ConvBlock(20, 20, 5, padding=2)
    network = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(320, 10))
    optimizer = paddle.optimizer.SGD(0.05, parameters=network.parameters())
    losses = []
    for step in range(steps):
        batch = slice(step % 17 * 100, step % 17 * 100 + 100)
        loss = F.cross_entropy(network(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(loss.item())
    return losses


def test_trains_as_the_stock_operators_do(fused, monkeypatch):
    """Four epochs of digits: the curves agree to what float32's rounding grows to."""
    ours = curve(68)
    monkeypatch.setenv("FAIRLOSS_KERNEL", "stock")
    conv_block._library.cache_clear()
    assert kernel() == "stock"
    theirs = curve(68)
    monkeypatch.undo()
    conv_block._library.cache_clear()
    assert theirs[-1] < 0.5 * theirs[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
