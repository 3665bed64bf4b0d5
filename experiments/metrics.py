"""Numbers computed from raw outputs and labels, exactly: sums over every example once, in float64.

Everything here is pure. Accuracies and calibration errors lie in [0, 1], likelihoods are in nats.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.heads import Head, log_softmax

ECE_BINS = 15
TOP = 5


def accuracy(predicted: np.ndarray, labels: np.ndarray | int) -> float:
    """Share of examples whose predicted class is the label; both [n], or one label for all."""
    return float(np.mean(correct(predicted, labels)))


def correct(predicted: np.ndarray, labels: np.ndarray | int) -> np.ndarray:
    """Whether the predicted class of each example is its label, [n]."""
    return np.asarray(predicted == labels)


def class_accuracies(predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """`accuracy_0`, `accuracy_1`, ...: that on each class of which there are examples."""
    classes = [(c, labels == c) for c in range(int(labels.max(initial=0)) + 1)]
    return {f"accuracy_{c}": accuracy(predicted[of_c], c) for c, of_c in classes if of_c.any()}


def by_frequency(
    predicted: np.ndarray, labels: np.ndarray, class_counts: Sequence[int]
) -> dict[str, float]:
    """Accuracy on classes with many, a medium number of, and few training examples.

    `accuracy_many`: over 100; `accuracy_medium`: 20 to 100; `accuracy_few`: below 20 (Liu et al.,
    2019, Large-scale long-tailed recognition in an open world). Those without examples are left
    out.

    Args:
        predicted: Classes [n].
        labels: Of the test set, [n].
        class_counts: How many training examples each class has.
    """
    own = np.asarray(class_counts)[labels]
    groups = {"many": own > 100, "medium": (own >= 20) & (own <= 100), "few": own < 20}
    return {
        f"accuracy_{name}": accuracy(predicted[there], labels[there])
        for name, there in groups.items()
        if there.any()
    }


def balanced_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes with examples of the accuracy on the class, in [0, 1]; both [n]."""
    right, weight, _ = _weighted(predicted, labels)
    return float(np.mean(weight * right))


def balanced_by_example(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A value of each example, [n], whose mean is `balanced_accuracy`.

    It is the balanced accuracy plus the weighted distance of the example (1 right, 0 wrong) from
    the accuracy on its class. So its variance is that of an estimate stratified by class.
    """
    right, weight, of_class = _weighted(predicted, labels)
    return np.asarray(np.mean(weight * right) + weight * (right - of_class))


def _weighted(
    predicted: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each example whether it is right, the weight of its class, and its accuracy; all [n]."""
    right, counts = correct(predicted, labels), np.bincount(labels)
    weight = len(labels) / (np.count_nonzero(counts) * counts[labels])
    return right, weight, np.bincount(labels, right)[labels] / counts[labels]


def among_top(outputs: np.ndarray, labels: np.ndarray, count: int = TOP) -> np.ndarray:
    """Whether each label is among the `count` classes of the largest logits: [n, K], [n] -> [n].

    Of equal logits that of the smaller class comes first, as in a prediction.
    """
    own = outputs[np.arange(len(labels)), labels][:, None]
    before = np.arange(outputs.shape[1]) < labels[:, None]
    return np.asarray(((outputs > own) | ((outputs == own) & before)).sum(axis=1) < count)


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of F1, the harmonic mean of precision and recall, in [0, 1]; both [n].

    F1 is 2 x right / (predicted + true). The classes are those that are predicted or are labels.
    """
    count = int(max(predicted.max(initial=0), labels.max(initial=0))) + 1
    right, predictions, truths = (
        np.bincount(classes, minlength=count)
        for classes in (labels[predicted == labels], predicted, labels)
    )
    there = predictions + truths > 0
    return float(np.mean(2 * right[there] / (predictions + truths)[there]))


def memorisation(
    predicted: np.ndarray, labels: np.ndarray, clean_labels: np.ndarray
) -> dict[str, float]:
    """What is learned of training labels [n] that noise has changed, as shares.

    `accuracy_flipped`: of the flipped examples, those predicted as the wrong label they were given,
    which can only be learned by heart; `accuracy_recovered`: of the same, those predicted as the
    label before noise; `accuracy_untouched`: of the others, those predicted as their label.
    """
    flipped = labels != clean_labels
    if not flipped.any():
        return {}
    shares = {
        "accuracy_flipped": accuracy(predicted[flipped], labels[flipped]),
        "accuracy_recovered": accuracy(predicted[flipped], clean_labels[flipped]),
    }
    if not flipped.all():
        shares["accuracy_untouched"] = accuracy(predicted[~flipped], labels[~flipped])
    return shares


def nll(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the labels, in nats: ln p [n, K], labels [n]; at least 0."""
    return float(np.mean(nll_by_example(log_probabilities, labels)))


def nll_by_example(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The negative log-likelihood of each example's label, [n], whose mean is `nll`."""
    return np.asarray(-log_probabilities[np.arange(len(labels)), labels])


def brier(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the squared distance between p and the one-hot label, summed over classes.

    It lies in [0, 2] (Brier 1950).
    """
    return float(np.mean(brier_by_example(log_probabilities, labels)))


def brier_by_example(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The squared distance of each example, [n], whose mean is `brier`."""
    p = np.exp(log_probabilities)
    p[np.arange(len(labels)), labels] -= 1.0
    return np.asarray(np.sum(p * p, axis=1))


def ece(log_probabilities: np.ndarray, labels: np.ndarray, bins: int = ECE_BINS) -> float:
    """Expected calibration error over `bins` bins of the largest probability (Guo et al. 2017).

    The bins (a, b] divide [0, 1] equally. The value is the mean over examples of
    |accuracy - confidence| of the bin they fall in.
    """
    confidence = np.exp(log_probabilities.max(axis=1))
    correct = log_probabilities.argmax(axis=1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def margin(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of p_y less the largest other p, in [-1, 1]; above 0 where an example is right.

    The margin of votes that sum to 1 (Schapire, Freund, Bartlett and Lee, Boosting the margin,
    1998): of probabilities and not of logits, whose scale is another with every loss.
    """
    p = np.exp(log_probabilities)
    example = np.arange(len(labels))
    of_label = p[example, labels]
    p[example, labels] = -1.0
    return float(np.mean(of_label - p.max(axis=1)))


def aurc(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Area under the risk-coverage curve, in [0, 1]: selective risk averaged over coverage.

    The mean over k = 1..n of the share of errors among the k examples of highest confidence, which
    is their largest probability (Geifman, Uziel and El-Yaniv, Bias-reduced uncertainty estimation,
    2019). Equal confidence has no order: each error of a tie is spread evenly over the tie, which
    gives the mean over all orders.
    """
    confidence = log_probabilities.max(axis=1)
    wrong = (log_probabilities.argmax(axis=1) != labels).astype(np.float64)
    _, tie, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    risk = np.repeat(np.bincount(tie, weights=wrong) / size, size)  # surest first
    return float(np.mean(np.cumsum(risk) / np.arange(1, len(labels) + 1)))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T in [0.01, 100] that minimises the NLL of softmax(logits / T) (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    logits = logits.astype(np.float64)
    fit = minimize_scalar(
        lambda log_t: nll(log_softmax(logits / np.exp(log_t)), labels),
        bounds=(np.log(0.01), np.log(100.0)),
        method="bounded",
    )
    return float(np.exp(fit.x))


def epoch_metrics(
    head: Head, outputs: np.ndarray, labels: np.ndarray, losses: np.ndarray
) -> dict[str, float]:
    """`loss` (the mean of the run's own), `accuracy`, `nll` where the head has probabilities."""
    numbers = {
        "loss": float(losses.mean(dtype=np.float64)),
        "accuracy": accuracy(head.predict(outputs), labels),
    }
    if head.log_probabilities:
        numbers["nll"] = nll(head.log_probabilities(outputs), labels)
    return numbers


def of_outputs(
    head: Head, outputs: np.ndarray, labels: np.ndarray, temperature: float | None = None
) -> dict[str, float]:
    """The metrics of `test_metrics` but `loss`; without a temperature, none of the scaled ones."""
    predicted = head.predict(outputs)
    numbers = {"accuracy": accuracy(predicted, labels), "macro_f1": macro_f1(predicted, labels)}
    numbers["balanced_accuracy"] = balanced_accuracy(predicted, labels)
    numbers |= class_accuracies(predicted, labels)
    if head.log_probabilities:
        if outputs.shape[1] > 2 * TOP:
            numbers["top5_accuracy"] = float(np.mean(among_top(outputs, labels)))
        log_p = head.log_probabilities(outputs)
        numbers["nll"] = nll(log_p, labels)
        numbers["brier"] = brier(log_p, labels)
        numbers["ece"] = ece(log_p, labels)
        numbers["margin"] = margin(log_p, labels)
        numbers["aurc"] = aurc(log_p, labels)
        if temperature is not None:
            scaled = head.log_probabilities(outputs.astype(np.float64) / temperature)
            numbers["temperature"] = temperature
            numbers["nll_scaled"] = nll(scaled, labels)
            numbers["brier_scaled"] = brier(scaled, labels)
            numbers["ece_scaled"] = ece(scaled, labels)
    else:
        numbers["mean_absolute_error"] = float(
            np.mean(np.abs(outputs[:, 0].astype(np.float64) - labels))
        )
        numbers["off_by_one"] = float(np.mean(np.abs(predicted - labels) <= 1))
    return numbers


def test_metrics(
    head: Head,
    outputs: np.ndarray,
    labels: np.ndarray,
    losses: np.ndarray,
    validation_outputs: np.ndarray,
    validation_labels: np.ndarray,
) -> dict[str, float]:
    """What a run says about the test set.

    `loss`, `accuracy`, `balanced_accuracy`, `macro_f1` and `class_accuracies`. With probabilities
    `top5_accuracy` (of more than 10 classes), `nll`, `brier`, `ece`, `margin`, `aurc`,
    `temperature` (fitted on validation), and with logits divided by it `nll_scaled`,
    `brier_scaled`, `ece_scaled`; with one number `mean_absolute_error` of the raw prediction, in
    classes, and `off_by_one`, the share predicted within one class.
    """
    temperature = (
        fit_temperature(validation_outputs, validation_labels) if head.log_probabilities else None
    )
    own = {"loss": float(losses.mean(dtype=np.float64))}
    return own | of_outputs(head, outputs, labels, temperature)
