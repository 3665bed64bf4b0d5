import numpy as np
import pytest

from experiments.heads import head_of, log_softmax, logits_head, number_head

LOGITS, NUMBER = logits_head(10), number_head(10)


def test_the_first_parameter_states_the_head():
    assert head_of(lambda logits, labels: None, 26).outputs == 26
    assert head_of(lambda prediction, labels: None, 3).outputs == 1


def test_another_first_parameter_is_refused_by_name():
    with pytest.raises(ValueError, match=r"expected 'logits'.*got 'outputs'"):
        head_of(lambda outputs, labels: None, 10)


def test_logits_are_read_as_the_largest():
    outputs = np.array([[0.0, 3.0, -1.0], [5.0, 1.0, 4.0]], dtype=np.float32)
    assert LOGITS.predict(outputs).tolist() == [1, 0]
    assert LOGITS.argument(outputs) is outputs


def test_a_number_is_read_as_the_nearest_digit():
    outputs = np.array([[-7.0], [0.4], [0.6], [4.49], [8.51], [120.0]], dtype=np.float32)
    assert NUMBER.predict(outputs).tolist() == [0, 0, 1, 4, 9, 9]
    assert NUMBER.predict(outputs).dtype == np.int64
    assert NUMBER.argument(outputs).shape == (6,)
    assert NUMBER.log_probabilities is None


def test_log_softmax_closed_form_and_far_out():
    near = log_softmax(np.array([[3.0, 1.0, -3.0]]))
    assert np.exp(near).round(2).tolist() == [[0.88, 0.12, 0.0]]
    far = log_softmax(np.array([[1e4, -1e4]], dtype=np.float32))
    assert far.tolist() == [[0.0, -2e4]]
