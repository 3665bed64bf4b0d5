"""Numbers computed from raw outputs and labels, exactly: sums over every example once, in float64.

Everything here is pure numpy. Accuracies and calibration errors lie in [0, 1], likelihoods are in nats.
"""

from __future__ import annotations

import numpy as np

from experiments.heads import Head, log_softmax

ECE_BINS = 15


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples whose predicted class is the label; both [n]."""
    return float(np.mean(predicted == labels))


def nll(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the labels, in nats: ln p [n, K], labels [n]; at least 0."""
    return float(-np.mean(log_probabilities[np.arange(len(labels)), labels]))


def brier(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the squared distance between p and the one-hot label, sum over classes: in [0, 2] (Brier 1950)."""
    p = np.exp(log_probabilities)
    p[np.arange(len(labels)), labels] -= 1.0
    return float(np.mean(np.sum(p * p, axis=1)))


def ece(log_probabilities: np.ndarray, labels: np.ndarray, bins: int = ECE_BINS) -> float:
    """Expected calibration error over `bins` bins of equal width of the largest probability (Guo et al. 2017).

    The mean over examples of |accuracy - confidence| of the bin they fall in; bins are (a, b], in [0, 1].
    """
    confidence = np.exp(log_probabilities.max(axis=1))
    correct = log_probabilities.argmax(axis=1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T in [0.01, 100] that minimises the NLL of softmax(logits / T) (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    fit = minimize_scalar(
        lambda log_t: nll(log_softmax(logits / np.exp(log_t)), labels),
        bounds=(np.log(0.01), np.log(100.0)),
        method="bounded",
    )
    return float(np.exp(fit.x))


def epoch_metrics(
    head: Head, outputs: np.ndarray, labels: np.ndarray, losses: np.ndarray
) -> dict[str, float]:
    """`loss` (the mean of the run's own, [n] values), `accuracy`, and `nll` where the head has probabilities."""
    found = {
        "loss": float(losses.mean(dtype=np.float64)),
        "accuracy": accuracy(head.predict(outputs), labels),
    }
    if head.log_probabilities:
        found["nll"] = nll(head.log_probabilities(outputs), labels)
    return found


def test_metrics(
    head: Head,
    outputs: np.ndarray,
    labels: np.ndarray,
    losses: np.ndarray,
    validation_outputs: np.ndarray,
    validation_labels: np.ndarray,
) -> dict[str, float]:
    """What a run says about the test set, once: `epoch_metrics`, then calibration or the distance in digits.

    With probabilities `brier`, `ece`, `temperature` (fitted on validation) and `ece_scaled`; with one number
    `mean_absolute_error` of the raw prediction, in digits, and `off_by_one`, the share predicted within one digit.
    """
    found = epoch_metrics(head, outputs, labels, losses)
    if head.log_probabilities:
        log_p = head.log_probabilities(outputs)
        temperature = fit_temperature(validation_outputs, validation_labels)
        found["brier"] = brier(log_p, labels)
        found["ece"] = ece(log_p, labels)
        found["temperature"] = temperature
        found["ece_scaled"] = ece(head.log_probabilities(outputs / temperature), labels)
    else:
        found["mean_absolute_error"] = float(np.mean(np.abs(outputs[:, 0].astype(np.float64) - labels)))
        found["off_by_one"] = float(np.mean(np.abs(head.predict(outputs) - labels) <= 1))
    return found
