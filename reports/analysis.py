"""Every frame that a report shows about one setting, computed by `reports.stats`.

Pure: frames in, frames out. A setting is everything a run was asked except loss, learning rate,
epochs and seed; runs of different settings are never pooled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports import error_analysis, secondary_metrics
from reports.metrics import Metric, read_metric
from reports.names import counted, natural, plain
from reports.question import Question, QuestionError, standing
from reports.setting_frames import (
    accuracy_bands,
    best_table,
    ended_runs,
    evaluated_runs,
    means_by_epochs,
    own_bands,
    own_curves_of,
)
from reports.stats import budget
from reports.stats.contrast import FOLDS, SEEDS
from reports.stats.contrasts import contrasts
from reports.stats.runs import FINISHED, KEY, denominators, newest_runs, unfinished_runs
from reports.stats.tuning import SeedSplit, choose_rates, rate_table, split_seeds
from reports.stats.verdicts import RunScores

if TYPE_CHECKING:
    from reports.runs import Declared

Predictions = Callable[[str], Mapping[str, np.ndarray] | None]

READ_AT_MOST = 10
"""The most runs of one loss whose predictions are read: enough for pictures."""


@dataclass(frozen=True)
class Section:
    """One setting of a report.

    setting: its key; title: the same for people. losses: in the order of the page, the reference
    first. epochs: the headline's. runs: one per configuration and seed. split: tuning seeds and
    evaluation seeds, at the headline's epochs. best: the table per loss at its own best rate.
    evaluated: the runs behind it. means: per epochs and loss, of the metric. by_epoch and
    corruptions: from `reports.secondary_metrics`, of the evaluated runs. target: a validation
    accuracy; NaN: not known. to_target and expected: from `reports.stats.budget`, the time to the
    target of each evaluated run, diverged ones included, and the best validation accuracy to expect
    by loss and number of trials. test_size: test examples that the metric counts. diverged_as: the
    accuracy in [0, 1] of the best constant answer, with which a diverged run counts; None: not
    known, or not of this metric. folds: whether the data are cross-validated, so that each seed has
    other test examples. declared: the question that was declared before these runs. exploratory:
    why it is not the one that this report asks, of all its seeds; "" if it is. notes: what a reader
    has to know.
    """

    setting: str
    title: str
    question: Question
    losses: list[str]
    reference: str
    epochs: int
    runs: pd.DataFrame
    running: int
    split: SeedSplit
    chosen: pd.DataFrame
    rates: pd.DataFrame
    evaluated: pd.DataFrame
    curves: pd.DataFrame
    bands: pd.DataFrame
    own: pd.DataFrame
    by_epoch: pd.DataFrame
    corruptions: pd.DataFrame
    target: float
    to_target: pd.DataFrame
    expected: pd.DataFrame
    best: pd.DataFrame
    means: pd.DataFrame
    contrasts: pd.DataFrame
    denominators: pd.DataFrame
    unfinished: pd.DataFrame
    test_size: int | None
    diverged_as: float | None
    errors: error_analysis.ErrorAnalysis | None
    folds: bool = False
    declared: Declared | None = None
    exploratory: str = "no question was declared before these runs"
    notes: list[str] = field(default_factory=list)

    @property
    def confirmatory(self) -> bool:
        """Whether the question of this report was declared before its runs."""
        return not self.exploratory

    @property
    def headline(self) -> pd.DataFrame:
        """The contrasts at each loss's best rate and the headline's number of epochs."""
        best = self.contrasts[self.contrasts["view"] == "best"]
        return self.at_end(best).reset_index(drop=True)

    @property
    def shown(self) -> list[str]:
        """The losses with runs at the headline's epochs, however these ended.

        The reference is the first if it is among them.
        """
        return self._run_at(self.epochs)

    @property
    def without_baselines(self) -> list[str]:
        """The losses that were run here: those of no file of baselines."""
        theirs = set(self.runs.loc[self.runs["baseline"].astype(bool), "loss"])
        return [loss for loss in self.losses if loss not in theirs]

    @property
    def lengths(self) -> list[int]:
        """Every number of epochs there are runs of, the headline's first, then the largest."""
        lengths = (int(epochs) for epochs in self.runs["epochs"].unique())
        return sorted(lengths, key=lambda epochs: (epochs != self.epochs, -epochs))

    def at_end(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of a frame at the headline's epochs."""
        return frame[frame["epochs"] == self.epochs]

    def compared(self, epochs: int) -> pd.DataFrame:
        """The contrasts at each loss's best rate, between losses that were run for `epochs`."""
        frame, losses = self.contrasts, self._run_at(epochs)
        best = frame[(frame["view"] == "best") & (frame["epochs"] == epochs)]
        return best[best["a"].isin(losses) & best["b"].isin(losses)].reset_index(drop=True)

    def _run_at(self, epochs: int) -> list[str]:
        losses = set(self.runs.loc[self.runs["epochs"] == epochs, "loss"])
        return [loss for loss in self.losses if loss in losses]

    @property
    def metric(self) -> Metric:
        """The metric that decides."""
        return read_metric(self.question.metric)

    @property
    def tuned(self) -> dict[str, int]:
        """The losses whose own values were tuned, and how many choices of them were tried."""
        tuned = self.at_end(self.rates[self.rates["tuned"] != ""])
        return {str(loss): own["tuned"].nunique() for loss, own in tuned.groupby("loss")}

    @property
    def stops_early(self) -> bool:
        """Whether the weights of each run's best epoch were tested, not those of its last one."""
        return "stop_tested_epoch" in self.runs and self.runs["stop_tested_epoch"].notna().any()

    @property
    def drawn(self) -> str:
        """What a trial is one of, in words."""
        return "pairs of a learning rate and own values" if self.tuned else "learning rates"

    @property
    def at_rates(self) -> str:
        """At which learning rates the losses are shown, in words."""
        if self.tuned:
            names = " and ".join(plain(loss) for loss in self.tuned)
            return (
                f"each loss in its own best trial (learning rate; of {names} its own values, too)"
            )
        tried = self.at_end(self.rates)["lr"].unique()
        if len(tried) == 1:
            return f"at learning rate {tried[0]:g}"
        return f"each loss at its own {_best(self.at_end(self.runs))}learning rate"

    @property
    def at_rates_by_length(self) -> str:
        """The same for every length of training."""
        tried = self.rates["lr"].unique()
        if len(tried) == 1 and not self.tuned:
            return f"at learning rate {tried[0]:g}"
        return f"each loss at its {_best(self.runs)}learning rate for that length"

    @property
    def evaluated_seeds(self) -> int:
        """The most seeds behind one loss's mean."""
        seeds = self.evaluated.groupby("loss")["seed"].nunique()
        return int(seeds.max()) if len(seeds) else 0


def _best(runs: pd.DataFrame) -> str:
    """The word where a loss has several trials at one length to choose from, else nothing."""
    trials = runs[["epochs", "loss", "lr", "tuned"]].drop_duplicates()
    return "best " if trials.duplicated(["epochs", "loss"]).any() else ""


def sections(
    summary: pd.DataFrame,
    curves: pd.DataFrame,
    question: Question,
    predictions: Predictions,
    scores: RunScores | None = None,
    declared: Sequence[Declared] = (),
    disagreement: str = "",
) -> list[Section]:
    """A section per setting, in the order of their titles, numbers in them by size.

    Args:
        summary: a row per run, from `reports.runs.load`.
        curves: a row per run and epoch, from `reports.runs.load`.
        question: what the report is asked for.
        predictions: the predictions of a run, by its id; None where there are none.
        scores: the values of a metric for each test example; without it verdicts are about these
            test examples only.
        declared: the questions that were declared before runs, the oldest first.
        disagreement: why sweeps that are taken together have no common question, else "".
    """
    unsorted = [
        section(runs, curves, question, predictions, scores, declared, disagreement)
        for _, runs in summary.groupby("setting", sort=True, dropna=False)
    ]
    return sorted(unsorted, key=lambda each: natural(each.title))


def section(
    summary: pd.DataFrame,
    curves: pd.DataFrame,
    question: Question,
    predictions: Predictions,
    scores: RunScores | None = None,
    declared: Sequence[Declared] = (),
    disagreement: str = "",
) -> Section:
    """Everything about the runs of one setting.

    Raises:
        QuestionError: the metric or the tuning seeds do not fit these runs.
    """
    setting = str(summary["setting"].iloc[0])
    title = str(summary["setting_text"].iloc[0])
    notes: list[str] = []
    runs = ended_runs(summary, question.metric)
    kept = newest_runs(runs)
    losses, reference = _in_order(kept, question)
    if losses and reference != question.reference:
        notes.append(
            f"No run of this setting has the loss {question.reference}; the reference here is "
            f"{reference}."
        )
    epochs = headline_epochs(kept, reference, question)
    at_headline = kept[kept["epochs"] == epochs]
    if epochs < (longest := int(kept["epochs"].max() if len(kept) else 0)):
        notes.append(
            f"After {counted(longest, 'epoch')} the question compares no two losses, so the answer "
            f"is about {counted(epochs, 'epoch')}."
        )
    try:
        split = split_seeds(at_headline, question.tuning_seeds)
        every_chosen = choose_rates(kept, question.tuning_seeds)
    except ValueError as error:
        raise QuestionError(f"{error}, in the setting {plain(title, 200)}") from error
    chosen = every_chosen[every_chosen["epochs"] == epochs].reset_index(drop=True)
    evaluated = evaluated_runs(at_headline, chosen, split.evaluation)

    read = read_predictions(evaluated, losses, predictions)
    metric = read_metric(question.metric)
    test_size, constant = of_test_set(read, metric)
    diverged_as = None if constant is None else float(constant.mean())
    if len(evaluated) and not np.isfinite(evaluated[metric.name].astype(float)).any():
        note = f"No run of this setting recorded its {metric.words}, so nothing is decided here"
        notes.append(note + (f": only runs {metric.only_for} have it." if metric.only_for else "."))
    own_curves = own_curves_of(evaluated, curves)
    target = question.target
    if target is None:
        target = budget.usual_target(evaluated.loc[evaluated["loss"] == reference, "val_accuracy"])
    assigned = evaluated_runs(at_headline, chosen, split.evaluation, FINISHED)
    return Section(
        setting=setting,
        title=title,
        question=question,
        losses=losses,
        reference=reference,
        epochs=epochs,
        runs=kept,
        running=len(summary) - len(runs),
        split=split,
        chosen=every_chosen,
        rates=rate_table(kept),
        evaluated=evaluated,
        curves=own_curves,
        bands=accuracy_bands(own_curves, question.seed),
        own=own_bands(own_curves, question.seed),
        by_epoch=secondary_metrics.by_epoch(own_curves, question.seed),
        corruptions=secondary_metrics.corruptions(evaluated),
        target=target,
        to_target=budget.times_to_target(assigned, own_curves_of(assigned, curves), target),
        expected=budget.expected_best(at_headline[at_headline["outcome"].isin(FINISHED)]),
        best=best_table(kept, evaluated, chosen, losses, question.seed),
        means=means_by_epochs(kept, every_chosen, question),
        contrasts=comparisons(kept, reference, question, test_size, diverged_as, constant, scores),
        denominators=denominators(runs) if len(runs) else pd.DataFrame(columns=["loss"]),
        unfinished=unfinished_runs(runs) if len(runs) else pd.DataFrame(columns=KEY),
        test_size=test_size,
        diverged_as=diverged_as,
        errors=None
        if is_cross_validated(kept)
        else error_analysis.summarise(read, error_analysis.class_names(runs)),
        folds=is_cross_validated(kept),
        **standing(at_headline, question, reference, declared, disagreement),
        notes=notes,
    )


def _in_order(runs: pd.DataFrame, question: Question) -> tuple[list[str], str]:
    """The losses, and the reference, which is the first: the one of the question if it was run."""
    losses = sorted(str(loss) for loss in runs["loss"].unique())
    reference = losses[0] if losses and question.reference not in losses else question.reference
    losses.sort(key=lambda loss: (loss != reference, loss not in question.subjects, loss))
    return losses, reference


def headline_epochs(runs: pd.DataFrame, reference: str, question: Question) -> int:
    """The largest number of epochs at which the question compares two losses with a result.

    Where it compares none at any, the largest number of epochs; 0 without runs.
    """
    one_of = ({*question.subjects} & set(runs["loss"])) or {reference}
    finished = runs[runs["outcome"].isin(FINISHED)]
    compared = [
        epochs
        for epochs, losses in finished.groupby("epochs")["loss"].agg(set).items()
        if len(losses) > 1 and (question.all_pairs or losses & one_of)
    ]
    return int(max(compared or runs["epochs"], default=0))


def of_test_set(
    read: Mapping[str, Sequence[Mapping[str, Any]]], metric: Metric
) -> tuple[int | None, np.ndarray | None]:
    """From predictions: the test examples of the metric, and where a constant answer is right."""
    constant = error_analysis.constant_answer(read) if metric.of_all_test_images else None
    return error_analysis.size(read, metric.of_class), constant


def comparisons(
    kept: pd.DataFrame,
    reference: str,
    question: Question,
    test_size: int | None,
    diverged_as: float | None,
    constant: np.ndarray | None = None,
    scores: RunScores | None = None,
) -> pd.DataFrame:
    """All contrasts of one setting: at each loss's best rate, and at every equal rate."""
    folds = is_cross_validated(kept)
    if folds and len(set(kept["seed"]) - set(question.tuning_seeds or ())) > 1:
        scores = constant = None  # no example is common to two seeds
    frames = [
        contrasts(
            kept,
            reference=reference,
            metric=question.metric,
            view=view,
            all_pairs=question.all_pairs,
            subjects=question.subjects,
            tuning_seeds=question.tuning_seeds,
            margin=question.margin,
            test_size=test_size,
            scores=scores,
            diverged=math.nan if diverged_as is None else diverged_as,
            constant=constant,
        )
        for view in ("best", "equal")
    ]
    full = [frame for frame in frames if len(frame)]
    frame = pd.concat(full, ignore_index=True) if full else frames[0]
    if folds:
        frame["generalises"] = frame["generalises"].replace({SEEDS: FOLDS})
    return frame


def is_cross_validated(runs: pd.DataFrame) -> bool:
    """Whether runs of different seeds have different test examples, so none is common to them."""
    return bool(runs["folds"].notna().any())


def read_predictions(
    evaluated: pd.DataFrame, losses: Sequence[str], predictions: Predictions
) -> dict[str, list[Any]]:
    """The predictions of at most `READ_AT_MOST` runs of each loss, by loss."""
    by_loss: dict[str, list[Any]] = {}
    for loss in losses:
        run_ids = evaluated.loc[evaluated["loss"] == loss, "run_id"].head(READ_AT_MOST)
        arrays = [array for run_id in run_ids if (array := predictions(str(run_id))) is not None]
        if arrays:
            by_loss[loss] = arrays
    return by_loss
