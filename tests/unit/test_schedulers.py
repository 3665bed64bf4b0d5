import math

import pytest

from experiments import schedulers


def followed(rate, steps):
    """The rate at each step."""
    seen = []
    for _ in range(steps):
        seen.append(rate())
        rate.step()
    return seen


def test_constant_is_the_number_itself():
    assert schedulers.constant(0.1, steps=7) == 0.1


def test_cosine_follows_its_formula_and_ends_at_zero():
    seen = followed(schedulers.cosine(0.2, steps=4), 5)
    expected = [0.2 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(5)]
    assert seen == pytest.approx(expected, abs=1e-12)


def test_exponential_follows_its_formula():
    seen = followed(schedulers.exponential(0.2, steps=4, end=0.1), 5)
    assert seen == pytest.approx([0.2 * 0.1 ** (t / 4) for t in range(5)], rel=1e-12)


@pytest.mark.parametrize("end", [0.0, -1.0, 1.0, 1.5])
def test_the_end_of_exponential_is_checked(end):
    with pytest.raises(ValueError, match="end: expected a finite number above 0 and below 1"):
        schedulers.exponential(0.1, steps=2, end=end)


def test_step_decays_after_each_so_many_steps():
    assert followed(schedulers.step(0.2, steps=9, every=2, factor=0.5), 5) == pytest.approx(
        [0.2, 0.2, 0.1, 0.1, 0.05]
    )
    with pytest.raises(ValueError, match="every: expected a whole number at least 1, got 0"):
        schedulers.step(0.1, steps=2, every=0)


def test_a_warmup_is_a_straight_line_and_then_what_follows():
    assert followed(schedulers.warmup(0.2, steps=10, share=0.4), 6) == pytest.approx(
        [0, 0.05, 0.1, 0.15, 0.2, 0.2]
    )
    after = followed(schedulers.cosine(0.2, steps=6, warmup_share=1 / 3), 7)
    falls = [0.2 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(5)]
    assert after == pytest.approx([0, 0.1, *falls], abs=1e-12)
