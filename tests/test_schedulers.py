import math

import pytest

from experiments import schedulers


def test_constant_is_the_number_itself():
    assert schedulers.constant(0.1, steps=7) == 0.1


def test_cosine_follows_its_formula_and_ends_at_zero():
    rate = schedulers.cosine(0.2, steps=4)
    seen = []
    for _ in range(5):
        seen.append(rate())
        rate.step()
    expected = [0.2 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(5)]
    assert seen == pytest.approx(expected, abs=1e-12)
