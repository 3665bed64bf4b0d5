import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from experiments import metrics
from experiments.heads import LOGITS, NUMBER, log_softmax

RNG = np.random.default_rng(0)
LOGIT_VALUES = RNG.normal(size=(500, 10)) * 3
LABELS = RNG.integers(0, 10, size=500)


def test_accuracy_and_nll_agree_with_scikit_learn():
    log_p = log_softmax(LOGIT_VALUES)
    assert metrics.nll(log_p, LABELS) == pytest.approx(
        log_loss(LABELS, np.exp(log_p), labels=range(10)), rel=1e-12
    )
    assert metrics.accuracy(log_p.argmax(1), LABELS) == accuracy_score(LABELS, log_p.argmax(1))


def test_brier_by_hand():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    # (0.5-1)^2 + 0.3^2 + 0.2^2 = 0.38 and 0.1^2 + 0.8^2 + (0.1-1)^2 = 1.46
    assert metrics.brier(np.log(p), np.array([0, 2])) == pytest.approx((0.38 + 1.46) / 2)
    uniform = np.full((4, 10), -np.log(10))
    assert metrics.brier(uniform, np.arange(4)) == pytest.approx(0.9)


def test_ece_by_hand():
    # Two bins: confidences 0.4 (wrong) and 0.9, 0.8 (one right, one wrong).
    p = np.array([[0.4, 0.3, 0.3], [0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    labels = np.array([1, 0, 0])
    expected = (abs(0 - 0.4) * 1 + abs(0.5 - 0.85) * 2) / 3
    assert metrics.ece(np.log(p), labels, bins=2) == pytest.approx(expected)


def test_ece_of_certain_and_right_is_zero_and_of_certain_and_wrong_is_one():
    certain = log_softmax(np.eye(10) * 1e4)
    assert metrics.ece(certain, np.arange(10)) == pytest.approx(0.0)
    assert metrics.ece(certain, (np.arange(10) + 1) % 10) == pytest.approx(1.0)


def test_the_temperature_that_was_applied_is_found():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 10)) * 2
    p = np.exp(log_softmax(logits))
    labels = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    assert metrics.fit_temperature(logits, labels) == pytest.approx(1.0, abs=0.03)
    assert metrics.fit_temperature(logits * 2.5, labels) == pytest.approx(2.5, abs=0.08)


def test_what_a_classifier_reports():
    losses = np.arange(500, dtype=np.float32)
    outputs = LOGIT_VALUES.astype(np.float32)
    found = metrics.test_metrics(LOGITS, outputs, LABELS, losses, outputs, LABELS)
    assert set(found) == {"loss", "accuracy", "nll", "brier", "ece", "temperature", "ece_scaled"}
    assert found["loss"] == 249.5
    assert found["ece_scaled"] < found["ece"]  # the logits are noise and far too sure


def test_what_a_regression_reports():
    outputs = np.array([[0.2], [2.9], [9.6], [4.0]], dtype=np.float32)
    labels = np.array([0, 2, 9, 7])
    found = metrics.test_metrics(NUMBER, outputs, labels, (outputs[:, 0] - labels) ** 2, outputs, labels)
    assert set(found) == {"loss", "accuracy", "mean_absolute_error", "off_by_one"}
    assert found["accuracy"] == 0.5
    assert found["mean_absolute_error"] == pytest.approx((0.2 + 0.9 + 0.6 + 3.0) / 4, rel=1e-6)
    assert found["off_by_one"] == 0.75
