"""Statistics of the reports: frames of runs in, frames of verdicts, rates and bands out.

Pure: no store, no files, no plots, no globals, and nothing random but from a generator or a seed
that is passed in. What a metric is, `reports.metrics` says. The modules, each knowing only those
above it:

    intervals.py     a mean and its interval; named generators
    two_way.py       tests over seeds and test images, once or at many looks
    significance.py  the sign-flip test, Holm, effect sizes, outlying seeds
    power.py         what n seeds can show, and how many would decide
    runs.py          one run per configuration and seed; what is missing, counted
    tuning.py        tuning seeds and evaluation seeds; the learning rate of each loss
    contrast.py      one contrast of two sets of values
    verdicts.py      the verdict on a contrast, and on those of a family
    sides.py         which runs of two losses are compared, as pairs or not
    contrasts.py     families of contrasts
    bands.py         means and bands over epochs
    budget.py        training until a target accuracy, trials until a good learning rate
    ranks.py         tests by ranks
    across.py        losses over several data sets or models
"""

from reports.metrics import Metric, read_metric
from reports.stats.bands import bands
from reports.stats.contrast import Contrast, Values, contrast, evidence, values
from reports.stats.contrasts import contrasts, same_loss_contrasts
from reports.stats.intervals import (
    Interval,
    Intervals,
    mean_interval,
    mean_intervals,
    named_generator,
)
from reports.stats.power import (
    Seeds,
    detectable_difference,
    seeds_needed,
)
from reports.stats.runs import KEY, denominators, expected_runs, newest_runs, unfinished_runs
from reports.stats.sides import Dropped
from reports.stats.significance import (
    differences,
    effect_size_dz,
    holm,
    is_trusted,
    outlying,
    probability_of_improvement,
    sign_flip_p,
)
from reports.stats.tuning import SeedSplit, at_chosen, choose_rates, rate_table, split_seeds
from reports.stats.verdicts import Comparison, Rules, Scores, compare, verdict

__all__ = [
    "KEY",
    "Comparison",
    "Contrast",
    "Dropped",
    "Interval",
    "Intervals",
    "Metric",
    "Rules",
    "Scores",
    "SeedSplit",
    "Seeds",
    "Values",
    "at_chosen",
    "bands",
    "choose_rates",
    "compare",
    "contrast",
    "contrasts",
    "denominators",
    "detectable_difference",
    "differences",
    "effect_size_dz",
    "evidence",
    "expected_runs",
    "holm",
    "is_trusted",
    "mean_interval",
    "mean_intervals",
    "named_generator",
    "newest_runs",
    "outlying",
    "probability_of_improvement",
    "rate_table",
    "read_metric",
    "same_loss_contrasts",
    "seeds_needed",
    "sign_flip_p",
    "split_seeds",
    "unfinished_runs",
    "values",
    "verdict",
]
