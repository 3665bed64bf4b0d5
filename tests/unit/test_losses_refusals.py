"""What the losses refuse: shapes, types and hyperparameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from helpers.losses import (
    LOSSES,
    ON_COSINES,
    ON_LOGITS,
    ON_NUMBERS,
    OURS,
    each_on_numbers,
    each_option,
    evaluate,
)  # fmt: skip


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
        (F[0, ...], Y[1, ...], ValueError, r"prediction: expected shape \[batch\], got \[\]"),
        (F.astype("int64"), Y, TypeError, "prediction: expected dtype float32, float64, got int64"),
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
    words = f"{name}: expected a (finite|whole) number .*, got -?(nan|inf)"
    for value in (float("nan"), float("inf"), float("-inf"), np.float32("nan")):
        refused(ValueError, option, outputs, Y, words, **{name: value})


@pytest.mark.parametrize(("option", "name"), [pair for pair in HYPERPARAMETERS if pair[0] in OURS])
def test_hyperparameters_out_of_range_raise_and_those_at_its_ends_do_not(option: str, name: str):
    assert (option, name) in PERMITTED, (
        f"add the range of {option}.{name} to PERMITTED in tests/unit/test_losses_refusals.py"
    )
    permitted, outside, inside = PERMITTED[option, name]
    outputs = F if option in ON_NUMBERS else Z
    for value in outside:
        message = rf"{name}: expected a (finite|whole) number {permitted}, got {value}$"
        refused(ValueError, option, outputs, Y, message, **{name: value})
    for value in [*inside, *map(np.float64, inside)]:
        values = evaluate(option, outputs, Y, **{name: value})
        assert values.dtype == np.float32
        assert np.isfinite(values).all()


@each_option
def test_a_misspelt_hyperparameter_and_a_positional_one_raise(option: str):
    outputs = F if option in ON_NUMBERS else Z
    refused(TypeError, option, outputs, Y, "unexpected keyword argument 'gama'", gama=1)
    with pytest.raises(TypeError, match="positional argument"):
        LOSSES[option](paddle.to_tensor(outputs), paddle.to_tensor(Y), 0.5)
