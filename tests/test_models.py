"""Every option of conf/model/, by the contract of a network."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import models, training
from experiments.heads import LOGITS, NUMBER

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
PARAMETERS = {  # weights and biases with 10 outputs, by arithmetic
    "convnet": (25 * 20 + 20) + (25 * 20 * 20 + 20) + (980 * 10 + 10),
    "mlp": (784 * 128 + 128) + (128 * 10 + 10),
    "softmax": 784 * 10 + 10,
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
            hashes.append(training.weight_hashes(model(option)(outputs)))
    assert hashes[0]["init_hash"] == hashes[1]["init_hash"]
    assert hashes[0]["head_hash"] != hashes[1]["head_hash"]
    assert hashes[0] == hashes[2]
    assert hashes[0]["head_hash"] != hashes[3]["head_hash"]


def test_the_block_is_convolution_relu_pool_in_the_tutorials_order_too():
    paddle.seed(0)
    block = models.ConvBlock(3, 4, kernel_size=5, padding=2)
    x = paddle.randn([2, 3, 8, 8])
    weight, bias = block.parameters()
    tutorial = paddle.nn.functional.max_pool2d(
        paddle.nn.functional.relu(paddle.nn.functional.conv2d(x, weight, bias, padding=2)), 2
    )
    np.testing.assert_allclose(block(x).numpy(), tutorial.numpy(), atol=1e-5)


@pytest.mark.parametrize("hidden", [0, -3, 2.5, True, "many"])
def test_the_width_of_the_mlp_is_checked(hidden):
    with pytest.raises(ValueError, match="hidden: expected a whole number of at least 1"):
        models.mlp(10, hidden=hidden)
