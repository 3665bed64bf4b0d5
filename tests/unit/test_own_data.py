"""A user's own arrays, tables and networks: their splits, labels and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from helpers.images import COLOUR, GREY, LABELS, RNG
from helpers.settings import settings

from experiments import data, losses, models, optimizers, schedulers, training, weights
from experiments.data import DataError


def of(inputs=GREY, labels=LABELS, **options) -> data.Splits:
    return data.splits(inputs, labels, **{"seed": 0, "name": "own"} | options)


def test_classes_are_numbered_in_their_order_and_shapes_are_the_networks() -> None:
    splits = of()
    assert (splits.classes, splits.shape) == (("cat", "dog", "eel"), (1, 12, 9))
    assert splits.ordered is False
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (39, 9, 12)
    assert of(COLOUR).shape == (3, 12, 9)
    assert of(RNG.normal(size=(60, 5))).shape == (5,)
    named = of(labels=np.tile([0, 1, 2], 20), classes=("x", "y", "z"))
    np.testing.assert_array_equal(named.train.labels, splits.train.labels)
    assert of(labels=np.tile([5, 7, 10], 20)).classes == ("5", "7", "10")


def test_each_part_has_each_class_in_its_share_and_the_test_set_is_one_for_all_seeds() -> None:
    labels = np.repeat(["many", "few"], [50, 10])
    parts = [of(labels=labels, seed=seed) for seed in range(5)]
    for splits in parts:
        counts = [np.bincount(part.labels).tolist() for part in (splits.validation, splits.test)]
        assert counts == [[2, 7], [2, 10]] or counts == [[1, 8], [2, 10]]
        np.testing.assert_array_equal(splits.test.inputs, parts[0].test.inputs)
    assert not np.array_equal(parts[0].train_positions, parts[1].train_positions)


def test_features_are_normalized_by_the_training_set_alone() -> None:
    features = RNG.normal(3, [1.0, 20.0, 1.0], size=(60, 3))
    features[:, 2] = 7.0  # a constant one stays finite
    splits = of(features)
    trained = training.tensor(splits, splits.train).numpy()
    np.testing.assert_allclose(trained.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(trained.std(axis=0), [1, 1, 0], atol=1e-5)
    raw = splits.test.inputs
    sizes = [*splits.train.inputs[:, :2].std(axis=0), 1]
    expected = (raw - splits.train.inputs.mean(axis=0)) / sizes
    np.testing.assert_allclose(training.tensor(splits, splits.test).numpy(), expected, atol=1e-4)
    assert of(features, normalize=False).mean is None
    colours = of(COLOUR, normalize=True)
    assert colours.mean is not None and colours.mean.shape == (3, 1, 1)


def test_uniform_noise_hits_the_true_class_too_and_symmetric_never() -> None:
    labels = np.tile(np.arange(4), 1000)
    inputs = np.zeros((4000, 1))
    symmetric = of(inputs, labels, label_noise=0.6)
    uniform = of(inputs, labels, label_noise=0.6, noise_kind="uniform")
    assert abs(symmetric.flipped - 0.6) < 0.04
    assert abs(uniform.flipped - 0.6 * 3 / 4) < 0.04


def test_imbalance_leaves_out_training_examples_alone() -> None:
    labels = np.tile(np.arange(5), 200)
    inputs = np.arange(1000.0)[:, None]
    whole = of(inputs, labels, test=(inputs[:5], labels[:5]))
    assert np.bincount(whole.train.labels).tolist() == [160] * 5
    for kind, counts in (("exponential", [160, 90, 51, 28, 16]), ("step", [160, 160, 16, 16, 16])):
        own = {"test": (inputs[:5], labels[:5]), "imbalance": kind, "imbalance_ratio": 0.1}
        splits = of(inputs, labels, **own)
        assert np.bincount(splits.train.labels).tolist() == counts
        np.testing.assert_array_equal(splits.validation.inputs, whole.validation.inputs)
        kept = np.isin(whole.train_positions, splits.train_positions)
        np.testing.assert_array_equal(whole.train_positions[kept], splits.train_positions)
        assert splits.digest == whole.digest
        assert {*of(inputs, labels, **own | {"imbalance_ratio": 1e-9}).train.labels} == {*range(5)}
    job = settings("data=digits", "data.imbalance=step")
    assert job.params["data.imbalance"] == "step"
    plain = settings("data=digits")
    assert not {name for name in plain.params if "imbalance" in name}
    assert job.settings_digest("") != plain.settings_digest("")


def test_asymmetric_noise_needs_to_know_which_class_resembles_which() -> None:
    with pytest.raises(DataError, match="expected symmetric or uniform, got asymmetric"):
        of(noise_kind="asymmetric")
    splits = of(noise_kind="asymmetric", label_noise=1.0, resembles={"cat": "dog"})
    assert splits.classes[0] == "cat" and 0 not in splits.train.labels
    np.testing.assert_array_equal(splits.train.labels == 2, splits.clean_labels == 2)
    with pytest.raises(DataError, match="resembles: expected names of classes, got cow"):
        of(resembles={"cow": "dog"})


def test_folds_test_each_example_once_and_are_drawn_again_after_each_block() -> None:
    labels = np.repeat(["many", "few"], [43, 10])
    numbers = np.arange(53.0)[:, None]
    seeds = [of(numbers, labels, seed=seed, folds=5) for seed in range(10)]
    tested = [np.sort(splits.test.inputs[:, 0]) for splits in seeds]
    for block in (tested[:5], tested[5:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(block)), numbers[:, 0])
    assert not any(np.array_equal(each, tested[0]) for each in tested[5:])
    assert {(splits.test.labels == 0).sum() for splits in seeds} == {2}
    assert len({splits.digest for splits in seeds}) == 1
    for splits in seeds:
        everything = [splits.train.inputs, splits.validation.inputs, splits.test.inputs]
        np.testing.assert_array_equal(np.sort(np.concatenate(everything), axis=0), numbers)


def test_noisy_labels_come_from_a_file_in_the_order_of_the_source(tmp_path: Path) -> None:
    inputs, noisy = np.arange(60.0)[:, None], np.roll(LABELS, 1)
    path = tmp_path / "noisy.txt"
    path.write_text("\n".join(noisy) + "\n")
    splits = of(inputs, noisy_labels=str(path))
    places = splits.train.inputs[:, 0].astype(int)
    assert np.array(splits.classes)[splits.train.labels].tolist() == noisy[places].tolist()
    assert np.array(splits.classes)[splits.clean_labels].tolist() == LABELS[places].tolist()
    assert splits.flipped == 1
    np.testing.assert_array_equal(splits.validation.labels, of(inputs).validation.labels)
    np.save(tmp_path / "noisy.npy", np.array(["cat", "dog", "eel"]).searchsorted(noisy))
    same = of(inputs, noisy_labels=str(tmp_path / "noisy.npy"))
    np.testing.assert_array_equal(same.train.labels, splits.train.labels)
    assert same.digest == splits.digest == of(inputs, noisy_labels=str(path), seed=3).digest
    assert splits.digest != of(inputs).digest

    folds = of(inputs, noisy_labels=str(path), folds=5, seed=2)
    assert folds.flipped == 1 and folds.digest != splits.digest
    zeros = tmp_path / "zeros.txt"
    zeros.write_text("00\n" * 60)
    numbered = np.array([f"0{place}" for place in range(3)])[np.arange(60) % 3]
    assert set(of(inputs, numbered, noisy_labels=str(zeros)).train.labels) == {0}
    digits = tmp_path / "digits.txt"
    digits.write_text("7\n" * 1437)
    assert set(data.digits(seed=0, noisy_labels=str(digits)).train.labels) == {7}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat\n" * 59, r"data.noisy_labels: .*noisy.txt: .* each of 60 examples, got <U3 \[59\]"),
        ("cat\n" * 59 + "cow", r"noisy.txt: label 59 is cow, expected one of 3 classes: cat, dog"),
        ("0\n" * 59 + "3", r"noisy.txt: label 59 is 3, expected one of 3 classes"),
        ("", r"noisy.txt: expected whole numbers or texts, one for each of 60 examples"),
        (None, r"expected a .npy file or a text file .*noisy.txt cannot be read as one"),
    ],
)
def test_a_wrong_file_of_noisy_labels_is_refused(tmp_path: Path, content, message) -> None:
    path = tmp_path / "noisy.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        of(noisy_labels=str(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imbalance": "long"}, r"data.imbalance: expected null or one of .* got 'long'"),
        ({"imbalance_ratio": 0}, r"imbalance_ratio: expected .* above 0 and at most 1, got 0"),
        ({"folds": 1}, r"data.folds: expected a whole number from 2 to 60, got 1"),
        ({"folds": 5, "test": (GREY, LABELS)}, r"data.folds: expected null, since .* got 5"),
        ({"noisy_labels": "f", "label_noise": 0.1}, r"data.label_noise: expected 0 .* got 0.1"),
        ({"ordered": True}, r"data.ordered: expected .* whole numbers, got texts such as 'cat'"),
        (
            {"labels": [*LABELS[:59], "cow"]},
            r"validation set of seed 0 has no example of the class 'cow', which has 1 in all sets",
        ),
        ({"test": (GREY[:2], LABELS[:2])}, r"the test set of seed 0 has no example of .*'eel'"),
        ({"inputs": GREY / 255}, r"expected images uint8 .* got float64 \[60, 12, 9\]"),
        ({"inputs": np.full((60, 2), np.nan)}, r"got nan in row 0, column 0"),
        ({"labels": LABELS[:59]}, r"one for each of 60 examples, got <U3 \[59\]"),
        ({"labels": np.arange(60) + 0.5}, r"expected whole numbers or texts.*float64"),
        ({"labels": np.full(60, "one")}, r"classes: expected two at least, all different"),
        ({"classes": ("cat", "dog")}, r"label 2 is eel, expected one of 2 classes: cat, dog"),
        ({"labels": np.arange(60) % 3, "classes": ("a", "b")}, r"label 2 is 2, expected one of 2"),
        ({"validation_size": 48}, r"data.validation_size: expected .* from 1 to 47"),
        ({"test": (COLOUR, LABELS)}, r"test inputs: expected uint8 of the shape \(12, 9\)"),
        ({"train_size": 2}, r"the training set of seed 0 has no example of the class"),
    ],
)
def test_wrong_data_are_refused_with_their_place(changes, message) -> None:
    with pytest.raises(DataError, match=message):
        of(**changes)


def test_the_digest_is_that_of_the_content() -> None:
    changed = GREY.copy()
    changed[59, 11, 8] ^= 1
    digests = {of().digest, of(changed).digest, of(labels=np.roll(LABELS, 1)).digest}
    assert len(digests) == 3
    assert of(seed=3, label_noise=0.5).digest == of().digest


def learner(model, splits: data.Splits, loss=losses.ce) -> training.Learner:
    return training.build(
        model, loss, optimizers.sgd, schedulers.constant,
        lr=0.05, steps=1, shape=splits.shape, classes=len(splits.classes),
    )  # fmt: skip


class Own(paddle.nn.Layer):
    """A network of a user's own, of ordinary layers."""

    def __init__(self, outputs: int):
        super().__init__()
        self.hidden = paddle.nn.Linear(13, 8)
        self.last = paddle.nn.Linear(8, outputs)

    def forward(self, features):
        return self.last(paddle.tanh(self.hidden(features)))


def test_the_head_of_a_users_network_is_its_last_layer_with_weights() -> None:
    hashes = []
    for outputs in (3, 7):
        with training.fresh(0):
            hashes.append(weights.weight_hashes(Own(outputs)))
    assert weights.head_prefix(Own(3)) == "last."
    assert hashes[0]["init_hash"] == hashes[1]["init_hash"]
    assert hashes[0]["head_hash"] != hashes[1]["head_hash"]


def test_a_table_is_learned_by_a_users_network() -> None:
    splits = data.table(name="wine", seed=0)
    with training.fresh(0):
        taught = learner(Own, splits)
        *_, last = training.train(taught, splits, epochs=20, batch_size=10, seed=0)
    assert last.validation_outputs.shape == (28, 3)
    assert last.metrics["val/accuracy"] > 0.9


def test_augmentations_move_and_mirror_what_is_there() -> None:
    images = COLOUR.astype(np.float32)
    drawn = [data.augmentation(seed=1, epoch=2) for _ in range(3)]
    moved = data.augmented(images, "shift", drawn[0])
    np.testing.assert_array_equal(moved, data.augmented(images, "shift", drawn[1]))
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    for before, after in zip(padded, moved, strict=True):
        cuts = [before[:, y : y + 12, x : x + 9] for y in range(5) for x in range(5)]
        assert any(np.array_equal(cut, after) for cut in cuts)
    wide = np.zeros((400, 1, 12, 9), np.float32)
    wide[:, :, :, 4] = np.arange(12)  # mirrored, the column stays in the middle
    wide[:, :, 6, 5] = 99
    turned = data.augmented(wide, "crop_flip", drawn[2])
    column = turned.max(axis=(1, 2)).argmax(axis=1)
    assert set(column) <= set(range(9)) and len(set(column)) == 9
    assert not np.array_equal(turned, wide)


def test_augmented_training_is_equal_for_equal_seeds() -> None:
    splits = data.digits(seed=0, train_size=200)
    ends = []
    for augment in ("shift", "shift", "none"):
        with training.fresh(0):
            taught = learner(models.softmax, splits)
            how = {"epochs": 2, "batch_size": 50, "seed": 0, "augment": augment}
            *_, last = training.train(taught, splits, **how)
        ends.append(last.metrics["val/loss"])
    assert ends[0] == ends[1] != ends[2]
