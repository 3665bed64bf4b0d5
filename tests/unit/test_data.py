"""Data sets and their splits: the same to the bit for every run of a seed."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from experiments import data
from experiments.data import Splits, downloads

CONF = Path(__file__).parents[2] / "conf" / "data"


def same(a: Splits, b: Splits) -> bool:
    """Whether two splits agree in every image and label."""
    return all(
        np.array_equal(x.inputs, y.inputs) and np.array_equal(x.labels, y.labels)
        for x, y in ((a.train, b.train), (a.validation, b.validation), (a.test, b.test))
    )


def test_digits_golden() -> None:
    splits = data.digits(seed=0)
    assert splits.name == "digits"
    assert splits.digest == "e928dbeea2895d59758e979d4bbbd1945c8b8410da557a56b6cab17597f4b86e"
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1077, 360, 360)
    assert splits.test.labels[:10].tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 0, 9]
    assert int(splits.test.inputs.sum()) == 16_117_164


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    splits = data.digits(seed=3)
    for examples, positions in (
        (splits.train, splits.train_positions),
        (splits.validation, splits.validation_positions),
        (splits.test, np.arange(1437, 1797)),
    ):
        assert examples.inputs.dtype == np.uint8 and examples.labels.dtype == np.int64
        assert examples.inputs.shape == (len(examples), 28, 28)
        np.testing.assert_array_equal(examples.labels, bundle.target[positions])
        # every one of the 9 pixels that came from one, back from 0..255 to 0..16; nothing in the
        # margin
        inner = examples.inputs[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3)
        blocks = np.broadcast_to(bundle.images[positions][:, :, None, :, None], inner.shape)
        np.testing.assert_array_equal(np.rint(inner / 255 * 16), blocks)
        assert examples.inputs.sum(dtype=np.int64) == inner.sum(dtype=np.int64)
    assert splits.train.inputs.max() == 255


def fingerprint(splits: Splits) -> str:
    """SHA-256 of every array of the splits, with its type and shape."""
    digest = hashlib.sha256()
    for array in (
        *(splits.train.inputs, splits.train.labels),
        *(splits.validation.inputs, splits.validation.labels),
        *(splits.test.inputs, splits.test.labels),
        *(splits.clean_labels, splits.train_positions, splits.validation_positions),
    ):
        digest.update(str((array.dtype, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


SMALL = {"seed": 3, "train_size": 500, "validation_size": 100, "label_noise": 0.3}
NOISY = {"seed": 7, "label_noise": 0.4, "noise_kind": "asymmetric"}
GOLDEN = [
    ("digits", {"seed": 0}, "a49ac541dcfc", "3d76945b4dc9"),
    ("digits", SMALL, "c8bf0c7e7856", "048240a560c5"),
    ("digits", NOISY, "cdb9e033c6ad", "23d77169554d"),
]
NOISY_MNIST = {"seed": 1, "train_size": 1000, "label_noise": 0.2, "noise_kind": "asymmetric"}
SMALLER_MNIST = {"seed": 2, "label_noise": 0.6, "validation_size": 5000}
GOLDEN_MNIST = [
    ("mnist", {"seed": 0}, "33c2fa017d25", "d63514f66c12"),
    ("mnist", NOISY_MNIST, "8c2a952864f8", "331884f3b9e2"),
    ("mnist", SMALLER_MNIST, "cb41438b3150", "457e69b10ec0"),
]


@pytest.mark.parametrize(
    ("name", "options", "content", "order"),
    [*GOLDEN, *(pytest.param(*row, marks=pytest.mark.mnist) for row in GOLDEN_MNIST)],
)
def test_images_labels_noise_and_orders_are_the_same_to_the_bit(name, options, content, order):
    splits = getattr(data, name)(**options)
    assert fingerprint(splits).startswith(content)
    assert data.order_hash(splits, seed=options["seed"]).startswith(order)


def test_the_orders_of_epochs_are_the_same_to_the_bit() -> None:
    orders = [
        data.epoch_order(1000, seed=seed, epoch=epoch) for seed in (0, 5) for epoch in (1, 2, 9)
    ]
    digest = hashlib.sha256(b"".join(order.tobytes() for order in orders)).hexdigest()
    assert digest == "0421f7c553cca2e6e34284126f2b18074b1154328df286ce1d3e88fab7fafc4d"


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_splits_are_disjoint_and_complete(seed: int) -> None:
    splits = data.digits(seed=seed)
    everything = np.concatenate([splits.train_positions, splits.validation_positions])
    np.testing.assert_array_equal(np.sort(everything), np.arange(1437))


def test_the_seed_decides() -> None:
    noise = {"label_noise": 0.3}
    assert same(data.digits(seed=1, **noise), data.digits(seed=1, **noise))
    assert same(data.digits(seed=1, **noise), data.digits(seed=np.int64(1), **noise))
    a, b = data.digits(seed=1), data.digits(seed=2)
    assert not np.array_equal(a.train_positions, b.train_positions)
    assert not np.array_equal(a.validation_positions, b.validation_positions)
    np.testing.assert_array_equal(a.test.inputs, b.test.inputs)


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    first = data.digits(seed=1, label_noise=0.5)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    np.random.seed(8)
    assert same(first, data.digits(seed=1, label_noise=0.5))


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_smaller_training_sets_nest(noise: float) -> None:
    full = data.digits(seed=4, label_noise=noise)
    for size in (1, 10, 500, 1077):
        small = data.digits(seed=4, label_noise=noise, train_size=size)
        assert len(small.train) == size
        np.testing.assert_array_equal(small.train.inputs, full.train.inputs[:size])
        np.testing.assert_array_equal(small.train.labels, full.train.labels[:size])
        np.testing.assert_array_equal(small.clean_labels, full.clean_labels[:size])
        np.testing.assert_array_equal(small.validation.inputs, full.validation.inputs)


def test_sizes_of_validation() -> None:
    a = data.digits(seed=4, validation_size=1436)
    assert (len(a.train), len(a.validation)) == (1, 1436)
    b = data.digits(seed=4, validation_size=1)
    assert (len(b.train), len(b.validation)) == (1436, 1)
    np.testing.assert_array_equal(a.train_positions, b.train_positions[:1])


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_option_file_holds_its_functions_arguments_and_defaults(path: Path) -> None:
    loaded = OmegaConf.load(path)
    for base in loaded.pop("defaults", []):  # of a table: the others' values
        loaded = OmegaConf.merge(OmegaConf.load(path.with_stem(base)), loaded)
    option = OmegaConf.to_container(loaded)
    function = option.pop("_target_")
    assert function in (f"experiments.data.{path.stem}", "experiments.data.table")
    assert option.pop("_partial_") is True
    parameters = dict(inspect.signature(getattr(data, function.rpartition(".")[2])).parameters)
    if parameters.pop("options", None):  # those of `splits`
        further = inspect.signature(data.splits).parameters
        parameters = {name: further[name] for name in option if name in further} | parameters
    for name, parameter in parameters.items():
        if name == "seed":
            continue
        needed = parameter.default is inspect.Parameter.empty
        size = 360 if path.stem == "digits" else 10_000
        sizes = {"validation_size": size, "normalize": True}  # what an option may change
        assert option[name] == ("???" if needed else parameter.default) or (
            option[name] == (path.stem if name == "name" else sizes[name])
        )
    assert set(option) == set(parameters) - {"seed"}


def test_mnist_is_split_from_its_training_files(tiny, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(downloads, "MNIST", tiny.dataset)
    root = str(tiny.write(tmp_path / "somewhere"))
    splits = data.mnist(seed=1, root=root, train_size=40, validation_size=15)
    sizes = len(splits.train), len(splits.validation), len(splits.test)
    assert (splits.name, sizes) == ("mnist", (40, 15, 20))
    images, labels = tiny.images, tiny.labels
    np.testing.assert_array_equal(splits.train.inputs, images[splits.train_positions])
    np.testing.assert_array_equal(splits.train.labels, labels[splits.train_positions])
    np.testing.assert_array_equal(splits.validation.inputs, images[splits.validation_positions])
    np.testing.assert_array_equal(splits.test.inputs, images[60:])
    assert splits.train.labels.dtype == splits.test.labels.dtype == np.int64
    assert not set(splits.train_positions) & set(splits.validation_positions)


def test_mnists_digest_comes_from_the_four_files() -> None:
    digests = "".join(file.sha256 for file in downloads.MNIST.files)
    expected = "c65580678af93f1ea48c2c0d01d543ec89307c6b8a0eb7ca542d7c18c5f4c681"
    assert hashlib.sha256(digests.encode()).hexdigest() == downloads.MNIST.digest == expected


@pytest.mark.mnist
def test_the_real_mnist() -> None:
    splits = data.mnist(seed=0, label_noise=0.2)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (50_000, 10_000, 10_000)
    assert splits.digest == downloads.MNIST.digest
    labels = np.concatenate([splits.clean_labels, splits.validation.labels])
    assert labels.mean() == pytest.approx(4.4539, abs=5e-5)
    assert labels.var() == pytest.approx(8.3477, abs=5e-5)
    assert abs(splits.flipped - 0.2) < 4 * np.sqrt(0.16 / 50_000)
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
