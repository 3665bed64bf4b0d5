"""Every loss of conf/loss/, by its option: the contract, the values, the gradients.

A new option is found by itself and is held to everything a loss of its head is held to. It fails
here until it has a value in GOLDEN and, where it lies in experiments/losses/, its formula in
`formula` and its hyperparameters in PERMITTED. What only some losses satisfy is listed by option.
What other libraries compute is compared in test_losses_elsewhere.py.
"""

from __future__ import annotations

import doctest
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from helpers.losses import (
    ALL,
    CONFIGS,
    KINK_AT_ZERO,
    LAYERS,
    LOSSES,
    ON_COSINES,
    ON_LOGITS,
    ON_NUMBERS,
    OURS,
    cases,
    evaluate,
    formula,
    gradient,
    log_softmax,
    parameters,
    random_batches,
    random_logits,
    random_predictions,
    tempered_log_softmax,
)
from helpers.marks import with_slow

from experiments import context, heads, losses
from experiments.losses import true_class

MODULES = [
    importlib.import_module(f"{losses.__name__}.{module.name}")
    for module in pkgutil.iter_modules(losses.__path__)
    if module.name not in {"numerics", "checks"}
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
        0.417218,
        0.436161,
        0.496688,
        0.628311,
        0.87056,
        1.290845,
        2.000587,
        3.191909,
        5.200511,
        8.49306,
    ],
    "class_balanced_focal": [
        0.337946,
        0.353291,
        0.402317,
        0.508932,
        0.705153,
        1.045585,
        1.620476,
        2.585446,
        4.212414,
        6.879379,
    ],
    "logit_adjusted": [
        0.908904,
        1.42073,
        1.932223,
        2.444162,
        2.955297,
        3.467672,
        3.979359,
        4.491623,
        5.007256,
        5.514074,
    ],
    "balanced_softmax": [
        0.908904,
        1.42073,
        1.932223,
        2.444162,
        2.955297,
        3.467672,
        3.979359,
        4.491623,
        5.007256,
        5.514074,
    ],
    "ldam": [
        0.351343,
        0.583596,
        1.00783,
        1.786645,
        3.21817,
        5.870618,
        10.783291,
        19.929316,
        37.133275,
        68.667472,
    ],
    "arcface": 16.579991,
}

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


each_option = pytest.mark.parametrize("option", list(LOSSES))
each_on_numbers = pytest.mark.parametrize("option", ON_NUMBERS)


def random_batch(option: str) -> tuple[np.ndarray, np.ndarray]:
    return random_batches(option)[-1]


# ---- Options: conf/loss/ and experiments/losses/ say the same ----


def test_every_public_function_of_the_modules_is_an_option_and_the_other_way_round():
    public = [
        name
        for module in MODULES
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    ]
    assert len(OURS) >= 35
    assert sorted(public) == sorted(OURS)
    layers = {
        name
        for module in MODULES
        for name, value in inspect.getmembers(module, inspect.isclass)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert layers == {CONFIGS[option]["_target_"].rpartition(".")[2] for option in LAYERS}
    for option in LAYERS:
        layer = context.class_of(ALL[option])
        assert layer.__name__.lower() == option.replace("_", "")
        assert re.search(r"Source: .* [12]\d{3}\b", layer.__doc__)
        defaults = inspect.signature(layer).parameters.values()
        own = {each.name: each.default for each in defaults if each.default is not each.empty}
        assert ALL[option].keywords == own


@pytest.mark.parametrize("option", OURS)
def test_an_option_names_the_function_it_is_called_after(option: str):
    assert CONFIGS[option]["_target_"] == f"experiments.losses.{option}"
    assert inspect.unwrap(LOSSES[option].func) is getattr(losses, option)


@each_option
def test_an_option_is_a_partial_function_and_states_every_hyperparameter_with_its_default(
    option: str,
):
    assert isinstance(LOSSES[option], functools.partial)
    first, second, *rest = parameters(option)
    assert first.name in heads.NAMES
    assert second.name == "labels"
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in rest)
    assert LOSSES[option].keywords == {parameter.name: parameter.default for parameter in rest}


def test_each_head_has_losses():
    assert ON_LOGITS
    assert ON_COSINES
    assert ON_NUMBERS


@each_option
def test_the_docstring_gives_the_formula_or_more(option: str):
    assert len((LOSSES[option].func.__doc__ or "").strip().splitlines()) >= 3


@pytest.mark.parametrize("option", OURS)
def test_the_docstring_of_a_loss_of_ours_gives_shapes_and_source(option: str):
    text = LOSSES[option].func.__doc__
    name = parameters(option)[0].name
    head = "prediction [batch]" if option in ON_NUMBERS else f"{name} [batch, K]"
    in_words = f"    {head}, labels [batch] -> [batch]\n" in text
    name, shape = head.split(" ", 1)
    assert in_words or re.search(rf"Args:\n +{name}: .*{re.escape(shape)}\.\n", text)
    assert (
        re.search(r"Source: .* [12]\d{3}\b", text, flags=re.DOTALL) or option == "ce_double_softmax"
    )


def test_the_examples_in_the_docstrings_print_what_they_say():
    results = [doctest.testmod(module) for module in MODULES]
    assert len(results) >= 4
    assert all(result.attempted > 2 and result.failed == 0 for result in results)


# ---- Values ----


@each_option
def test_golden_value(option: str):
    assert option in GOLDEN, f"add the value of {option} to GOLDEN in tests/unit/test_losses.py"
    if option in ON_NUMBERS:
        outputs, labels = np.array([5.0, 1.0]), np.array([3, 3])
    else:
        outputs, labels = np.zeros((10, 10)), np.arange(10)
    assert evaluate(option, outputs, labels) == pytest.approx(GOLDEN[option], abs=6e-7)


@cases(OURS)
def test_values_are_the_formula_s(option: str, hyper: dict[str, float]):
    for outputs, labels in random_batches(option):
        expected = formula(option, outputs, labels, **hyper)
        np.testing.assert_allclose(
            evaluate(option, outputs, labels, **hyper), expected, rtol=1e-12, atol=1e-13
        )
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
    np.testing.assert_allclose(
        evaluate(option, *batch, **hyper), evaluate(limit, *batch), atol=tolerance
    )
    np.testing.assert_allclose(
        gradient(option, *batch, **hyper), gradient(limit, *batch), atol=tolerance
    )


def test_taylor_ce_approaches_ce_with_the_number_of_its_terms():
    p_y = np.array([0.05, 0.3, 0.9])
    batch = np.log(np.stack([p_y, 1 - p_y], axis=1)), np.zeros(3, dtype=np.int64)
    np.testing.assert_allclose(
        evaluate("taylor_ce", *batch, t=800), evaluate("ce", *batch), rtol=1e-13
    )
    np.testing.assert_allclose(
        gradient("taylor_ce", *batch, t=800), gradient("ce", *batch), rtol=1e-12
    )


def test_huber_lies_between_half_the_squared_and_the_absolute_error():
    batch = random_predictions()
    np.testing.assert_allclose(
        evaluate("huber", *batch, delta=100), evaluate("mse", *batch) / 2, rtol=1e-13
    )
    np.testing.assert_allclose(
        evaluate("huber", *batch, delta=1e-9) / 1e-9, evaluate("mae_scalar", *batch), atol=1e-8
    )


def test_brier_of_two_classes_counts_the_same_error_twice():
    batch = random_logits(classes=2)
    np.testing.assert_allclose(
        evaluate("brier", *batch), 2 * evaluate("mae", *batch) ** 2, atol=1e-14
    )


def test_label_smoothing_is_least_at_the_smoothed_label():
    target = np.array([[0.91] + [0.01] * 9])
    label = np.array([0])
    assert evaluate("label_smoothing", np.log(target), label) == pytest.approx(0.500288, abs=6e-7)
    np.testing.assert_allclose(gradient("label_smoothing", np.log(target), label), 0, atol=1e-15)


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
    total = sum(
        evaluate(option, logits, np.full(len(logits), label), **hyper) for label in range(10)
    )
    np.testing.assert_allclose(total, total[0], rtol=1e-13)
    assert total[0] == pytest.approx(constant, abs=6e-7)


def test_phuber_ce_is_ce_up_to_the_bend_and_its_tangent_beyond():
    p_y = np.array([0.5, 0.2, 0.1, 0.01])
    batch = np.log(np.stack([p_y, 1 - p_y], axis=1)), np.zeros(4, dtype=np.int64)
    expected = [-np.log(0.5), -np.log(0.2), np.log(5) + 0.5, np.log(5) + 0.95]
    np.testing.assert_allclose(evaluate("phuber_ce", *batch, tau=5), expected, rtol=1e-13)


@pytest.mark.parametrize("t1", [0, 0.5, 0.8])
def test_bitempered_is_bounded_by_t1_where_ce_is_not(t1: float):
    wrong = np.array([[0.0, 1e300]])
    bound = 1 / (1 - t1)
    assert evaluate("bitempered", wrong, np.array([0]), t1=t1, t2=1.0) == pytest.approx(
        bound, rel=1e-12
    )
    assert evaluate("bitempered", wrong / 1e298, np.array([0]), t1=t1) < bound


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
    found = gradient("logit_norm", np.zeros((1, 10), dtype=dtype), np.array([3]))
    np.testing.assert_allclose(found, (0.1 - np.eye(10)[[3]]) / (0.04 * 1e-7), rtol=1e-6)


def test_squentropy_is_ce_where_the_wrong_classes_have_logits_of_zero():
    logits = np.array([[3.0, 0.0, 0.0], [0.0, 5.0, -5.0]])
    expected = evaluate("ce", logits, np.array([0, 0])) + np.array([0, 25])
    np.testing.assert_allclose(
        evaluate("squentropy", logits, np.array([0, 0])), expected, rtol=1e-13
    )


def test_crammer_singer_sees_the_strongest_rival_alone_and_equal_rivals_share_the_gradient():
    logits = np.array([[2.0, 1.5, 1.5, 0.0], [2.0, 1.0, 1.0, 1.0], [2.0, 3.0, 0.0, 2.9]])
    np.testing.assert_array_equal(
        evaluate("crammer_singer", logits, np.zeros(3, dtype=np.int64)), [0.5, 0, 2]
    )
    expected = [[-1, 0.5, 0.5, 0], [0, 0, 0, 0], [-1, 1, 0, 0]]
    np.testing.assert_array_equal(
        gradient("crammer_singer", logits, np.zeros(3, dtype=np.int64)), expected
    )


def test_hinge_is_zero_once_the_true_class_leads_by_the_margin():
    logits = np.array([[2.0, 0.5, 0.0]] * 2)
    for margin, expected in ((1.5, 0.0), (1.75, 0.25 / 3)):
        assert evaluate("hinge", logits[:1], np.array([0]), margin=margin) == pytest.approx(
            expected
        )
    assert evaluate("hinge", logits[:1], np.array([0]), margin=2.5, p=2) == pytest.approx(
        (1 + 0.25) / 3
    )


def test_square_weighs_the_true_class_by_k_and_wants_m():
    logits = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert evaluate("square", logits, np.array([1]), k=3, M=5) == pytest.approx(
        (1 + 3 * 9 + 9 + 16) / 4
    )


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
        found = gradient(option, outputs, labels, **hyper)
        np.testing.assert_allclose(found, slopes.reshape(outputs.shape), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("option", list(GOLDEN_GRADIENT_NORM))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_golden_norm_of_the_gradient_at_zero(option: str, dtype: str):
    found = gradient(option, np.zeros((10, 10), dtype=dtype), np.arange(10))
    assert found.dtype == dtype
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=1), GOLDEN_GRADIENT_NORM[option], atol=6e-5
    )


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
        np.testing.assert_allclose(
            gradient(option, logits, labels, **hyper), expected, rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ovr_bce_has_the_right_gradient_at_a_logit_of_zero(dtype: str):
    """Paddle 3.3.1 gives -1.5 and -0.5 here."""
    found = gradient("ovr_bce", np.zeros((1, 3), dtype=dtype), np.array([1]))
    np.testing.assert_array_equal(found, [[0.5, -0.5, 0.5]])


def test_huber_s_gradient_is_the_error_up_to_delta_and_delta_beyond():
    errors = np.array([-9.0, -2.0, -1.5, -1.0, 0.0, 0.5, 2.0, 2.5])
    found = gradient("huber", errors, np.zeros(8), delta=2)
    np.testing.assert_array_equal(found, errors.clip(-2, 2))


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
def test_logits_of_1e4_give_finite_values_and_gradients(option: str, hyper: dict[str, float]):
    logits, labels = far_logits()
    assert np.isfinite(evaluate(option, logits, labels, **hyper)).all()
    assert np.isfinite(gradient(option, logits, labels, **hyper)).all()


@cases([option for option in OURS if option in ON_LOGITS])
def test_logits_of_1e4_give_the_right_values(option: str, hyper: dict[str, float]):
    logits, labels = far_logits()
    expected = formula(option, logits.astype(np.float64), labels, **hyper)
    np.testing.assert_allclose(
        evaluate(option, logits, labels, **hyper), expected, rtol=1e-5, atol=1e-6
    )


@cases(["ce", "poly1", "gce", "mae", "sce", "phuber_ce"])
def test_logits_of_1e4_give_the_right_gradients(option: str, hyper: dict[str, float]):
    logits, labels = far_logits()
    expected = weighted_distance(option, logits, labels, **hyper)
    np.testing.assert_allclose(
        gradient(option, logits, labels, **hyper), expected, rtol=1e-6, atol=1e-6
    )


@cases(ON_NUMBERS)
def test_predictions_of_1e4_give_finite_values_and_gradients(option: str, hyper: dict[str, float]):
    predictions, labels = np.array([1e4, -1e4, 3.0], dtype=np.float32), np.array([0, 9, 3])
    assert np.isfinite(evaluate(option, predictions, labels, **hyper)).all()
    found = gradient(option, predictions, labels, **hyper)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(np.sign(found), [1, -1, 0])


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
    np.testing.assert_allclose(
        evaluate(option, outputs[order], labels[order]), values[order], rtol=1e-13
    )
    np.testing.assert_allclose(
        gradient(option, outputs[order], labels[order]), slopes[order], rtol=1e-11, atol=1e-15
    )

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
        found = evaluate(option, outputs, labels.astype(dtype))
        assert found.dtype == outputs.dtype
        np.testing.assert_array_equal(found, evaluate(option, outputs, labels))


def test_one_number_may_have_labels_between_the_classes():
    assert evaluate("mse", np.array([1.0]), np.array([2.5])) == 2.25


# ---- What is refused ----


def refused(
    error: type[Exception], option: str, outputs: Any, labels: Any, match: str, **hyper: Any
) -> None:
    """Assert that the loss raises `error`, whose message matches.

    Arrays are passed as Paddle tensors.
    """
    arguments = [paddle.to_tensor(v) if isinstance(v, np.ndarray) else v for v in (outputs, labels)]
    with pytest.raises(error, match=match):
        LOSSES[option](*arguments, **hyper)


Z = np.zeros((4, 10), dtype=np.float32)
Y = np.array([0, 1, 2, 9])
F = np.zeros(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("logits", "labels", "match"),
    [
        (Z, Y[:, None], r"labels: expected shape \[4\], got \[4, 1\]"),
        (Z, Y[:3], r"labels: expected shape \[4\], got \[3\]"),
        (Z, Y[:1], r"labels: expected shape \[4\], got \[1\]"),
        (Z[:1], Y, r"labels: expected shape \[1\], got \[4\]"),
        (Z, np.array(3), r"labels: expected shape \[4\], got \[\]"),
        (Z, np.eye(10, dtype=np.int64)[Y], r"labels: expected shape \[4\], got \[4, 10\]"),
        (Z[0], Y, r"(logits|cosines): expected shape \[batch, K\].*got \[10\]"),
        (Z[:, :, None], Y, r"(logits|cosines): expected shape \[batch, K\].*got \[4, 10, 1\]"),
        (Z[:, :1], 0 * Y, r"(logits|cosines): expected shape \[batch, K\].*got \[4, 1\]"),
        (Z[:0], Y[:0], r"(logits|cosines): expected shape \[batch, K\].*got \[0, 10\]"),
        (Z, np.array([0, 1, 2, 10]), r"labels: expected classes in 0\.\.9, got 0\.\.10"),
        (Z, np.array([0, 1, -1, 9]), r"labels: expected classes in 0\.\.9, got -1\.\.9"),
        (Z, np.array([0, 1, -100, 9]), r"labels: expected classes in 0\.\.9, got -100\.\.9"),
        (Z[:, :2], np.array([0, 1, 2, 1]), r"labels: expected classes in 0\.\.1, got 0\.\.2"),
    ],
)
def test_wrong_shapes_and_labels_out_of_range_raise(
    logits: np.ndarray, labels: np.ndarray, match: str
):
    for option in ON_LOGITS + ON_COSINES:
        refused(ValueError, option, logits, labels, match)


@pytest.mark.parametrize(
    ("logits", "labels", "match"),
    [
        (Z, Y.astype(np.float32), "labels: expected dtype int64, got float32"),
        (Z, Y.astype(np.int32), "labels: expected dtype int64, got int32"),
        (Z, Y > 1, "labels: expected dtype int64, got bool"),
        (Z.astype(np.int64), Y, "(logits|cosines): expected dtype float32, float64, got int64"),
        (Z.astype(np.float16), Y, "(logits|cosines): expected dtype float32, float64, got float16"),
        (Z.tolist(), Y, "(logits|cosines): expected a Paddle tensor, got list"),
        (Z, Y.tolist(), "labels: expected a Paddle tensor, got list"),
    ],
)
def test_wrong_dtypes_raise(logits: Any, labels: Any, match: str):
    for option in ON_LOGITS + ON_COSINES:
        refused(TypeError, option, logits, labels, match)


@each_on_numbers
@pytest.mark.parametrize(
    ("prediction", "labels", "error", "match"),
    [
        (F[:, None], Y, ValueError, r"prediction: expected shape \[batch\], got \[4, 1\]"),
        (F, Y[:, None], ValueError, r"labels: expected shape \[4\], got \[4, 1\]"),
        (F, Y[:1], ValueError, r"labels: expected shape \[4\], got \[1\]"),
        (F[:1], Y, ValueError, r"labels: expected shape \[1\], got \[4\]"),
        (F[0:0], Y[0:0], ValueError, r"prediction: expected shape \[batch\], got \[0\]"),
        (
            np.zeros((), dtype=np.float32),
            np.array(1),
            ValueError,
            r"prediction: expected shape \[batch\], got \[\]",
        ),
        (
            F.astype(np.int64),
            Y,
            TypeError,
            "prediction: expected dtype float32, float64, got int64",
        ),
        (F, Y > 1, TypeError, "labels: expected dtype int64, .*, got bool"),
        (F.tolist(), Y, TypeError, "prediction: expected a Paddle tensor, got list"),
        (F, Y.tolist(), TypeError, "labels: expected a Paddle tensor, got list"),
    ],
)
def test_a_wrong_prediction_raises(
    option: str, prediction: Any, labels: Any, error: type[Exception], match: str
):
    """Paddle's own broadcast [N, 1] against [N] to [N, N].

    Training then sits at the labels' variance.
    """
    refused(error, option, prediction, labels, match)


HYPERPARAMETERS = [(option, name) for option in LOSSES for name in LOSSES[option].keywords]

# What is permitted, in the message's words; values outside; values at the ends.
PERMITTED: dict[tuple[str, str], tuple[str, list[float], list[float]]] = {
    ("huber", "delta"): ("above 0", [0, -1], [1e-6, 100]),
    ("label_smoothing", "s"): ("at least 0 and below 1", [-0.1, 1, 1.5], [0, 0.999]),
    ("focal", "gamma"): ("at least 0", [-0.1], [0, 20]),
    ("poly1", "epsilon"): ("at least -1", [-1.01, -5], [-1, 100]),
    ("taylor_ce", "t"): ("at least 1", [0, 0.5, 1.5, -1], [1, 100]),
    ("gce", "q"): ("above 0 and at most 1", [0, -0.5, 1.01], [1e-6, 1]),
    ("sce", "alpha"): ("at least 0", [-0.1], [0, 100]),
    ("sce", "beta"): ("at least 0", [-0.1], [0, 100]),
    ("nce_rce", "alpha"): ("at least 0", [-0.1], [0, 100]),
    ("nce_rce", "beta"): ("at least 0", [-0.1], [0, 100]),
    ("phuber_ce", "tau"): ("at least 1", [0.99, 0, -1], [1, 1e38]),
    ("bitempered", "t1"): ("at least 0 and at most 1", [-0.1, 1.1], [0, 1]),
    ("bitempered", "t2"): ("at least 1 and at most 4", [0.9, 4.1, -1], [1, 4]),
    ("logit_norm", "t"): ("above 0", [0, -1], [1e-3, 100]),
    ("square", "k"): ("above 0", [0, -1], [1e-3, 100]),
    ("square", "M"): ("above 0", [0, -1], [1e-3, 100]),
    ("hinge", "margin"): ("above 0", [0, -1], [1e-3, 100]),
    ("hinge", "p"): ("at least 1", [0.99, 0, -1], [1, 3]),
    ("agce", "a"): ("above 0", [0, -1], [1e-3, 100]),
    ("agce", "q"): ("above 0", [0, -1], [1e-3, 10]),
    ("aul", "a"): ("above 1", [1, 0, -1], [1.001, 100]),
    ("aul", "q"): ("above 0", [0, -1], [1e-3, 10]),
    ("js", "pi"): ("above 0 and below 1", [0, 1, -1], [1e-3, 0.999]),
    ("asymmetric", "gamma_pos"): ("at least 0", [-0.1], [0, 20]),
    ("asymmetric", "gamma_neg"): ("at least 0", [-0.1], [0, 20]),
    ("asymmetric", "s"): ("at least 0 and below 1", [-0.1, 1, 1.5], [0, 0.999]),
    ("class_balanced", "beta"): ("at least 0 and below 1", [-0.1, 1], [0, 0.99999]),
    ("class_balanced_focal", "beta"): ("at least 0 and below 1", [-0.1, 1], [0, 0.99999]),
    ("class_balanced_focal", "gamma"): ("at least 0", [-0.1], [0, 20]),
    ("logit_adjusted", "t"): ("at least 0", [-0.1], [0, 100]),
    ("ldam", "margin"): ("at least 0", [-0.1], [0, 100]),
    ("ldam", "s"): ("above 0", [0, -1], [1e-3, 100]),
    ("ldam", "beta"): ("at least 0 and below 1", [-0.1, 1], [0, 0.99999]),
    ("arcface", "s"): ("above 0", [0, -1], [1e-3, 100]),
    ("arcface", "margin"): ("at least 0 and below 1.5707963267948966", [-0.1, 1.6], [0, 1.57]),
    ("ldam", "defer"): ("at least 0 and at most 1", [-0.1, 1.1], [0, 1]),
    **{
        (option, name): ("at least 0", [-0.1], [0, 100])
        for option in ("nce_mae", "nfl_mae", "nfl_rce")
        for name in ("alpha", "beta", "gamma")
        if (option, name) != ("nce_mae", "gamma")
    },
}


@pytest.mark.parametrize(("option", "name"), HYPERPARAMETERS)
def test_hyperparameters_that_are_no_finite_numbers_raise(option: str, name: str):
    outputs = F if option in ON_NUMBERS else Z
    no_numbers: list[Any] = ["1", None, True, [1.0], 1j, paddle.to_tensor(0.5)]
    for value in no_numbers:
        refused(TypeError, option, outputs, Y, f"{name}: expected a number, got", **{name: value})
    for value in (float("nan"), float("inf"), float("-inf"), np.float32("nan")):
        refused(
            ValueError,
            option,
            outputs,
            Y,
            f"{name}: expected a finite (whole )?number .*, got -?(nan|inf)",
            **{name: value},
        )


@pytest.mark.parametrize(("option", "name"), [pair for pair in HYPERPARAMETERS if pair[0] in OURS])
def test_hyperparameters_out_of_range_raise_and_those_at_its_ends_do_not(option: str, name: str):
    assert (option, name) in PERMITTED, (
        f"add the range of {option}.{name} to PERMITTED in tests/unit/test_losses.py"
    )
    permitted, outside, inside = PERMITTED[option, name]
    outputs = F if option in ON_NUMBERS else Z
    for value in outside:
        message = rf"{name}: expected a finite (whole )?number {permitted}, got {value}$"
        refused(ValueError, option, outputs, Y, message, **{name: value})
    for value in [*inside, *map(np.float64, inside)]:
        found = evaluate(option, outputs, Y, **{name: value})
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


@each_option
def test_a_misspelt_hyperparameter_and_a_positional_one_raise(option: str):
    outputs = F if option in ON_NUMBERS else Z
    refused(TypeError, option, outputs, Y, "unexpected keyword argument 'gama'", gama=1)
    with pytest.raises(TypeError, match="positional argument"):
        LOSSES[option](paddle.to_tensor(outputs), paddle.to_tensor(Y), 0.5)
