"""Every option of conf/model/, by the contract of a network."""

import numpy as np
import paddle
import pytest
from helpers.commands import ROOT
from hydra.utils import instantiate
from omegaconf import OmegaConf
from paddle.nn import functional as F

from experiments import models, training, weights
from experiments.heads import logits_head, number_head

LOGITS, NUMBER = logits_head(10), number_head(10)

OPTIONS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))


def of_layers(*sizes: tuple[int, int]) -> int:
    """Weights and biases of layers with so many inputs of each output, and so many outputs."""
    return sum((inputs + 1) * outputs for inputs, outputs in sizes)


def of_resnet(n: int, *, channels: int = 1, numbers: int = 4) -> int:
    """Those of 3x3 convolutions without bias in three stages, and so many of each normalisation."""
    stages = ((16, 16), (16, 32), (32, 64))
    wide = sum(9 * width * (before + (2 * n - 1) * width) for before, width in stages)
    return 9 * 16 * channels + wide + numbers * (16 + 2 * n * (16 + 32 + 64)) + 650


PARAMETERS = {  # with 10 outputs, by arithmetic
    "convnet": of_layers((25, 20), (25 * 20, 20), (980, 10)),
    "lenet5": of_layers((25, 6), (25 * 6, 16), (400, 120), (120, 84), (84, 10)),
    # two numbers a channel to learn in each normalisation, two that are measured
    "cnn_bn": of_layers((9, 32), (9 * 32, 64), (3136, 128), (128, 10)) + 4 * (32 + 64 + 128),
    "mlp": of_layers((784, 128), (128, 10)),
    "softmax": of_layers((784, 10)),
    "resnet8": of_resnet(1),
    "resnet20": of_resnet(3),
}


def model(option: str):
    return instantiate(OmegaConf.load(ROOT / "conf" / "model" / f"{option}.yaml"))


@pytest.mark.parametrize("option", OPTIONS)
def test_number_of_parameters(option):
    network = model(option)(10)
    assert sum(p.size for p in network.parameters()) == PARAMETERS[option]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("head", [LOGITS, NUMBER])
def test_images_with_and_without_a_channel_give_the_same_outputs(option, head):
    network = model(option)(head.outputs)
    images = paddle.to_tensor(np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32))
    with_channel = network(images).numpy()
    assert with_channel.shape == (3, head.outputs)
    np.testing.assert_array_equal(network(images.reshape([3, 28, 28])).numpy(), with_channel)


@pytest.mark.parametrize("option", OPTIONS)
def test_one_seed_gives_one_body_whatever_the_head(option):
    hashes = []
    for seed, outputs in [(3, 10), (3, 1), (3, 10), (4, 10)]:
        with training.fresh(seed):
            hashes.append(weights.weight_hashes(model(option)(outputs)))
    assert hashes[0]["init_hash"] == hashes[1]["init_hash"]
    assert hashes[0]["head_hash"] != hashes[1]["head_hash"]
    assert hashes[0] == hashes[2]
    assert hashes[0]["head_hash"] != hashes[3]["head_hash"]


def test_the_block_is_convolution_relu_pool_in_the_tutorials_order_too():
    paddle.seed(0)
    block = models.ConvBlock(3, 4, kernel_size=5, padding=2)
    x = paddle.randn([2, 3, 8, 8])
    weight, bias = block.parameters()
    tutorial = F.max_pool2d(F.relu(F.conv2d(x, weight, bias, padding=2)), 2)
    np.testing.assert_allclose(block(x).numpy(), tutorial.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("error", "words", "hidden"),
    [
        *((ValueError, "whole number at least 1", each) for each in (0, -3, 2.5)),
        *((TypeError, "number", each) for each in (True, "many")),
    ],
)
def test_the_width_of_the_mlp_is_checked(error, words, hidden):
    with pytest.raises(error, match=f"hidden: expected a {words}, got {hidden!r}"):
        models.mlp(10, hidden=hidden)


@pytest.mark.parametrize("option", OPTIONS)
def test_init_scale_scales_the_last_layers_weights_and_nothing_else(option):
    networks = []
    for scale in (1.0, 50.0):
        with training.fresh(0):
            networks.append(model(option)(10, init_scale=scale))
    one, large = (network.state_dict() for network in networks)
    scaled = 50 * one["head.weight"].numpy()
    np.testing.assert_allclose(large["head.weight"].numpy(), scaled, rtol=1e-6)
    for name in set(one) - {"head.weight"}:
        np.testing.assert_array_equal(large[name].numpy(), one[name].numpy())
    hashes = [weights.weight_hashes(network) for network in networks]
    assert hashes[0]["init_hash"] == hashes[1]["init_hash"]
    assert hashes[0]["head_hash"] != hashes[1]["head_hash"]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_init_scale_is_checked(scale):
    with pytest.raises(ValueError, match="init_scale: expected a finite number above 0"):
        models.softmax(10, init_scale=scale)


def test_lenet5_averages_and_cnn_bn_normalises_by_what_it_has_seen():
    paddle.seed(0)
    lenet = models.lenet5(10).body
    x = paddle.randn([2, 1, 28, 28])
    half = lenet[1](lenet[0](x)).numpy()
    means = half.reshape(2, 6, 14, 2, 14, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(lenet[2](paddle.to_tensor(half)).numpy(), means, atol=1e-6)
    network = models.cnn_bn(10)
    first = network.state_dict()["body.1._mean"].numpy().copy()
    network(x)
    moved = network.state_dict()["body.1._mean"].numpy().copy()
    assert (first != moved).any()
    network.eval()
    alone, together = network(x[:1]).numpy(), network(x).numpy()[:1]
    # of its own batch an image takes nothing
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_array_equal(network.state_dict()["body.1._mean"].numpy(), moved)


def test_the_measured_statistics_are_part_of_init_hash():
    with training.fresh(0):
        network = models.cnn_bn(10)
    before = weights.weight_hashes(network)["init_hash"]
    network(paddle.randn([4, 1, 28, 28]))
    assert weights.weight_hashes(network)["init_hash"] != before


@pytest.mark.parametrize("name", ["convnet", "lenet5", "cnn_bn", "mlp", "softmax", "resnet"])
@pytest.mark.parametrize("shape", [(1, 12, 15), (3, 32, 32)])
def test_every_network_takes_images_of_any_shape_and_any_number_of_classes(name, shape) -> None:
    with training.fresh(0):
        network = getattr(models, name)(26, shape=shape)
        assert network(paddle.rand([2, *shape])).shape == [2, 26]


def test_networks_for_images_refuse_features() -> None:
    with pytest.raises(ValueError, match=r"expected images .* shape \[13\]; .*mlp"):
        models.lenet5(3, shape=(13,))


def test_resnets_have_the_number_of_weights_of_the_paper() -> None:
    def weights(depth: int) -> int:
        network = models.resnet(10, shape=(3, 32, 32), depth=depth)
        return sum(weight.size for weight in network.parameters() if not weight.stop_gradient)

    assert round(weights(20) / 1e6, 2) == 0.27  # He et al. 2016, table 6
    assert weights(8) == of_resnet(1, channels=3, numbers=2)
    with pytest.raises(ValueError, match=r"depth: expected 6 n \+ 2, such as 8 or 20, got 10"):
        models.resnet(10, depth=10)


def test_several_hidden_layers_with_dropout() -> None:
    with training.fresh(0):
        network = models.mlp(3, shape=(13,), hidden=[8, 4], dropout=0.5)
    shapes = [tuple(weight.shape) for weight in network.parameters()]
    assert shapes == [(13, 8), (8,), (8, 4), (4,), (4, 3), (3,)]
    inputs = paddle.rand([64, 13])
    assert not np.array_equal(network(inputs).numpy(), network(inputs).numpy())
    network.eval()
    np.testing.assert_array_equal(network(inputs).numpy(), network(inputs).numpy())
