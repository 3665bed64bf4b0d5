"""Chains of layers in oneDNN for long: the same bits, no leak, no stray write."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from helpers.chains import chains, inputs, networks, normalized, residual, step
from helpers.commands import ROOT
from paddle import nn

from experiments import models
from experiments.kernels import chain, plan, tape


@pytest.mark.slow
@pytest.mark.parametrize("model", [models.cnn_bn, models.resnet])
def test_the_same_bits_in_every_process(model):
    code = "import sys; sys.path[:0] = ['tests']; from helpers.chains import models, trained"
    code += f"; print(trained(models.{model.__name__}))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    printed = [subprocess.check_output(command, cwd=ROOT, text=True) for _ in range(3)]
    assert len({each.split()[-1] for each in printed}) == 1


def resident():
    """The memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_does_not_grow_over_10000_steps():
    """Of all kinds: with a backward pass, without, in evaluation, and of changing batch sizes."""
    _, network = networks(
        lambda: normalized((1, 4), 3, nn.ReLU(), nn.MaxPool2D(2), residual(4, 6, 2))
    )
    x, after = inputs((30, 1, 8, 8)), []
    for i in range(10000):
        y = network(paddle.to_tensor(x[: 1 + i % 30]))
        if i % 3 == 0:
            y.sum().backward()
            network.clear_gradients()
        if i % 3 == 1:
            with paddle.no_grad():
                network(paddle.to_tensor(x))
        del y
        if i % 2000 == 1999:
            gc.collect()
            after.append(resident())
    assert after[-1] - after[1] < 3, after
    assert len(chains(network)[0].plans) <= chain._MOST_PLANS


GUARD = 1024  # floats on each side of an array that nothing may change


@pytest.mark.slow
def test_random_networks_write_nowhere_else(monkeypatch):
    """Random layers, shapes and batches, with guards around every array that oneDNN writes to."""
    rng = np.random.default_rng(0)
    guarded: list[tuple[object, object]] = []

    class Buffer:
        def __init__(self, size):
            self.size, room = size, -(-size // 64) * 16
            self.array = np.full(room + 2 * GUARD + 16, 7, np.float32)
            start = self.array.ctypes.data
            skip = -start % 64 // 4
            self.address = start + (skip + GUARD) * 4
            before, end = self.array[: skip + GUARD], self.array[skip + GUARD + room :]
            guarded.append((before, end))

    def empty(shape):
        size = int(np.prod(shape))
        room = paddle.full([size + 2 * GUARD], 7.0)
        guarded.append((room[:GUARD], room[GUARD + size :]))
        return room[GUARD : GUARD + size].reshape(shape)

    monkeypatch.setattr(plan, "Buffer", Buffer)
    monkeypatch.setattr(tape, "empty", empty)
    plan.buffers.clear()
    for _ in range(100):
        shape = [int(n) for n in rng.integers([1, 1, 20, 20], [9, 20, 30, 30])]
        layers, wide = [], shape[1]
        if rng.random() < 0.5:
            stride, wide = int(rng.integers(1, 3)), wide + int(rng.integers(3))
            layers.append(residual(shape[1], wide, stride))
            shape[2:] = [stride * size - int(rng.integers(stride)) for size in shape[2:]]
        for stride in rng.permutation(2)[: rng.integers(1, 3)] + 1:  # 20 pixels are enough for it
            size, out = [int(n) for n in rng.integers(1, 4, 2)], int(rng.integers(1, 40))
            layers.append(nn.Conv2D(wide, out, size, int(stride), int(rng.integers(2))))
            wide = out
            pool = nn.MaxPool2D if rng.random() < 0.5 else nn.AvgPool2D
            extra = [nn.BatchNorm2D(wide), nn.ReLU(), nn.Tanh(), residual(wide, wide)]
            extra += [pool(2, 1), pool(3, 2)]
            layers += [layer for layer in extra if rng.random() < 0.3]
        stock, ours = networks(lambda layers=layers: copy.deepcopy(layers))
        expected, actual = step(stock, inputs(shape)), step(ours, inputs(shape))
        with paddle.no_grad():
            ours.eval()(paddle.to_tensor(inputs(shape)))
        assert len(chains(ours)[0].plans) == 2 and all(chains(ours)[0].plans.values())
        np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-2, atol=1e-2)
        for pair in guarded:
            for part in pair:
                assert (np.asarray(part) == 7).all()
        guarded.clear()
    plan.buffers.clear()
