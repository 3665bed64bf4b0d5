import itertools

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from experiments import metrics
from experiments.heads import log_softmax, logits_head, number_head

LOGITS, NUMBER = logits_head(10), number_head(10)

RNG = np.random.default_rng(0)
LOGIT_VALUES = RNG.normal(size=(500, 10)) * 3
LABELS = RNG.integers(0, 10, size=500)


def test_accuracy_by_the_number_of_training_examples_of_a_class():
    labels = np.array([0, 0, 1, 1, 1, 2, 3])
    predicted = np.array([0, 1, 1, 1, 0, 2, 0])
    accuracies = metrics.by_frequency(predicted, labels, [101, 100, 20, 19])
    assert accuracies == {"accuracy_many": 1 / 2, "accuracy_medium": 3 / 4, "accuracy_few": 0}
    assert metrics.by_frequency(predicted, labels, [200] * 4) == {"accuracy_many": 4 / 7}


def test_accuracy_and_nll_agree_with_scikit_learn():
    log_p = log_softmax(LOGIT_VALUES)
    expected = log_loss(LABELS, np.exp(log_p), labels=range(10))
    assert metrics.nll(log_p, LABELS) == pytest.approx(expected, rel=1e-12)
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


def test_accuracies_by_class_by_hand():
    predicted, labels = np.array([0, 1, 1, 9, 0]), np.array([0, 0, 1, 9, 0])
    expected = {"accuracy_0": 2 / 3, "accuracy_1": 1.0, "accuracy_9": 1.0}
    assert metrics.class_accuracies(predicted, labels) == expected
    accuracies = metrics.class_accuracies(LOGIT_VALUES.argmax(1), LABELS)
    # their mean, by how often each class is, is the accuracy
    mean = np.bincount(LABELS) / len(LABELS) @ list(accuracies.values())
    assert mean == pytest.approx(metrics.accuracy(LOGIT_VALUES.argmax(1), LABELS))


def test_balanced_accuracy_counts_each_class_alike():
    predicted, labels = np.array([0, 0, 0, 0, 1, 1, 9]), np.array([0, 0, 0, 0, 1, 9, 9])
    assert metrics.balanced_accuracy(predicted, labels) == pytest.approx((1 + 1 + 0.5) / 3)
    accuracies = metrics.class_accuracies(LOGIT_VALUES.argmax(1), LABELS)
    balanced = metrics.balanced_accuracy(LOGIT_VALUES.argmax(1), LABELS)
    assert balanced == pytest.approx(np.mean(list(accuracies.values())))


def test_balanced_accuracy_by_example_varies_within_classes_only():
    labels = np.array([0, 0, 0, 0, 1, 1, 9])
    always_zero = metrics.balanced_by_example(np.zeros(7, int), labels)
    right = metrics.balanced_by_example(labels, labels)
    assert right - always_zero == pytest.approx(np.full(7, 2 / 3))
    predicted = np.array([0, 0, 9, 0, 1, 9, 1])
    mean = np.mean(metrics.balanced_by_example(predicted, labels))
    assert mean == pytest.approx(metrics.balanced_accuracy(predicted, labels))


def test_the_label_is_among_the_five_largest_logits():
    outputs = np.tile(np.arange(12.0), (12, 1))
    assert metrics.among_top(outputs, np.arange(12)).tolist() == [False] * 7 + [True] * 5
    tied = np.zeros((12, 12))  # of equal logits the smaller class comes first, as in argmax
    assert metrics.among_top(tied, np.arange(12)).tolist() == [True] * 5 + [False] * 7
    one = metrics.among_top(LOGIT_VALUES, LABELS, 1)
    np.testing.assert_array_equal(one, LOGIT_VALUES.argmax(1) == LABELS)
    head = logits_head(12)
    losses = np.zeros(12, np.float32)
    values = metrics.test_metrics(head, outputs, np.arange(12), losses, outputs, np.arange(12))
    assert values["top5_accuracy"] == pytest.approx(5 / 12)


def test_macro_f1_by_hand():
    # 0: 2 right, 1 missed, F1 = 4/5; 1: 1 right, 1 too many, F1 = 2/3; 2: all missed; 3: never a
    # label, predicted once.
    predicted, labels = np.array([0, 0, 1, 1, 3]), np.array([0, 0, 1, 0, 2])
    assert metrics.macro_f1(predicted, labels) == pytest.approx((4 / 5 + 2 / 3 + 0 + 0) / 4)
    always_the_same = metrics.macro_f1(np.full(10, 4), np.arange(10))
    assert always_the_same == pytest.approx((2 / 11) / 10)


def test_memorisation_by_hand():
    clean = np.array([1, 2, 3, 4, 5, 6])
    labels = np.array([7, 8, 9, 4, 5, 6])  # three are flipped
    predicted = np.array([7, 2, 3, 4, 5, 0])
    flipped = {"accuracy_flipped": 1 / 3, "accuracy_recovered": 2 / 3}
    untouched = {"accuracy_untouched": 2 / 3}
    assert metrics.memorisation(predicted, labels, clean) == flipped | untouched
    assert metrics.memorisation(predicted, clean, clean) == {}
    assert metrics.memorisation(predicted[:3], labels[:3], clean[:3]) == flipped


def test_margin_by_hand():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    expected = ((0.5 - 0.3) + (0.1 - 0.8)) / 2
    assert metrics.margin(np.log(p), np.array([0, 2])) == pytest.approx(expected)
    certain = log_softmax(np.eye(10) * 1e4)
    assert metrics.margin(certain, np.arange(10)) == 1.0
    assert metrics.margin(certain, (np.arange(10) + 1) % 10) == -1.0


def two_classes(confidence):
    """ln p of examples that are predicted as class 0 with this confidence."""
    confidence = np.array(confidence)
    return np.log(np.stack([confidence, 1 - confidence], axis=1))


def test_aurc_by_hand():
    log_p = two_classes([0.6, 0.9, 0.8, 0.7])
    # surest first: right, wrong, right, wrong; the risks are 0, 1/2, 1/3, 2/4
    area = metrics.aurc(log_p, np.array([1, 0, 1, 0]))
    assert area == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert metrics.aurc(log_p, np.zeros(4, int)) == 0.0
    assert metrics.aurc(log_p, np.ones(4, int)) == 1.0


def test_aurc_of_ties_is_the_mean_over_their_orders():
    labels = np.array([0, 1, 1, 0, 0])
    tied = metrics.aurc(two_classes([0.9, 0.7, 0.7, 0.7, 0.6]), labels)
    orders = [
        metrics.aurc(two_classes([0.9, *order, 0.6]), labels)
        for order in itertools.permutations([0.69, 0.7, 0.71])
    ]
    assert tied == pytest.approx(np.mean(orders))
    assert len({round(each, 9) for each in orders}) == 3


def test_what_a_classifier_reports():
    losses = np.arange(500, dtype=np.float32)
    outputs = LOGIT_VALUES.astype(np.float32)
    values = metrics.test_metrics(LOGITS, outputs, LABELS, losses, outputs, LABELS)
    assert set(values) == {f"accuracy_{c}" for c in range(10)} | {
        *("loss", "accuracy", "balanced_accuracy", "macro_f1", "nll", "brier", "ece", "margin"),
        *("aurc", "temperature", "nll_scaled", "brier_scaled", "ece_scaled"),
    }
    assert values["loss"] == 249.5
    assert values["ece_scaled"] < values["ece"]  # the logits are noise and far too sure
    assert values["nll_scaled"] < values["nll"]
    assert values["brier_scaled"] < values["brier"]
    scaled = log_softmax(outputs.astype(np.float64) / values["temperature"])  # float64 throughout
    assert values["nll_scaled"] == metrics.nll(scaled, LABELS)
    assert values["brier_scaled"] == metrics.brier(scaled, LABELS)
    assert values["ece_scaled"] == metrics.ece(scaled, LABELS)


def test_what_a_regression_reports():
    outputs = np.array([[0.2], [2.9], [9.6], [4.0]], dtype=np.float32)
    labels = np.array([0, 2, 9, 7])
    losses = (outputs[:, 0] - labels) ** 2
    values = metrics.test_metrics(NUMBER, outputs, labels, losses, outputs, labels)
    of_class = {"accuracy_0": 1.0, "accuracy_2": 0.0, "accuracy_7": 0.0, "accuracy_9": 1.0}
    assert set(values) == {
        *("loss", "accuracy", "balanced_accuracy", "macro_f1", "mean_absolute_error"),
        *("off_by_one", *of_class),
    }
    assert {name: values[name] for name in of_class} == of_class
    assert values["macro_f1"] == (1 + 1) / 6  # 0 and 9; 2 and 7 are missed, 3 and 4 are no label
    assert values["accuracy"] == 0.5
    assert values["mean_absolute_error"] == pytest.approx((0.2 + 0.9 + 0.6 + 3.0) / 4, rel=1e-6)
    assert values["off_by_one"] == 0.75
