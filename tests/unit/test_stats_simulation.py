"""The statistics proved by simulation, through the functions the report calls.

Thousands of made-up experiments.

Every bound below is the promise plus the error of the simulation itself: with `trials` independent
trials of chance p a share exceeds p by `noise(p, trials)` = 3 standard errors once in some 700
times; the generators are seeded, so a run of this file always says the same. `pytest -m slow -s`
prints what was found.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from reports.stats import (
    contrast,
    contrasts,
    detectable_difference,
    holm,
    mean_interval,
    mean_intervals,
    power_of_difference,
    power_of_equivalence,
    probability_of_improvement,
    same_loss_contrasts,
    seeds_needed,
    sign_flip_p,
    verdict,
    welch_interval,
)

pytestmark = pytest.mark.slow


def noise(p: float, trials: int) -> float:
    return 3 * math.sqrt(p * (1 - p) / trials)


def skewed(shape: float) -> Callable[[np.random.Generator, tuple[int, int]], np.ndarray]:
    """Gamma numbers of mean 0 and variance 1; their skewness is 2 / sqrt(shape)."""
    return lambda rng, size: (rng.gamma(shape, size=size) - shape) / math.sqrt(shape)


def normal(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=size)


MILD, CLEAR, EXPONENTIAL = skewed(16), skewed(4), skewed(1)  # skewness .5, 1, 2


def coverage(n: int, draw: Callable[..., np.ndarray], trials: int, seed: int) -> float:
    """The share of samples of n whose 95 % interval holds the true mean, 0."""
    rng = np.random.default_rng([n, seed])
    found = mean_intervals(draw(rng, (n, trials)), rng)
    assert set(found.method) == {"t" if n < 20 else "bootstrap"}
    return float(np.mean((found.low <= 0) & (found.high >= 0)))


# --- intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 10, 19, 20, 40])
@pytest.mark.parametrize("shape", ["normal", "mildly skewed"])
def test_intervals_of_a_mean_cover_95_percent(n: int, shape: str) -> None:
    trials = 20_000 if n < 20 else 4_000
    found = coverage(n, normal if shape == "normal" else MILD, trials, seed=1)
    print(f"coverage, {shape}, n = {n}: {found:.4f}")
    assert 0.93 <= found <= 0.97


def test_where_the_intervals_fall_short() -> None:
    """A limit, measured so that it can be stated.

    T is short on few and clearly skewed differences.
    """
    found = {
        (name, n): coverage(n, draw, 20_000 if n < 20 else 4_000, seed=2)
        for (name, draw), n in itertools.product(
            {"skewness 1": CLEAR, "exponential": EXPONENTIAL}.items(), (5, 10, 20, 40)
        )
    }
    for case, share in found.items():
        print(f"coverage, {case[0]}, n = {case[1]}: {share:.4f}")
    assert all(0.925 <= found["skewness 1", n] <= 0.97 for n in (5, 10, 20, 40))
    assert 0.86 <= found["exponential", 5] <= 0.90
    assert 0.88 <= found["exponential", 10] <= 0.92
    assert all(
        found["exponential", n] >= 0.92 for n in (20, 40)
    )  # here the bootstrap earns its place


@pytest.mark.parametrize(("n_a", "n_b", "sd_b"), [(5, 5, 1.0), (5, 10, 3.0), (10, 10, 2.0)])
def test_welch_intervals_cover_95_percent(n_a: int, n_b: int, sd_b: float) -> None:
    rng = np.random.default_rng([n_a, n_b])
    hits = []
    for _ in range(4_000):
        _, low, high, _ = welch_interval(rng.normal(size=n_a), rng.normal(0, sd_b, n_b))
        hits.append(low <= 0 <= high)
    print(f"coverage, Welch, {n_a} and {n_b} runs, spreads 1 and {sd_b}: {np.mean(hits):.4f}")
    assert 0.93 <= np.mean(hits) <= 0.97


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("n", [5, 10, 20, 40])
def test_the_interval_of_p_better_covers(n: int, paired: bool) -> None:
    """Wins are counts, so coverage jumps with p (no interval for counts avoids that).

    It is 95 % on average.
    """
    rng = np.random.default_rng([n, paired])
    shares = []
    for shift in (0.0, 0.25, 0.5, 1.0, 1.5):
        truth = 0.5 * (1 + math.erf(shift / 2))  # P(N(shift, 1) > N(0, 1))
        hits = []
        for _ in range(1_000):
            _, low, high, _ = probability_of_improvement(
                rng.normal(shift, size=n), rng.normal(size=n), paired=paired
            )
            hits.append(low <= truth <= high)
        shares.append(float(np.mean(hits)))
    print(
        f"coverage, P(a > b), {'paired' if paired else 'unpaired'}, n = {n}: {np.round(shares, 3)}"
    )
    assert np.mean(shares) >= 0.95 - 0.02
    assert min(shares) >= 0.90


# --- false verdicts -------------------------------------------------------------------------------


def experiment(
    rng: np.random.Generator, losses: int, rates: int, seeds: int, template: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Runs of losses that are all the same one.

    A seed's share (paired away) plus a run's own noise.

    Accuracies are counts over 10,000 examples; validation and test of one run go together, so a
    rate chosen on the seeds that judge it is flattered.
    """
    if "frame" not in template:
        cells = itertools.product(
            ["ce", *(f"loss {i}" for i in range(losses))], range(rates), range(seeds)
        )
        rows = [
            (f"{a} {b} {c}", a, 10.0 ** (b - 3), 10, c, "ok", f"i{c}", f"o{c}") for a, b, c in cells
        ]
        columns = ["run_id", "loss", "lr", "epochs", "seed", "outcome", "init_hash", "order_hash"]
        template["frame"] = pd.DataFrame(rows, columns=columns)
    shared = rng.normal(0, 0.002, (1, 1, seeds))
    own = rng.normal(0, 0.002, (losses + 1, rates, seeds))
    scored = {
        name: np.round(0.985 + shared + own + rng.normal(0, 0.001, own.shape), 4).ravel()
        for name in ("val_accuracy", "test_accuracy")
    }
    return template["frame"].assign(**scored)


def false_families(trials: int, losses: int, rates: int, seeds: int, **arguments: object) -> float:
    """The share of A/A experiments in which any of the contrasts is called better or worse.

    With a margin of 0 no false verdict can hide behind "equivalent".
    """
    rng = np.random.default_rng([losses, rates, seeds])
    template: dict[str, pd.DataFrame] = {}
    wrong = 0
    for trial in range(trials):
        table = experiment(rng, losses, rates, seeds, template)
        found = contrasts(table, rope=0.0, seed=trial, **arguments)  # type: ignore[arg-type]
        assert (found["family"] == len(found)).all()
        wrong += bool(found["verdict"].isin(["better", "worse"]).any())
    share = wrong / trials
    print(
        f"false families, {losses} losses x {rates} rates x {seeds} seeds, {arguments}: "
        f"{share:.4f} of {trials}"
    )
    return share


@pytest.mark.parametrize(
    ("seeds", "trials"),
    [(5, 1_000), (8, 4_000), (10, 4_000), (15, 2_000), (20, 1_200), (25, 1_200)],
)
def test_false_verdicts_against_a_baseline_in_at_most_5_percent_of_families(
    seeds: int, trials: int
) -> None:
    """Ten losses that equal the reference: thousands of families, from the tests to the
    verdicts."""
    rng = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(trials):
        accuracies = np.round(rng.normal(98.5, 0.3, (11, seeds)), 2)
        pairs = accuracies[1:] - accuracies[0]
        adjusted = holm([sign_flip_p(d, rng) for d in pairs])
        # an interval is looked at where the test has spoken: without it the verdict is never better
        # or worse
        found = [
            verdict(*mean_interval(d, rng)[1:3], p, n=seeds, margin=0.0)
            for d, p in zip(pairs, adjusted, strict=True)
            if p < 0.05
        ]
        wrong += "better" in found or "worse" in found
    share = wrong / trials
    print(f"false families, 10 losses, {seeds} seeds: {share:.4f} of {trials}")
    assert share <= 0.05 + noise(0.05, trials)
    if seeds in (5, 8):
        assert (
            share == 0
        )  # 10 x .0625 and 10 x .0078: too few seeds to call anything better or worse


@pytest.mark.parametrize(("seeds", "trials"), [(10, 500), (20, 150)])
def test_false_verdicts_of_whole_frames(seeds: int, trials: int) -> None:
    assert false_families(trials, losses=10, rates=1, seeds=seeds) <= 0.05 + noise(0.05, trials)


def test_false_verdicts_stay_rare_when_rates_are_chosen_first() -> None:
    """All seeds choose and are evaluated.

    Every loss is flattered alike, since budgets are equal.
    """
    assert false_families(1_000, losses=4, rates=3, seeds=12) <= 0.05 + noise(0.05, 1_000)
    assert false_families(300, losses=4, rates=3, seeds=8) <= 0.05 + noise(0.05, 300)


@pytest.mark.parametrize("gap", [0.5, 1.0])
def test_false_verdicts_of_equal_losses_with_two_close_rates(gap: float) -> None:
    """Two equal losses, and for both a second rate that is worse by a share of the spread of runs.

    With two seeds that choose and ten others that are evaluated, 10 to 15 % are false, because the
    losses then stand at different rates.
    """
    rng, template, trials, seeds = np.random.default_rng(11), dict[str, pd.DataFrame](), 500, 10
    wrong = 0
    for trial in range(trials):
        table = experiment(rng, 1, 2, seeds, template)
        lower = 0.002 * gap * (table["lr"] == table["lr"].max())
        for name in ("val_accuracy", "test_accuracy"):
            table[name] = np.round(table[name] - lower, 4)
        found = contrasts(table, rope=0.0, seed=trial)
        assert found["n"][0] == seeds
        wrong += bool(found["verdict"].isin(["better", "worse"]).any())
    print(f"false verdicts, two rates {gap} sd apart, {seeds} seeds: {wrong / trials:.4f}")
    assert wrong / trials <= 0.06 + noise(0.06, trials)


def test_false_verdicts_at_equal_rates_and_over_all_pairs() -> None:
    assert false_families(300, losses=3, rates=3, seeds=12, view="equal") <= 0.05 + noise(0.05, 300)
    assert false_families(300, losses=4, rates=1, seeds=12, all_pairs=True) <= 0.05 + noise(
        0.05, 300
    )


def test_false_verdicts_of_unpaired_aa_comparisons() -> None:
    rng, template, trials = np.random.default_rng(5), dict[str, pd.DataFrame](), 300
    wrong = 0
    for trial in range(trials):
        table = experiment(rng, 7, 1, 12, template)
        halves = table[table["seed"] < 6], table[table["seed"] >= 6]
        found = same_loss_contrasts(*halves, rope=0.0, seed=trial)
        wrong += bool(found["verdict"].isin(["better", "worse"]).any())
    print(
        f"false families, one loss on two sets of 6 seeds, 8 losses: {wrong / trials:.4f} of "
        f"{trials}"
    )
    assert wrong / trials <= 0.05 + noise(0.05, trials)


def test_the_same_seeds_may_choose_and_be_evaluated_with_equal_budgets_only() -> None:
    """Choosing among five equal rates flatters a loss with its own runs.

    So its equal needs five as well.
    """
    rng, template = np.random.default_rng(9), dict[str, pd.DataFrame]()
    found: dict[str, list[float]] = {"five": [], "one": [], "apart": []}
    for _ in range(100):
        table = experiment(rng, 1, 5, 16, template)
        single = table[(table["loss"] != "ce") | (table["lr"] == 0.001)]
        found["five"].append(contrasts(table)["difference"][0])
        found["one"].append(contrasts(single)["difference"][0])
        found["apart"].append(contrasts(single, tuning_seeds=range(8))["difference"][0])
    mean = {name: float(np.mean(values)) for name, values in found.items()}
    error = {name: float(np.std(values)) / 10 for name, values in found.items()}
    print(f"mean difference of equal losses, by rates of the other: {mean}")
    assert abs(mean["five"]) < 4 * error["five"] and abs(mean["apart"]) < 4 * error["apart"]
    assert mean["one"] > 4 * error["one"]


# --- equivalence and power ------------------------------------------------------------------------


def verdicts_of(
    n: int, difference: float, sd: float, trials: int, family: int = 1, margin: float = 0.1
) -> dict[str, float]:
    """Shares of verdicts on n normal paired differences, in points.

    When `family` - 1 others show nothing.
    """
    rng = np.random.default_rng([n, trials, family])
    counts = {"better": 0, "worse": 0, "equivalent": 0, "undecided": 0}
    for _ in range(trials):
        b = rng.normal(98, 0.3, n)
        found = contrast(b + rng.normal(difference, sd, n), b, rng, margin=margin)
        p_holm = holm([found.p, *[1.0] * (family - 1)])[0]
        p_equivalence = found.p_equivalence
        counts[
            verdict(found.low, found.high, p_holm, n=n, p_equivalence=p_equivalence, margin=margin)
        ] += 1
    return {name: count / trials for name, count in counts.items()}


def test_equivalence_is_found_when_it_is_true_and_spread_is_small() -> None:
    found = verdicts_of(10, 0.0, 0.05, trials=1_000)
    print(f"truly equal, sd .05, n = 10: {found}")
    assert found["equivalent"] >= 0.99
    assert verdicts_of(20, 0.02, 0.05, trials=200)["equivalent"] >= 0.99


def test_equivalence_is_rarely_claimed_of_a_difference_on_the_margin() -> None:
    trials = 4_000
    found = verdicts_of(10, 0.1, 0.05, trials)
    print(f"on the margin, sd .05, n = 10: {found}")
    assert found["equivalent"] <= 0.025 + noise(
        0.025, trials
    )  # each end of a 95 % interval errs in 2.5 %


@pytest.mark.parametrize("size", [360, 10_000])
@pytest.mark.parametrize("sd", [0.3, 1.0])
def test_false_equivalence_on_the_margin_where_accuracies_are_rounded(size: int, sd: float) -> None:
    """Counts of right images, whose true difference is the margin; the noise is `sd` images."""
    rng, step, trials = np.random.default_rng(size), 100 / size, 1_000
    margin = max(0.1, 2 * step)
    for n in (5, 6, 8, 12, 20):
        false = 0
        for _ in range(trials if n < 20 else 200):
            b = np.rint(rng.normal(0.95 * size, 3, n))
            a = np.rint(b + margin / step + rng.normal(0, sd, n))
            c = contrast(step * a, step * b, rng, step=step, margin=margin)
            p = c.p_equivalence
            found = verdict(c.low, c.high, 1.0, n=n, p_equivalence=p, margin=margin)
            false += found == "equivalent"
        share = false / (trials if n < 20 else 200)
        print(f"equivalent on the margin, {size} images, sd {sd} images, n = {n}: {share:.3f}")
        assert share <= 0.05 + noise(0.05, trials if n < 20 else 200)


@pytest.mark.parametrize(
    ("n", "difference", "sd"), [(8, 0.0, 0.09), (13, 0.0, 0.1), (15, 0.04, 0.08), (40, 0.05, 0.12)]
)
def test_the_power_of_equivalence_is_as_computed(n: int, difference: float, sd: float) -> None:
    trials = 1_000 if n >= 20 else 3_000
    expected = power_of_equivalence(n, difference, sd, 0.1)
    found = verdicts_of(n, difference, sd, trials)["equivalent"]
    print(
        f"equivalent at n = {n}, true difference {difference}, sd {sd}: {found:.3f}, computed "
        f"{expected:.3f}"
    )
    assert found == pytest.approx(expected, abs=noise(expected, trials) + 0.01)


@pytest.mark.parametrize(
    ("n", "effect", "family", "trials"),
    [(10, 1.0, 1, 4_000), (10, 1.5, 10, 3_000), (18, 1.0, 10, 1_000), (24, 0.6, 1, 1_000)],
)
def test_the_power_to_find_a_difference_is_near_the_computed_power(
    n: int, effect: float, family: int, trials: int
) -> None:
    expected = power_of_difference(n, effect, 1.0, alpha=0.05 / family)
    found = verdicts_of(n, effect, 1.0, trials, family, margin=math.nan)
    print(
        f"better at n = {n}, d_z {effect}, family of {family}: {found['better']:.3f}, computed "
        f"{expected:.3f}"
    )
    # the sign-flip test has a little less power than the t test the plan is made with
    assert found["better"] == pytest.approx(expected, abs=noise(expected, trials) + 0.04)
    assert found["worse"] == 0


def test_what_the_report_advises_is_enough() -> None:
    """A difference called detectable is detected.

    The seeds called needed decide, in some 80 % of the cases.
    """
    detectable = detectable_difference(12, 0.3)
    found = verdicts_of(12, detectable, 0.3, 2_000)["better"]
    needed = int(seeds_needed(0.02, 0.15, margin=0.1))
    decided = verdicts_of(needed, 0.02, 0.15, 500)["equivalent"]
    print(f"detectable at n = 12: found {found:.3f}; {needed} seeds needed: decided {decided:.3f}")
    assert found >= 0.8 - noise(0.8, 2_000) - 0.03
    assert decided >= 0.8 - noise(0.8, 500)
