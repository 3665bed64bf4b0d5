"""Gradients of the losses, also far from zero and for each example alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
import pytest
from helpers.losses import (
    KINK_AT_ZERO,
    LOSSES,
    ON_LOGITS,
    ON_NUMBERS,
    OURS,
    cases,
    each_on_numbers,
    each_option,
    evaluate,
    formula,
    gradient,
    log_softmax,
    random_batch,
    random_batches,
    random_logits,
    random_predictions,
)  # fmt: skip

from experiments.losses import true_class

# Euclidean norm of the gradient at z = 0, K = 10.
GOLDEN_GRADIENT_NORM = {
    "ce": 0.9487,
    "ce_double_softmax": 0.0949,
    "label_smoothing": 0.8538,  # 0.9 of ce's
    "focal": 1.1616,
    "poly1": 1.0436,  # 1.1 of ce's
    "taylor_ce": 0.1803,  # 0.19 of ce's
    "gce": 0.1893,
    "mae": 0.0949,
    "sce": 0.9686,  # (0.1 + 0.921034) of ce's
    "nce_rce": 8.7789,  # (1 / (10 ln 10) + 9.210340) of ce's
    "phuber_ce": 0.9487,
    "bitempered": 0.3777,  # 0.1^(t2 - t1) of ce's
    "brier": 0.1897,
    "spherical": 0.3,  # 1 / sqrt(10) of ce's
    "square": 0.2,
    "squentropy": 0.9487,
    "hinge": 0.9487,
    "crammer_singer": 1.0541,  # sqrt(1 + 9 (1/9)^2): nine equal rivals share
    "ovr_bce": 1.5811,  # sqrt(10) / 2
    "agce": 0.0307,  # 0.1 * 4.1^-0.8 of ce's
    "aul": 0.0364,  # 0.1 * 2.9^-0.9 of ce's
    "js": 0.3282,  # 0.1 (1 + log2 5.5) of ce's
    "asymmetric": 0.8633,  # 0.91 + 1e-6 (4 ln 10 - 1) of ce's
    "nce_mae": 0.1361,  # (1 / (10 ln 10) + 0.1) of ce's
    "nfl_mae": 0.1413,  # focal's weight over 10 times its value, and 0.1, of ce's
    "nfl_rce": 8.7842,
    "arcface": 28.1627,  # cosines: 30 (1 - p_y) of (cos 0.5, 9 times 1/9)
}


# Adding a constant to all logits changes these.
NOT_SHIFT_INVARIANT = {"logit_norm", "square", "squentropy", "ovr_bce"}


# Losses of p_y alone: dL/dz = w(p_y) (p - e). Here w is a function of ln p_y, which does not
# underflow.
WEIGHT: dict[str, Callable[..., np.ndarray]] = {
    "ce": lambda log_p: np.ones_like(log_p),
    "focal": lambda log_p, gamma=2: (
        (1 - np.exp(log_p)) ** gamma
        - gamma * np.exp(log_p) * (1 - np.exp(log_p)) ** (gamma - 1) * log_p
    ),
    "poly1": lambda log_p, epsilon=1: 1 + epsilon * np.exp(log_p),
    "taylor_ce": lambda log_p, t=2: -np.expm1(t * np.log1p(-np.exp(log_p))),
    "gce": lambda log_p, q=0.7: np.exp(q * log_p),
    "mae": lambda log_p: np.exp(log_p),
    "sce": lambda log_p, alpha=0.1, beta=1: alpha - beta * np.log(1e-4) * np.exp(log_p),
    "phuber_ce": lambda log_p, tau=10: np.minimum(1, np.exp(np.log(tau) + log_p)),
    "agce": lambda log_p, a=4, q=0.2: np.exp(log_p) * (a + np.exp(log_p)) ** (q - 1),
    "aul": lambda log_p, a=3, q=0.1: np.exp(log_p) * (a - np.exp(log_p)) ** (q - 1),
    "js": lambda log_p, pi=0.5: (
        np.exp(log_p) * (1 - (np.log(pi + (1 - pi) * np.exp(log_p)) - log_p) / np.log(1 - pi))
    ),
}


# ---- Gradients ----


@cases(list(LOSSES))
def test_gradients_agree_with_central_differences(option: str, hyper: dict[str, float]):
    h = 1e-6 if option == "arcface" else 1e-5  # an angle bends sharply near a cosine of 1
    for outputs, labels in random_batches(option):
        if option in KINK_AT_ZERO:
            outputs, labels = outputs[5:], labels[5:]  # the first rows are the smallest
        flat = outputs.reshape(len(labels), -1)
        slopes = np.empty_like(flat)
        for column in range(flat.shape[1]):
            step = np.zeros_like(flat)
            step[:, column] = h
            above = evaluate(option, (flat + step).reshape(outputs.shape), labels, **hyper)
            below = evaluate(option, (flat - step).reshape(outputs.shape), labels, **hyper)
            slopes[:, column] = (above - below) / (2 * h)
        gradients = gradient(option, outputs, labels, **hyper)
        np.testing.assert_allclose(gradients, slopes.reshape(outputs.shape), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("option", list(GOLDEN_GRADIENT_NORM))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_golden_norm_of_the_gradient_at_zero(option: str, dtype: str):
    gradients = gradient(option, np.zeros((10, 10), dtype=dtype), np.arange(10))
    assert gradients.dtype == dtype
    norms = np.linalg.norm(gradients, axis=1)
    np.testing.assert_allclose(norms, GOLDEN_GRADIENT_NORM[option], atol=6e-5)


@cases([option for option in ON_LOGITS if option not in NOT_SHIFT_INVARIANT])
def test_a_constant_added_to_all_logits_changes_nothing(option: str, hyper: dict[str, float]):
    logits, labels = random_logits()
    before, after = (evaluate(option, logits + shift, labels, **hyper) for shift in (0, 1000))
    np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(gradient(option, logits, labels, **hyper).sum(axis=1), 0, atol=2e-13)


@pytest.mark.parametrize("option", sorted(NOT_SHIFT_INVARIANT & set(LOSSES)))
def test_losses_of_plain_scores_do_see_a_constant(option: str):
    logits, labels = random_logits()
    change = evaluate(option, logits + 10, labels) - evaluate(option, logits, labels)
    assert (np.abs(change) > 0.1).mean() > 0.9


def weighted_distance(
    option: str, logits: np.ndarray, labels: np.ndarray, **hyper: float
) -> np.ndarray:
    """w(p_y) (p - e), in float64: [batch, K]."""
    log_p, e = log_softmax(logits.astype(np.float64)), np.eye(logits.shape[1])[labels]
    return WEIGHT[option](log_p[e == 1], **hyper)[:, None] * (np.exp(log_p) - e)


@cases(list(WEIGHT))
def test_losses_of_p_y_alone_pull_along_p_minus_e(option: str, hyper: dict[str, float]):
    for classes in (2, 3, 10):
        logits, labels = random_logits(classes)
        expected = weighted_distance(option, logits, labels, **hyper)
        gradients = gradient(option, logits, labels, **hyper)
        np.testing.assert_allclose(gradients, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ovr_bce_has_the_right_gradient_at_a_logit_of_zero(dtype: str):
    """Paddle 3.3.1 gives -1.5 and -0.5 here."""
    gradients = gradient("ovr_bce", np.zeros((1, 3), dtype=dtype), np.array([1]))
    np.testing.assert_array_equal(gradients, [[0.5, -0.5, 0.5]])


def test_huber_s_gradient_is_the_error_up_to_delta_and_delta_beyond():
    errors = np.array([-9.0, -2.0, -1.5, -1.0, 0.0, 0.5, 2.0, 2.5])
    gradients = gradient("huber", errors, np.zeros(8), delta=2)
    np.testing.assert_array_equal(gradients, errors.clip(-2, 2))


# ---- Far from zero: Paddle's cross-entropy saturates at 64, powers and logarithms give nan ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ce_does_not_saturate(dtype: str):
    logits = np.array([[100.0, 0.0], [1e4, 0.0], [1e4, -1e4]], dtype=dtype)
    labels = np.array([1, 1, 1])
    np.testing.assert_array_equal(evaluate("ce", logits, labels), [100, 10_000, 20_000])
    np.testing.assert_array_equal(gradient("ce", logits, labels), [[1, -1]] * 3)


def far_logits() -> tuple[np.ndarray, np.ndarray]:
    """Float32 logits [81, 3].

    All arrangements of -1e4, 0, 1e4 in three classes, with every label [81].
    """
    grid = np.array(np.meshgrid(*[[-1e4, 0, 1e4]] * 3)).reshape(3, -1).T
    return np.repeat(grid, 3, axis=0).astype(np.float32), np.tile(np.arange(3), len(grid))


@cases(ON_LOGITS)
def test_logits_of_1e4_give_the_right_values_and_finite_gradients(
    option: str, hyper: dict[str, float]
):
    logits, labels = far_logits()
    values, slopes = (each(option, logits, labels, **hyper) for each in (evaluate, gradient))
    assert np.isfinite(values).all() and np.isfinite(slopes).all()
    if option in OURS:
        expected = formula(option, logits.astype(np.float64), labels, **hyper)
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    if option in ("ce", "poly1", "gce", "mae", "sce", "phuber_ce"):
        expected = weighted_distance(option, logits, labels, **hyper)
        np.testing.assert_allclose(slopes, expected, rtol=1e-6, atol=1e-6)


@cases(ON_NUMBERS)
def test_predictions_of_1e4_give_finite_values_and_gradients(option: str, hyper: dict[str, float]):
    predictions, labels = np.array([1e4, -1e4, 3.0], dtype=np.float32), np.array([0, 9, 3])
    assert np.isfinite(evaluate(option, predictions, labels, **hyper)).all()
    gradients = gradient(option, predictions, labels, **hyper)
    assert np.isfinite(gradients).all()
    np.testing.assert_array_equal(np.sign(gradients), [1, -1, 0])


def test_paddles_operators_compute_ce_where_they_are_asked_for(monkeypatch):
    logits, labels = far_logits()
    expected = evaluate("ce", logits, labels)
    monkeypatch.setattr(true_class, "_CrossEntropy", None)
    with pytest.raises(AttributeError):
        evaluate("ce", logits, labels)
    monkeypatch.setenv("FAIRLOSS_KERNEL", "stock")
    np.testing.assert_allclose(evaluate("ce", logits, labels), expected, rtol=1e-6)


def test_focal_with_gamma_below_one_has_a_gradient_at_certainty():
    """The derivative of (1 - p)^0.5 is infinite at p = 1; the loss's own is 0."""
    logits = np.array([[1e4, 0.0], [200.0, 0.0]], dtype=np.float32)
    np.testing.assert_array_equal(gradient("focal", logits, np.array([0, 0]), gamma=0.5), 0)


# ---- One value per example, each from its own row ----


@each_option
def test_the_batch_only_collects_examples(option: str):
    outputs, labels = random_batch(option)
    values, slopes = evaluate(option, outputs, labels), gradient(option, outputs, labels)
    assert values.shape == labels.shape
    assert len(np.unique(values.round(9))) > len(values) / 2  # else a permutation could not be seen

    order = np.random.default_rng(2).permutation(len(labels))
    batch = outputs[order], labels[order]
    np.testing.assert_allclose(evaluate(option, *batch), values[order], rtol=1e-13)
    np.testing.assert_allclose(gradient(option, *batch), slopes[order], rtol=1e-11, atol=1e-15)

    for i in (0, 7, 39):
        alone = evaluate(option, outputs[i : i + 1], labels[i : i + 1])
        assert alone.shape == (1,)
        np.testing.assert_allclose(alone, values[i : i + 1], rtol=1e-13)


@each_option
def test_a_loss_leaves_its_arguments_alone_and_needs_no_gradient(option: str):
    outputs, labels = random_batch(option)
    given, truth = paddle.to_tensor(outputs), paddle.to_tensor(labels)
    with paddle.no_grad():
        first, second = LOSSES[option](given, truth), LOSSES[option](given, truth)
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    np.testing.assert_array_equal(given.numpy(), outputs)
    np.testing.assert_array_equal(truth.numpy(), labels)
    assert first.dtype == given.dtype


@each_on_numbers
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32", "float64"])
def test_a_number_is_compared_with_labels_of_any_dtype(option: str, dtype: str):
    predictions, labels = random_predictions()
    for outputs in (predictions, predictions.astype(np.float32)):
        values = evaluate(option, outputs, labels.astype(dtype))
        assert values.dtype == outputs.dtype
        np.testing.assert_array_equal(values, evaluate(option, outputs, labels))


def test_one_number_may_have_labels_between_the_classes():
    assert evaluate("mse", np.array([1.0]), np.array([2.5])) == 2.25
