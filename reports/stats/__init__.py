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
    pairing.py       which runs of two losses are compared, as pairs or not
    contrasts.py     families of contrasts
    bands.py         means and bands over epochs
    budget.py        training until a target accuracy, trials until a good learning rate
    ranks.py         tests by ranks
    across.py        losses over several data sets or models
"""

from reports.stats.verdicts import compare

__all__ = ["compare"]
