"""Options of data: label noise, sizes and seeds, and the order of the examples."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import data
from experiments.data import DataError

RESEMBLES = {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}
NAN = float("nan")
NO_SIZES = [0, -1, True, "100", 100.0]


def test_no_noise() -> None:
    for kind in data.NOISE_KINDS:
        splits = data.digits(seed=0, noise_kind=kind)
        assert splits.flipped == 0
        np.testing.assert_array_equal(splits.train.labels, splits.clean_labels)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_symmetric_noise_has_its_rate_and_spreads_evenly(rate: float) -> None:
    share = np.mean([data.digits(seed=seed, label_noise=rate).flipped for seed in range(10)])
    deviation = np.sqrt(rate * (1 - rate) / 10_770)
    assert abs(share - rate) < 4 * deviation


def test_symmetric_noise_at_1_leaves_no_label_and_reaches_every_other_class() -> None:
    drawn = [data.digits(seed=seed, label_noise=1) for seed in range(10)]
    steps = np.concatenate([(each.train.labels - each.clean_labels) % 10 for each in drawn])
    counts = np.bincount(steps, minlength=10)
    assert counts[0] == 0
    expected = len(steps) / 9
    assert np.abs(counts[1:] - expected).max() < 4 * np.sqrt(expected)


def test_asymmetric_noise_moves_exactly_the_digits_that_resemble_others() -> None:
    splits = data.digits(seed=0, label_noise=1.0, noise_kind="asymmetric")
    expected = [RESEMBLES.get(label, label) for label in splits.clean_labels.tolist()]
    assert splits.train.labels.tolist() == expected
    half = data.digits(seed=0, label_noise=0.5, noise_kind="asymmetric")
    moved = half.train.labels != half.clean_labels
    assert {
        *zip(half.clean_labels[moved].tolist(), half.train.labels[moved].tolist(), strict=True)
    } == {*RESEMBLES.items()}
    movable = np.isin(half.clean_labels, list(RESEMBLES))
    assert abs(moved[movable].mean() - 0.5) < 4 * np.sqrt(0.25 / movable.sum())


@pytest.mark.parametrize("kind", data.NOISE_KINDS)
def test_noise_touches_nothing_but_training_labels(kind: str) -> None:
    clean = data.digits(seed=6)
    noisy = data.digits(seed=6, label_noise=1.0, noise_kind=kind)
    np.testing.assert_array_equal(noisy.train.inputs, clean.train.inputs)
    np.testing.assert_array_equal(noisy.clean_labels, clean.train.labels)
    np.testing.assert_array_equal(noisy.validation.labels, clean.validation.labels)
    np.testing.assert_array_equal(noisy.test.labels, clean.test.labels)
    assert noisy.digest == clean.digest
    assert noisy.flipped == np.mean(noisy.train.labels != clean.train.labels) > 0.4


def test_more_noise_hits_the_same_and_more() -> None:
    low, high = (data.digits(seed=6, label_noise=rate) for rate in (0.2, 0.4))
    hit = low.train.labels != low.clean_labels
    np.testing.assert_array_equal(low.train.labels[hit], high.train.labels[hit])
    assert 0 < low.flipped < high.flipped


@pytest.mark.parametrize(
    ("option", "expected", "wrong"),
    [
        ("label_noise", "a number from 0 to 1", [-0.1, 1.1, NAN, float("inf"), "0.2", True, None]),
        ("noise_kind", "one of symmetric, asymmetric, uniform", ["Symmetric", "", None, 1]),
        ("train_size", "a whole number from 1 to 1,077 .*", [1078, *NO_SIZES]),
        ("validation_size", "a whole number from 1 to 1,436 of .*", [1437, None, *NO_SIZES]),
    ],
)
def test_an_option_out_of_range_is_refused(option: str, expected: str, wrong: list[object]) -> None:
    for value in wrong:
        with pytest.raises(DataError, match=rf"data\.{option}: expected {expected}, got"):
            data.digits(seed=0, **{option: value})


@pytest.mark.parametrize("wrong", [-1, True, "0", 0.0, None])
def test_a_seed_out_of_range_is_refused(wrong: object) -> None:
    for read, how in ((data.digits, {}), (data.epoch_order, {"size": 10, "epoch": 1})):
        with pytest.raises(DataError, match=r"seed: expected a whole number of at least 0, got"):
            read(seed=wrong, **how)


def test_options_are_refused_before_anything_is_read() -> None:
    with pytest.raises(
        DataError, match=r"from 1 to 50,000 \(60,000 less 10,000 for validation\), or null"
    ):
        data.mnist(seed=0, root="/nowhere", train_size=50_001)


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_an_order_is_a_permutation(size: int) -> None:
    order = data.epoch_order(size, seed=0, epoch=1)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_orders_differ_between_epochs_and_seeds_and_repeat() -> None:
    orders = {
        (seed, epoch): data.epoch_order(100, seed=seed, epoch=epoch).tobytes()
        for seed in range(4)
        for epoch in range(1, 6)
    }
    assert len(set(orders.values())) == 20
    again = data.epoch_order(100, seed=2, epoch=5)  # entered again, out of turn
    assert again.tobytes() == orders[2, 5]


def test_an_order_is_not_the_split_again() -> None:
    splits = data.digits(seed=0, validation_size=1)
    order = data.epoch_order(1437, seed=0, epoch=1)
    assert np.mean(splits.train_positions == order[:1436]) < 0.01


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": True}, {"epoch": 0}, {"epoch": 1.0}])
def test_an_order_out_of_range(bad: dict) -> None:
    arguments = {"size": 10, "epoch": 1, **bad}
    with pytest.raises(DataError, match="expected a whole number of at least 1"):
        data.epoch_order(arguments["size"], seed=0, epoch=arguments["epoch"])


def test_order_hash_changes_with_what_it_stands_for_and_with_nothing_else() -> None:
    def value(seed: int = 0, order_seed: int = 0, **options) -> str:
        return data.order_hash(data.digits(seed=seed, **options), seed=order_seed)

    plain = value()
    assert len(plain) == 64 and int(plain, 16) >= 0
    assert plain == value() == value(train_size=1077) == value(noise_kind="asymmetric")
    others = [
        *(value(seed=1), value(order_seed=1), value(train_size=1076), value(validation_size=359)),
        *(value(validation_size=359, train_size=1077), value(label_noise=0.1)),
        *(value(label_noise=0.2), value(label_noise=0.1, noise_kind="asymmetric")),
    ]
    assert len({plain, *others}) == 9
