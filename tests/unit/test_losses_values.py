"""Values of the losses: golden ones, those of the formulas, and limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.losses import (
    ON_NUMBERS,
    OURS,
    cases,
    each_option,
    evaluate,
    formula,
    gradient,
    random_batch,
    random_batches,
    random_logits,
    random_predictions,
    tempered_log_softmax,
)  # fmt: skip
from helpers.marks import with_slow

# Of each class, with the counts of `class_counts`: CE of logits plus their logarithms.
ADJUSTED = [
    *(0.908904, 1.42073, 1.932223, 2.444162, 2.955297),
    *(3.467672, 3.979359, 4.491623, 5.007256, 5.514074),
]

# The value with the option's own hyperparameters, from the closed form. Logits and cosines: at 0
# with K = 10. One number: where the prediction is 2 away from the label.
GOLDEN = {
    "mse": 4.0,
    "mae_scalar": 2.0,
    "huber": 1.5,
    "ce": 2.302585,
    "ce_double_softmax": 2.302585,
    "label_smoothing": 2.302585,
    "focal": 1.865094,
    "poly1": 3.202585,
    "taylor_ce": 1.305,
    "gce": 1.143534,
    "mae": 0.9,
    "sce": 8.519565,
    "nce_rce": 82.993063,
    "phuber_ce": 2.302585,
    "bitempered": 1.537678,
    "brier": 0.9,
    "spherical": -0.316228,
    "logit_norm": 2.302585,
    "square": 0.1,
    "squentropy": 2.302585,
    "hinge": 0.9,
    "crammer_singer": 1,
    "ovr_bce": 6.931472,
    "agce": 0.268446,
    "aul": 0.405723,
    "js": 1.516553,
    "asymmetric": 2.095373,
    "nce_mae": 1.0,
    "nfl_mae": 1.0,
    "nfl_rce": 82.993063,
    # Of each class, with the counts of `class_counts`.
    "class_balanced": [
        0.417218, 0.436161, 0.496688, 0.628311, 0.87056,
        1.290845, 2.000587, 3.191909, 5.200511, 8.49306,
    ],
    "class_balanced_focal": [
        0.337946, 0.353291, 0.402317, 0.508932, 0.705153,
        1.045585, 1.620476, 2.585446, 4.212414, 6.879379,
    ],
    "logit_adjusted": ADJUSTED,
    "balanced_softmax": ADJUSTED,
    "ldam": [
        0.351343, 0.583596, 1.00783, 1.786645, 3.21817,
        5.870618, 10.783291, 19.929316, 37.133275, 68.667472,
    ],
    "arcface": 16.579991,
}  # fmt: skip


@each_option
def test_golden_value(option: str):
    assert option in GOLDEN, (
        f"add the value of {option} to GOLDEN in tests/unit/test_losses_values.py"
    )
    if option in ON_NUMBERS:
        outputs, labels = np.array([5.0, 1.0]), np.array([3, 3])
    else:
        outputs, labels = np.zeros((10, 10)), np.arange(10)
    assert evaluate(option, outputs, labels) == pytest.approx(GOLDEN[option], abs=6e-7)


@cases(OURS)
def test_values_are_the_formula_s(option: str, hyper: dict[str, float]):
    for outputs, labels in random_batches(option):
        expected = formula(option, outputs, labels, **hyper)
        values = evaluate(option, outputs, labels, **hyper)
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-13)
        single = evaluate(option, outputs.astype(np.float32), labels, **hyper)
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("counts", "variance"),
    [  # images per digit in MNIST's training set, and in its first 50,000
        ([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 8.3477),
        ([4932, 5678, 4968, 5101, 4859, 4506, 4951, 5175, 4842, 4988], 8.3594),
    ],
)
def test_mse_of_predicting_the_mean_label_of_mnist_is_its_variance(
    counts: list[int], variance: float
):
    digits = np.arange(10)
    mean = np.average(digits, weights=counts)
    values = evaluate("mse", np.full(10, mean), digits)
    assert np.average(values, weights=counts) == pytest.approx(variance, abs=5e-5)


def test_the_tutorial_s_numbers():
    three = np.array([[3.0, 1.0, -3.0]] * 3)
    softmax = 1 - evaluate("mae", three, np.arange(3))
    np.testing.assert_array_equal(softmax.round(2), [0.88, 0.12, 0.00])
    for p, surprise in ((0.6, 0.51), (0.1, 2.30)):
        logits = np.log([[p, 1 - p]])
        assert evaluate("ce", logits, np.array([0])).round(2) == surprise


def test_softmax_of_two_classes_is_the_sigmoid_of_their_difference():
    a = np.linspace(-6, 6, 25)
    p = 1 - evaluate("mae", np.stack([a, 0 * a], axis=1), np.zeros(25, dtype=np.int64))
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-a)), rtol=1e-12)


@pytest.mark.parametrize(
    ("option", "hyper", "limit", "tolerance"),
    [
        ("focal", {"gamma": 0}, "ce", 1e-13),
        ("poly1", {"epsilon": 0}, "ce", 1e-13),
        ("taylor_ce", {"t": 1}, "mae", 1e-13),
        ("gce", {"q": 1e-10}, "ce", 1e-8),
        ("gce", {"q": 1}, "mae", 1e-13),
        ("sce", {"alpha": 1, "beta": 0}, "ce", 1e-13),
        ("sce", {"alpha": 0, "beta": -1 / np.log(1e-4)}, "mae", 1e-13),
        ("nce_rce", {"alpha": 0, "beta": -1 / np.log(1e-4)}, "mae", 1e-13),
        ("phuber_ce", {"tau": 1e30}, "ce", 1e-13),
        ("phuber_ce", {"tau": 1}, "mae", 1e-13),
        ("bitempered", {"t1": 1, "t2": 1}, "ce", 1e-13),
        ("bitempered", {"t1": 1 - 1e-12, "t2": 1 + 1e-12}, "ce", 1e-8),
        ("label_smoothing", {"s": 0}, "ce", 1e-13),
        ("label_smoothing", {"s": 1e-10}, "ce", 1e-8),
        ("agce", {"a": 1e-9, "q": 0.7}, "gce", 1e-5),
        ("agce", {"q": 1}, "mae", 1e-13),
        ("aul", {"q": 1}, "mae", 1e-13),
        ("asymmetric", {"gamma_pos": 2, "s": 0}, "focal", 1e-13),
        ("asymmetric", {"gamma_neg": 0}, "label_smoothing", 1e-13),
        ("nce_mae", {"alpha": 0}, "mae", 1e-13),
        ("nfl_mae", {"gamma": 0}, "nce_mae", 1e-13),
        ("nfl_rce", {"gamma": 0}, "nce_rce", 1e-13),
        ("class_balanced", {"beta": 0}, "ce", 1e-13),
        ("class_balanced_focal", {"beta": 0}, "focal", 1e-13),
        ("class_balanced_focal", {"gamma": 0}, "class_balanced", 1e-13),
        ("logit_adjusted", {"t": 0}, "ce", 1e-13),
        ("logit_adjusted", {}, "balanced_softmax", 1e-13),
        ("ldam", {"margin": 0, "defer": 1, "s": 1}, "ce", 1e-13),
        ("ldam", {"margin": 0, "beta": 0.999, "s": 1}, "class_balanced", 1e-13),
        ("arcface", {"margin": 0, "s": 1}, "ce", 1e-13),
    ],
)
def test_limits(option: str, hyper: dict[str, Any], limit: str, tolerance: float):
    batch = random_batch(option)
    for each in (evaluate, gradient):
        np.testing.assert_allclose(
            each(option, *batch, **hyper), each(limit, *batch), atol=tolerance
        )


def of_two(*p_y: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits of two classes, the first of which is the label and has these probabilities."""
    return np.log(np.stack([p_y, 1 - np.array(p_y)], axis=1)), np.zeros(len(p_y), dtype=np.int64)


def test_taylor_ce_approaches_ce_with_the_number_of_its_terms():
    batch = of_two(0.05, 0.3, 0.9)
    for each, rtol in ((evaluate, 1e-13), (gradient, 1e-12)):
        np.testing.assert_allclose(each("taylor_ce", *batch, t=800), each("ce", *batch), rtol=rtol)


def test_huber_lies_between_half_the_squared_and_the_absolute_error():
    batch = random_predictions()
    wide, narrow = (evaluate("huber", *batch, delta=delta) for delta in (100, 1e-9))
    np.testing.assert_allclose(wide, evaluate("mse", *batch) / 2, rtol=1e-13)
    np.testing.assert_allclose(narrow / 1e-9, evaluate("mae_scalar", *batch), atol=1e-8)


def test_brier_of_two_classes_counts_the_same_error_twice():
    batch = random_logits(classes=2)
    once = evaluate("mae", *batch) ** 2
    np.testing.assert_allclose(evaluate("brier", *batch), 2 * once, atol=1e-14)


def test_label_smoothing_is_least_at_the_smoothed_label():
    at = np.log([[0.91] + [0.01] * 9]), np.array([0])
    assert evaluate("label_smoothing", *at) == pytest.approx(0.500288, abs=6e-7)
    np.testing.assert_allclose(gradient("label_smoothing", *at), 0, atol=1e-15)


def test_the_double_softmax_has_a_floor():
    sure = np.eye(10) * 1e4
    assert evaluate("ce_double_softmax", sure, np.arange(10)) == pytest.approx(1.461150, abs=6e-7)


@pytest.mark.parametrize(
    ("option", "hyper", "constant"),
    [
        ("mae", {}, 9),
        ("sce", {"alpha": 0, "beta": 1}, 82.893063),
        ("nce_rce", {"alpha": 0, "beta": 1}, 82.893063),
        ("nce_rce", {"alpha": 1, "beta": 0}, 1),
        ("nce_rce", {}, 829.930634),
        ("nce_mae", {}, 10),
        ("nfl_mae", {}, 10),
        ("nfl_rce", {}, 829.930634),
    ],
)
def test_symmetry_the_sum_over_all_labels_is_a_constant(
    option: str, hyper: dict[str, float], constant: float
):
    logits, _ = random_logits()
    labels = [np.full(len(logits), label) for label in range(10)]
    total = sum(evaluate(option, logits, each, **hyper) for each in labels)
    np.testing.assert_allclose(total, total[0], rtol=1e-13)
    assert total[0] == pytest.approx(constant, abs=6e-7)


def test_phuber_ce_is_ce_up_to_the_bend_and_its_tangent_beyond():
    values = evaluate("phuber_ce", *of_two(0.5, 0.2, 0.1, 0.01), tau=5)
    expected = [-np.log(0.5), -np.log(0.2), np.log(5) + 0.5, np.log(5) + 0.95]
    np.testing.assert_allclose(values, expected, rtol=1e-13)


@pytest.mark.parametrize("t1", [0, 0.5, 0.8])
def test_bitempered_is_bounded_by_t1_where_ce_is_not(t1: float):
    wrong, label = np.array([[0.0, 1e300]]), np.array([0])
    value = evaluate("bitempered", wrong, label, t1=t1, t2=1.0)
    assert value == pytest.approx(1 / (1 - t1), rel=1e-12)
    assert evaluate("bitempered", wrong / 1e298, label, t1=t1) < 1 / (1 - t1)


@pytest.mark.parametrize("t2", [1, 1.001, 1.2, 2, 4])
@pytest.mark.parametrize("classes", with_slow([2, 10], [1000]))
def test_bitempered_s_probabilities_sum_to_one(t2: float, classes: int):
    """With t1 = 0 the loss is (sum p^2 + 1) / 2 - p_y.

    So its mean over all labels tells the sum of p.
    """
    for size in (0, 1, 30, 1e4):
        z = np.random.default_rng(3).normal(size=classes) * size
        values = evaluate("bitempered", np.tile(z, (classes, 1)), np.arange(classes), t1=0, t2=t2)
        p = np.exp(tempered_log_softmax(z[None], t2)[0])
        assert p.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(values, ((p**2).sum() + 1) / 2 - p, atol=1e-13)


def test_spherical_ends_at_minus_one_and_is_least_where_p_is_the_label_s_distribution():
    right, wrong = np.array([[1e4, 0.0, 0.0]]), np.array([[0.0, 1e4, 0.0]])
    assert evaluate("spherical", right, np.array([0])) == -1
    assert evaluate("spherical", wrong, np.array([0])) == 0
    p = np.array([0.6, 0.3, 0.1])
    slopes = gradient("spherical", np.tile(np.log(p), (3, 1)), np.arange(3))
    np.testing.assert_allclose(p @ slopes, 0, atol=1e-15)


def test_logit_norm_sees_the_direction_alone():
    logits, labels = random_logits()
    values, slopes = evaluate("logit_norm", logits, labels), gradient("logit_norm", logits, labels)
    np.testing.assert_allclose(evaluate("logit_norm", logits * 1e-4, labels), values, rtol=1e-11)
    np.testing.assert_allclose(evaluate("logit_norm", logits * 1e4, labels), values, rtol=1e-11)
    np.testing.assert_allclose((slopes * logits).sum(axis=1), 0, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logit_norm_has_a_finite_gradient_where_there_is_no_direction(dtype: str):
    gradients = gradient("logit_norm", np.zeros((1, 10), dtype=dtype), np.array([3]))
    np.testing.assert_allclose(gradients, (0.1 - np.eye(10)[[3]]) / (0.04 * 1e-7), rtol=1e-6)


def test_squentropy_is_ce_where_the_wrong_classes_have_logits_of_zero():
    batch = np.array([[3.0, 0.0, 0.0], [0.0, 5.0, -5.0]]), np.array([0, 0])
    expected = evaluate("ce", *batch) + np.array([0, 25])
    np.testing.assert_allclose(evaluate("squentropy", *batch), expected, rtol=1e-13)


def test_crammer_singer_sees_the_strongest_rival_alone_and_equal_rivals_share_the_gradient():
    logits = np.array([[2.0, 1.5, 1.5, 0.0], [2.0, 1.0, 1.0, 1.0], [2.0, 3.0, 0.0, 2.9]])
    batch = logits, np.zeros(3, dtype=np.int64)
    np.testing.assert_array_equal(evaluate("crammer_singer", *batch), [0.5, 0, 2])
    expected = [[-1, 0.5, 0.5, 0], [0, 0, 0, 0], [-1, 1, 0, 0]]
    np.testing.assert_array_equal(gradient("crammer_singer", *batch), expected)


@pytest.mark.parametrize(
    ("margin", "p", "expected"), [(1.5, 1, 0), (1.75, 1, 0.25 / 3), (2.5, 2, (1 + 0.25) / 3)]
)
def test_hinge_is_zero_once_the_true_class_leads_by_the_margin(margin, p, expected):
    value = evaluate("hinge", np.array([[2.0, 0.5, 0.0]]), np.array([0]), margin=margin, p=p)
    assert value == pytest.approx(expected)


def test_square_weighs_the_true_class_by_k_and_wants_m():
    value = evaluate("square", np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([1]), k=3, M=5)
    assert value == pytest.approx((1 + 3 * 9 + 9 + 16) / 4)
