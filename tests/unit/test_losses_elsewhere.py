"""Every loss by other hands.

Optax's own functions where it has them, and JAX's derivatives of the formulas.

Paddle computes ours; here nothing of Paddle is on the other side. A new option of
experiments/losses/ is found by itself; where optax has it too, it gets a line in OPTAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.losses import (
    KINK_AT_ZERO,
    ON_LOGITS,
    ON_NUMBERS,
    OURS,
    cases,
    evaluate,
    formula,
    gradient,
    random_batches,
)  # fmt: skip

pytestmark = pytest.mark.slow

Loss = Callable[..., Any]


@pytest.fixture(autouse=True, scope="module")
def _libraries() -> None:
    """Import JAX and optax, which takes long, when a test needs them."""
    global jax, jnp, optax
    import jax
    import jax.numpy as jnp
    import optax
    import optax.losses

    jax.config.update("jax_enable_x64", True)


def one_hot(z: jax.Array, y: np.ndarray) -> jax.Array:
    return jax.nn.one_hot(y, z.shape[1], dtype=z.dtype)


def lead_of_class_one(z: jax.Array) -> jax.Array:
    """Two logits as the one that optax's losses of two classes take: [batch]."""
    return z[:, 1] - z[:, 0]


OPTAX: dict[str, Loss] = {
    "mse": lambda f, y: optax.losses.squared_error(f, y),
    "huber": lambda f, y, delta=1: optax.losses.huber_loss(f, y, delta=delta),
    "ce": lambda z, y: optax.losses.softmax_cross_entropy_with_integer_labels(z, y),
    "ce_double_softmax": lambda z, y: optax.losses.softmax_cross_entropy_with_integer_labels(
        jax.nn.softmax(z), y
    ),
    "label_smoothing": lambda z, y, s=0.1: optax.losses.softmax_cross_entropy(
        z, optax.losses.smooth_labels(one_hot(z, y), s)
    ),
    "poly1": lambda z, y, epsilon=1: optax.losses.poly_loss_cross_entropy(
        z, one_hot(z, y), epsilon=epsilon
    ),
    "brier": lambda z, y: optax.losses.squared_error(jax.nn.softmax(z), one_hot(z, y)).sum(axis=1),
    "spherical": lambda z, y: -optax.losses.cosine_similarity(jax.nn.softmax(z), one_hot(z, y)),
    "crammer_singer": lambda z, y: optax.losses.multiclass_hinge_loss(z, y),
    "ovr_bce": lambda z, y: optax.losses.sigmoid_binary_cross_entropy(z, one_hot(z, y)).sum(axis=1),
}

OPTAX_OF_TWO_CLASSES: dict[str, Loss] = {
    "focal": lambda z, y, gamma=2: optax.losses.sigmoid_focal_loss(
        lead_of_class_one(z), y, gamma=gamma
    ),
    "hinge": lambda z, y, margin=1, p=1: (
        (margin * optax.losses.hinge_loss(lead_of_class_one(z) / margin, 2 * y - 1)) ** p / 2
    ),
}


def batch(option: str, dtype: str, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Outputs whose probabilities neither underflow nor reach 1.

    Where a formula as written loses its digits.
    """
    outputs, labels = random_batches(option)[-1 if option in ON_NUMBERS or classes == 10 else 0]
    if option in ON_LOGITS:
        outputs = outputs * 0.3
    if option in KINK_AT_ZERO:
        outputs, labels = outputs[1:], labels[1:]
    return outputs.astype(dtype), labels


def agree(
    option: str, theirs: Loss, outputs: np.ndarray, labels: np.ndarray, hyper: dict[str, Any]
) -> None:
    """Assert that values and gradients are equal, but for the rounding of their dtype."""
    wide = outputs.astype(np.float64)  # the other side always computes in float64
    values = theirs(jnp.asarray(wide), labels, **hyper)
    slopes = jax.grad(lambda x: theirs(x, labels, **hyper).sum())(jnp.asarray(wide))
    assert values.dtype == slopes.dtype == np.float64
    our_values = evaluate(option, outputs, labels, **hyper)
    our_slopes = gradient(option, outputs, labels, **hyper)
    assert our_values.dtype == our_slopes.dtype == outputs.dtype
    single = outputs.dtype == np.float32
    of_values, of_slopes = (
        ((2e-5, 2e-6), (5e-5, 5e-6)) if single else ((1e-12, 1e-13), (1e-9, 1e-12))
    )
    np.testing.assert_allclose(our_values, values, *of_values)  # relative and absolute
    np.testing.assert_allclose(our_slopes, slopes, *of_slopes)


each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@each_dtype
@cases([*OPTAX])
def test_optax_computes_the_same(option: str, hyper: dict[str, float], dtype: str):
    agree(option, OPTAX[option], *batch(option, dtype), hyper)


@each_dtype
@cases([*OPTAX_OF_TWO_CLASSES])
def test_optax_computes_the_same_for_two_classes(option: str, hyper: dict[str, float], dtype: str):
    agree(option, OPTAX_OF_TWO_CLASSES[option], *batch(option, dtype, classes=2), hyper)


@each_dtype
@cases(OURS)
def test_jax_s_derivative_of_the_formula_is_the_gradient(
    option: str, hyper: dict[str, float], dtype: str
):
    def theirs(outputs: jax.Array, labels: np.ndarray, **hyper: float) -> jax.Array:
        return formula(option, outputs, labels, jnp, **hyper)

    for classes in (2, 10):
        agree(option, theirs, *batch(option, dtype, classes), hyper)
