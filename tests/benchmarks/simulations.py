"""Simulated experiments with a known truth: coverage, false verdicts, power and equivalence.

They go through the functions of `reports.stats` that a report calls; their generators have fixed
seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from reports.stats import two_way
from reports.stats.power import seeds_needed
from reports.stats.significance import (
    TURNING,
    holm,
    is_trusted,
    outlying,
    sign_flip_p,
    unseen_share,
)
from reports.stats.tuning import INDISTINCT

SIZES = (3, 5, 8, 10, 20, 40)
ALPHA = 0.05
IMAGES = 360

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def lognormal(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Skewness 6; mean 0 and standard deviation 1."""
    return (rng.lognormal(size=size) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e)


def t3(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Student's t with 3 degrees of freedom, standard deviation 1."""
    return rng.standard_t(3, size) / math.sqrt(3)


def one_in_five_dies(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """One seed in five ends 80 standard deviations lower; mean 0."""
    return rng.normal(size=size) - 80 * (rng.random(size) < 0.2) + 16


def normal(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """The usual case."""
    return rng.normal(size=size)


SHAPES: dict[str, Draw] = {
    "normal": normal,
    "lognormal": lognormal,
    "t, 3 degrees of freedom": t3,
    "one seed in five fails to train": one_in_five_dies,
}


def right_of_most(draw: Draw, n: int) -> float:
    """The direction of the mean over the seeds that are not rare: 1, -1, or 0 without a difference.

    Rare are the seeds farthest from the median, of the share that n seeds do not exclude.
    """
    d = draw(np.random.default_rng(0), (1_000_000,))
    far = np.abs(d - np.median(d))
    mean = d[far <= np.quantile(far, 1 - unseen_share(n))].mean()
    return float(np.sign(mean)) if abs(mean) > 0.02 else 0.0


def trusted(d: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """Which of the experiments [trials, n] that were rejected may be a verdict."""
    verdicts = rejected.copy()
    for place in np.flatnonzero(rejected & outlying(d, limit=TURNING).any(axis=-1)):
        verdicts[place] = is_trusted(d[place], sign_flip_p(d[place]))
    return verdicts


def decided(p: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Which experiments are called better or worse, from the p that decides."""
    return trusted(d, p < ALPHA)


def declared_p(d: np.ndarray) -> np.ndarray:
    """The p that decides at the declared n, without images."""
    nothing = np.full(len(d), np.nan)
    return two_way.at_looks(two_way.p_difference(two_way.estimate([d])), nothing, nothing)


def coverage_of_seeds(draw: Draw, n: int, trials: int) -> tuple[float, float, float]:
    """Intervals that hold the true mean 0, and false verdicts, of seeds on one test set.

    The last are the verdicts that are also wrong about the seeds that are not rare.
    """
    d = draw(np.random.default_rng([n, 1]), (trials, n))
    low, high = two_way.estimate([d]).interval()
    wrong = decided(declared_p(d), d)
    of_most = wrong & (np.sign(d.mean(axis=-1)) != right_of_most(draw, n))
    covered = np.mean((low <= 0) & (high >= 0))
    return float(covered), float(wrong.mean()), float(of_most.mean())


def bits(
    rng: np.random.Generator, trials: int, n: int, of_seeds: float, ceiling: bool
) -> np.ndarray:
    """Differences of right and wrong of two equal losses, [trials, n, images].

    An image is right when its difficulty, which the networks of one loss share in part, plus noise
    of the run and the image is below a threshold.
    """
    threshold = 2.9 if ceiling else 1.6
    sides = []
    shared = rng.normal(size=(trials, 1, IMAGES))
    for _ in range(2):
        own = rng.normal(0, 0.6, (trials, 1, IMAGES))
        run = rng.normal(0, of_seeds, (trials, n, 1)) if of_seeds else 0.0
        sides.append(shared + own + run + rng.normal(0, 0.5, (trials, n, IMAGES)) < threshold)
    return np.subtract(sides[0], sides[1], dtype=np.float64)


def coverage_of_bits(
    n: int, trials: int, *, of_seeds: float, ceiling: bool = False
) -> tuple[float, float]:
    """Two-way and seeds-only intervals that hold the true difference 0 for new seeds and images."""
    rng, hits = np.random.default_rng([n, 2]), []
    for _ in range(max(1, trials * n // 8000)):
        d = bits(rng, max(1, min(trials, 8000 // n)), n, of_seeds, ceiling)
        rounding = 1 / IMAGES / math.sqrt(6)
        samples, parts = [d.mean(axis=-1)], [two_way.image_parts(d)]
        least = {"rounding": rounding, "one_image": 1 / IMAGES}
        both = two_way.estimate(samples, parts, **least).interval()
        seeds = two_way.estimate(samples, rounding=rounding).interval()
        hits.append([np.mean((low <= 0) & (high >= 0)) for low, high in (both, seeds)])
    return tuple(np.mean(hits, axis=0))  # type: ignore[return-value]


def families(n: int, losses: int, trials: int) -> float:
    """Families of equal losses against one reference with a false verdict."""
    rng, wrong = np.random.default_rng([n, losses]), 0
    reference = rng.normal(size=(trials, 1, n))
    d = rng.normal(size=(trials, losses, n)) - reference
    p = declared_p(d.reshape(-1, n)).reshape(trials, losses)
    for each, values in zip(p, d, strict=True):
        if each.min() * losses < ALPHA:  # else Holm's method finds nothing
            wrong += bool(trusted(values, holm(each) < ALPHA).any())
    return wrong / trials


def after_rates(
    n: int, trials: int, *, gap: float, rates: tuple[int, int], guard: bool, shift: float = 0.0
) -> float:
    """Verdicts on two losses after each chose its rate on validation; test and validation agree.

    The last rate of a loss is worse by `gap` standard deviations of a run, the others are equal.
    """
    rng = np.random.default_rng([n, int(10 * gap), *rates])
    sides = []
    for number, lift in zip(rates, (shift, 0.0), strict=True):
        level = np.zeros(number)
        if number > 1:
            level[-1] = -gap
        run = rng.normal(size=(trials, number, n)) + level[:, None]
        validation, test = (run + rng.normal(0, 0.5, run.shape) for _ in range(2))
        best = validation.mean(axis=-1).argmax(axis=1)
        chosen = np.take_along_axis(validation, best[:, None, None], axis=1)
        flat = validation - chosen
        with np.errstate(invalid="ignore", divide="ignore"):
            p = two_way.p_difference(two_way.estimate([flat.reshape(-1, n)])).reshape(
                trials, number
            )
        candidate = p > INDISTINCT if guard else np.zeros((trials, number), bool)
        candidate[np.arange(trials), best] = True
        sides.append((test + lift, candidate, best))
    (a, may_a, best_a), (b, may_b, best_b) = sides
    worst, signs = np.zeros(trials), [np.zeros(trials, bool), np.zeros(trials, bool)]
    for i, j in itertools.product(range(rates[0]), range(rates[1])):
        d = a[:, i] - b[:, j]
        counts = may_a[:, i] & may_b[:, j]
        worst = np.where(counts, np.maximum(worst, declared_p(d)), worst)
        for place, side in enumerate((d.mean(axis=-1) > 0, d.mean(axis=-1) < 0)):
            signs[place] |= counts & side
    every = np.arange(trials)
    shown = a[every, best_a] - b[every, best_b]
    return float(decided(np.where(signs[0] & signs[1], 1.0, worst), shown).mean())


def watched(
    draw: Draw, trials: int, looks: Sequence[int], *, of_images: float = 0.0
) -> tuple[float, float, float]:
    """False verdicts at any look while seeds are added, with the rule and with a plain t test.

    The second of three are those that are also wrong about the seeds that are not rare. The first
    look is the declared one. of_images: standard deviation of the test set's own effect,
    in standard deviations of a seed, which no seed makes smaller; its variance is known.
    """
    rng = np.random.default_rng([trials, len(looks), 3])
    d = draw(rng, (trials, looks[-1])) + rng.normal(0, of_images, (trials, 1))
    first = looks[0]

    def of(sample: np.ndarray) -> two_way.Estimate:
        estimate = two_way.estimate([sample])
        variance = estimate.variance + of_images**2
        freedom = estimate.freedom * (variance / estimate.variance) ** 2
        return estimate._replace(variance=variance, freedom=freedom)

    once, nothing = two_way.p_difference(of(d[:, :first])), np.full(trials, np.nan)
    ours, of_most, plain = (np.zeros(trials, bool) for _ in range(3))
    for n in looks:
        sample = d[:, :n]
        p = two_way.p_difference(of(sample))
        e = two_way.e_difference([sample], of(sample))
        decides = two_way.at_looks(once, p if n > first else nothing, e)
        with_interval = p < ALPHA  # an interval that holds 0 is no verdict
        verdicts = trusted(sample, (decides < ALPHA) & with_interval)
        ours |= verdicts
        of_most |= verdicts & (np.sign(sample.mean(axis=-1)) != right_of_most(draw, n))
        plain |= p < ALPHA
    return float(ours.mean()), float(of_most.mean()), float(plain.mean())


def after_advice(draw: Draw, trials: int, rounds: int = 5) -> float:
    """False verdicts of people who run what the page advises, up to some rounds, from 10 seeds."""
    rng, wrong = np.random.default_rng([trials, rounds, 4]), 0
    for _ in range(trials):
        d, n = draw(rng, (1, 400)), 10
        once = two_way.p_difference(two_way.estimate([d[:, :n]]))
        later = np.full(1, np.nan)
        for _ in range(rounds + 1):
            sample = d[:, :n]
            estimate = two_way.estimate([sample])
            decides = two_way.at_looks(once, later, two_way.e_difference([sample], estimate))
            p = two_way.p_difference(estimate)
            if trusted(sample, (decides < ALPHA) & (p < ALPHA))[0]:
                wrong += 1
                break
            needed = seeds_needed(float(sample.mean()), float(sample.std(ddof=1)), n).middle
            if not needed <= d.shape[1]:
                break
            n = int(needed)
            later = two_way.p_difference(two_way.estimate([d[:, :n]]))
    return wrong / trials


def power(n: int, effect: float, trials: int) -> tuple[float, float]:
    """Verdicts at the declared n on a true effect, and those of a plain t test at alpha."""
    d = np.random.default_rng([n, 5]).normal(effect, 1, (trials, n))
    return (
        float(decided(declared_p(d), d).mean()),
        float((two_way.p_difference(two_way.estimate([d])) < ALPHA).mean()),
    )


def equivalence(
    n: int, trials: int, *, family: int, difference: float, looks: Sequence[int] = ()
) -> float:
    """Families in which any loss is called equivalent; sd 1, margin 3; looks: added seeds."""
    rng, margin = np.random.default_rng([n, family, 6]), 3.0
    most = looks[-1] if looks else n
    d = rng.normal(difference, 1, (trials * family, most))
    nothing, equivalent = np.full(len(d), np.nan), np.zeros(trials, bool)
    once = two_way.p_equivalence(two_way.estimate([d[:, :n]]), margin)
    for seeds in looks or (n,):
        sample = d[:, :seeds]
        estimate = two_way.estimate([sample])
        later = two_way.p_equivalence(estimate, margin) if seeds > n else nothing
        p = two_way.at_looks(once, later, two_way.e_equivalence([sample], estimate, margin))
        low, high = estimate.interval()
        inside = (-margin <= low) & (high <= margin)
        p = np.where(inside, p, 1.0).reshape(trials, family)
        if family == 1:
            equivalent |= p[:, 0] < ALPHA
        else:
            equivalent |= p.min(axis=1) * family < ALPHA  # Holm's first step
    return float(equivalent.mean())
