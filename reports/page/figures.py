"""The figures of a section with their names, captions and alternative texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.analysis import Section
from reports.figures import comparisons, curves, effects, pictures, ranks, rates
from reports.figures.palette import TOGETHER, Look
from reports.names import counted, plain, short_names
from reports.page.answer import ranked
from reports.page.caveats import listed
from reports.page.table import minus, number
from reports.secondary_metrics import MEMORISATION, STEPS, Measure
from reports.stats import budget
from reports.verdicts import upper_first

WRONG, DISAGREED = 16, 10  # single images shown


@dataclass(frozen=True)
class PageFigure:
    """A figure that is ready to be drawn. alt: what it shows, in words and numbers."""

    name: str
    caption: str
    alt: str
    draw: Callable[[], Figure]

    @property
    def figure(self) -> Figure:
        """The figure, drawn at the width of the current style."""
        return self.draw()


class FigureBuilder:
    """Draws the figures of one section, all with the same looks and names."""

    def __init__(
        self, section: Section, looks: Mapping[str, Look], front: Sequence[str] | None = None
    ) -> None:
        """front: the losses with a colour of their own; None means those of this section."""
        self.section = section
        self.order = [loss for loss in ranked(section) if loss in section.shown]
        self.looks = looks
        self.names = short_names(self.order)
        self.front = in_front([section]) if front is None else front
        self._axes: dict[str, Any] = {"order": self.order, "looks": looks, "names": self.names}
        self._together = self._axes | {
            "behind": [loss for loss in self.order if loss not in self.front]
        }

    def overview(self) -> PageFigure | None:
        """Validation accuracy by epoch; None without curves."""
        if not self.section.bands["mean"].notna().any():
            return None
        caption = f"Validation accuracy after each epoch, {self.section.at_rates}. " + band_words(
            self.section.bands
        )
        return self._curves("accuracy", caption, ["epoch"], seeds=False)

    def over_epochs_and_seconds(self) -> PageFigure | None:
        """Validation accuracy by seconds and by epoch; None without times."""
        if not self.section.curves["seconds"].notna().any():
            return None
        caption = (
            "Validation accuracy over seconds of training and over epochs. Thin lines are runs. "
            f"{band_words(self.section.bands)} Seconds are those of the machine that trained."
        )
        return self._curves("accuracy-time", caption, ["seconds", "epoch"])

    def own_losses(self) -> PageFigure | None:
        """The value of each loss on training and validation examples, by epoch; or None."""
        if not self.section.own["mean"].notna().any():
            return None
        draw = partial(curves.own_losses, self.section.own, **self._axes)
        caption = (
            f"Value of each loss on training and validation examples. "
            f"{band_words(self.section.own)} "
            "Each panel has its own axis: values of different losses cannot be compared."
        )
        return PageFigure(
            "own-losses",
            caption,
            f"Line charts, a panel for each of {self._listed()}. {caption}",
            draw,
        )

    def memorisation(self) -> PageFigure | None:
        """How many wrong labels are memorized; None without flipped labels."""
        caption = (
            "Training accuracy after each epoch with flipped labels: the share of flipped examples "
            "predicted as their wrong label (memorized noise), the share predicted as their true "
            "label, and the accuracy on all other examples (all in %)."
        )
        return self._by_epoch("memorisation", MEMORISATION, caption)

    def steps(self) -> PageFigure | None:
        """Norms of gradients and sizes of updates, by epoch; None where none are recorded."""
        caption = (
            "Mean over each epoch: the norm of the gradient, and the norm of an update relative to "
            f"the norm of the weights, {self.section.at_rates}. The axes are logarithmic."
        )
        return self._by_epoch("steps", STEPS, caption, log=True)

    def corruptions(self) -> PageFigure | None:
        """Accuracy by loss and kind of corruption; None where none is recorded."""
        table = self.section.corruptions
        table = table[table["loss"].isin(self.order)]
        if not len(table):
            return None
        clean = dict(
            zip(self.section.best["loss"], self.section.best["test_accuracy"], strict=True)
        )
        draw = partial(pictures.corruptions, table, clean=clean, order=self.order, names=self.names)
        caption = (
            "Accuracy (%) on the unchanged test images (none) and after each kind of "
            f"corruption, the easiest kind first. Means over {runs_behind(table['n'])} per loss."
        )
        hardest = table.loc[table.groupby("loss")["accuracy"].idxmin()]
        words = [
            f"{plain(row.loss)}: least on {plain(row.corruption)}, {100 * row.accuracy:.1f} %"
            for row in hardest.itertuples()
        ]
        return PageFigure("corruptions", caption, f"{caption} {'; '.join(words)}.", draw)

    def to_target(self) -> PageFigure | None:
        """The share of runs that reached the target; None where no run is known to."""
        times = self.section.to_target
        if not times["reached"].any():
            return None
        shares = budget.reached(times)
        order = [loss for loss in self.order if loss in set(shares["loss"])]
        axes = self._together | {"order": order}
        axes["behind"] = [loss for loss in axes["behind"] if loss in order]
        counts = times.groupby("loss")["reached"].agg(["sum", "size"]).reindex(order)
        caption = (
            f"Evaluated runs that reached {100 * self.section.target:g} % validation accuracy, "
            f"over training (Kaplan-Meier), {self.section.at_rates}. Over "
            f"{runs_behind(counts['size'])} per loss; runs that diverged stay in the denominator."
            + self._grey_words()
        )
        told = ", ".join(
            f"{plain(loss)} {row['sum']} of {row['size']}" for loss, row in counts.iterrows()
        )
        draw = partial(ranks.shares_reached, shares, **axes)
        return PageFigure("to-target", caption, f"Step charts. {caption} Reached it: {told}.", draw)

    def expected(self) -> PageFigure | None:
        """Expected best validation accuracy over trials; None where no loss has several rates."""
        means = self.section.expected
        order = [loss for loss in self.order if loss in set(means["loss"])]
        if not order:
            return None
        axes = self._together | {"order": order}
        axes["behind"] = [loss for loss in axes["behind"] if loss in order]
        draw = partial(
            effects.effect,
            means.assign(low=np.nan, high=np.nan),
            x="trials",
            x_label="trials",
            label="best validation accuracy (%)",
            scale=100,
            **axes,
        )
        caption = (
            "Expected validation accuracy of the best of a number of trials. Each trial has one of "
            "the learning rates that were tried, drawn at random, and one seed. From "
            f"{runs_behind(means['n'])} per loss." + self._grey_words()
        )
        last = means.groupby("loss").tail(1)
        return PageFigure(
            "trials",
            caption,
            f"Line chart. {caption} With the most trials: {self._values(last, 100)}",
            draw,
        )

    def rates(self) -> PageFigure:
        """Validation accuracy by learning rate."""
        section = self.section
        at = section.runs[section.runs["epochs"] == section.epochs]
        chosen = self._chosen()
        draw = partial(rates.rate_sensitivity, at, self._rates(), chosen, **self._axes)
        caption = (
            "Validation accuracy by learning rate. Marks are runs, lines are means over "
            f"{runs_behind(self._rates()['scored'])} per rate. The grey strip counts diverged "
            "runs. A ring marks the best rate of each loss."
        )
        picks = [f"{plain(c.loss)} {c.lr:g}" for c in chosen.itertuples() if np.isfinite(c.lr)]
        return PageFigure(
            "learning-rates", caption, f"{caption} Chosen: {', '.join(picks) or 'none'}.", draw
        )

    def final(self) -> PageFigure | None:
        """The metric of each loss after its last epoch; None where no run has a value."""
        section = self.section
        column = section.question.metric
        metric = section.metric
        runs = section.judged.assign(value=section.judged[column].astype(float))
        runs = runs[np.isfinite(runs["value"])]
        if not len(runs):
            return None
        means = section.means[section.means["epochs"] == section.epochs]
        shown = [loss for loss in self.order if loss in set(runs["loss"])]
        label = metric.label
        behind = [loss for loss in self._together["behind"] if loss in shown]
        draw = partial(
            comparisons.final_accuracy,
            runs,
            means,
            label=label,
            scale=metric.scale,
            bounds=metric.bounds,
            order=shown,
            behind=behind,
            looks=self.looks,
            names=self.names,
        )
        caption = (
            f"{upper_first(metric.words)} after the last epoch. Ticks are runs, marks are means "
            f"over {runs_behind(means['n'])} per loss.{bar_words(means)}"
        )
        if comparisons.enlarged(runs, means, shown, behind, metric.scale):
            caption += " Second panel: the best of them, enlarged."
        if absent := [plain(loss) for loss in self.order if loss not in shown]:
            caption += f" Without {', '.join(absent)}, whose runs have none."
        return PageFigure(
            "final",
            caption,
            f"{caption} {self._values(means, metric.scale, metric.digits)}",
            draw,
        )

    def forest(self) -> PageFigure | None:
        """The differences between losses with their intervals; None where none is known."""
        frame = self.section.compared(self.section.epochs)
        if not frame["difference"].notna().any():
            return None
        metric = self.section.metric
        unit = "percentage points" if metric.in_points else ""
        margin = float(frame["margin"].iloc[0])
        draw = partial(
            comparisons.forest,
            frame,
            margin=margin,
            unit=unit,
            digits=metric.digits,
            looks=self.looks,
            names=self._pair_names(),
            behind=self._together["behind"],
        )
        pairs = "pairs of runs" if frame["paired"].all() else "runs or pairs of runs"
        caption = (
            f"Mean differences in {metric.words} (n = {span(frame['n'])} {pairs}) and the "
            "verdicts. Bars are 95 % intervals."
        )
        if np.isfinite(margin):
            caption += f" Shaded: the margin of ±{margin:.3g} that counts as equivalent."
        words = [
            f"{plain(row.a)} minus {plain(row.b)}: "
            f"{number(row.difference, metric.digits, signed=True).text}, {row.verdict}."
            for row in frame.itertuples()
        ]
        return PageFigure("contrasts", caption, " ".join(["Forest plot.", caption, *words]), draw)

    def epochs_effect(self) -> PageFigure | None:
        """The metric by length of training; None with a single length."""
        means = self.section.means
        if means["epochs"].nunique() < 2:
            return None
        metric = self.section.metric
        every = ranked(self.section)
        axes = self._axes | {"order": every, "names": short_names(every)}
        axes["behind"] = [loss for loss in every if loss not in self.front]
        draw = partial(
            effects.effect,
            means,
            x="epochs",
            x_label="epochs trained (each length is a run of its own)",
            label=metric.label,
            scale=metric.scale,
            bounds=metric.bounds,
            **axes,
        )
        caption = (
            f"{upper_first(metric.words)} against the length of training; each loss at the rate "
            "that is best for it at that length. Means over "
            f"{runs_behind(means['n'])}.{bar_words(means)}" + self._grey_words()
        )
        words = [
            f"{counted(e, 'epoch')}: {self._values(part, metric.scale, metric.digits)}"
            for e, part in means.groupby("epochs")
        ]
        return PageFigure("epochs", caption, " ".join([caption, *words]), draw)

    def heat_map(self) -> PageFigure:
        """Mean validation accuracy by loss and learning rate."""
        table = self._rates()
        chosen = self._chosen()
        tuning = {tuple(seeds) for seeds in chosen["tuning_seeds"]}
        seeds = listed(tuning.pop()) if len(tuning) == 1 else "those with a run at every rate"
        draw = partial(rates.heat_map, table, chosen, order=self.order, names=self.names)
        caption = (
            "Mean validation accuracy (%) by loss and learning rate, over "
            f"{runs_behind(table['scored'])} per cell; framed: the rate of each loss that its "
            f"tuning seeds ({seeds}) chose. The color begins at the lower quartile."
        )
        words = [
            f"{plain(loss)}: "
            + ", ".join(
                f"{r.lr:g} {number(r.val_accuracy, 2, scale=100).text}" for r in own.itertuples()
            )
            for loss, own in table.groupby("loss", sort=False)
        ]
        return PageFigure("heat-map", caption, f"{caption} {'; '.join(words)}.", draw)

    def confusions(self) -> PageFigure | None:
        """Which digits were taken for which; None without predictions."""
        found = self.section.mistakes
        if found is None:
            return None
        shown = [loss for loss in self.order if loss in self.front and loss in found.confusion]
        draw = partial(pictures.confusions, found.confusion, order=shown, names=self.names)
        caption = (
            "Confusion matrices: mean number of wrongly classified test images per run, over "
            f"{runs_behind(found.runs.values())} per loss. The diagonal, right answers, is left "
            "out."
        )
        caption += "" if len(shown) == len(found.confusion) else " Of the losses in color."
        worst = []
        for loss, matrix in found.confusion.items():
            wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            worst.append(
                f"{plain(loss)}: most often {row} read as {column}, {wrong[row, column]:.1f} per "
                "run"
            )
        return PageFigure("confusions", caption, f"{caption} {'; '.join(worst)}.", draw)

    def class_accuracy(self) -> PageFigure | None:
        """Accuracy on each digit; None without predictions."""
        found = self.section.mistakes
        if found is None:
            return None
        draw = partial(pictures.class_accuracy, found.classes, **self._together)
        caption = (
            "Accuracy on the test images of each digit, mean over "
            f"{runs_behind(found.runs.values())} per loss; the line spans the losses."
        )
        caption += self._grey_words()
        hardest = found.classes.groupby("digit")["accuracy"].mean().idxmin()
        return PageFigure("classes", caption, f"{caption} The hardest digit is {hardest}.", draw)

    def most_wrong(self, images: np.ndarray) -> PageFigure | None:
        """The test images that most runs get wrong; None without predictions or errors."""
        found = self.section.mistakes
        if found is None:
            return None
        rows = found.images[found.images["wrong"] > 0].sort_values(
            ["wrong", "image"], ascending=[False, True]
        )
        if not len(rows):
            return None
        draw = partial(pictures.most_wrong, images, rows.head(WRONG))
        caption = (
            "The test images that runs classified wrongly most often, over all losses: label and "
            f"most frequent wrong answer, over {runs_behind(found.runs.values())} per loss."
        )
        words = [
            f"label {r.label}, read as {r.taken_for} ({100 * r.wrong:.0f} % of runs)"
            for r in rows.head(WRONG).itertuples()
        ]
        return PageFigure("most-wrong", caption, f"{caption} {'; '.join(words)}.", draw)

    def most_disagreed(self, images: np.ndarray) -> PageFigure | None:
        """The test images that the losses disagree on most; None with fewer than two losses."""
        found = self.section.mistakes
        if found is None or len(found.runs) < 2:
            return None
        rows = found.images[found.images["spread"] > 0].sort_values(
            ["spread", "image"], ascending=[False, True]
        )
        if not len(rows):
            return None
        draw = partial(
            pictures.most_disagreed,
            images,
            rows.head(DISAGREED),
            order=self.order,
            looks=self.looks,
            names=short_names(self.order, 15),
        )
        caption = (
            "The test images on which the losses disagree most: the share of each loss's runs "
            f"that classified it wrongly, of {runs_behind(found.runs.values())}."
        )
        words = [
            f"label {r.label} (shares differ by {100 * r.spread:.0f} points)"
            for r in rows.head(DISAGREED).itertuples()
        ]
        return PageFigure("most-disagreed", caption, f"{caption} {'; '.join(words)}.", draw)

    # ---- parts -----------------------------------------------------------------------------------

    def _curves(
        self, name: str, caption: str, x: Sequence[str], *, seeds: bool = True
    ) -> PageFigure:
        section = self.section
        shown = section.curves if seeds else section.curves.iloc[:0]
        draw = partial(curves.accuracy_curves, shown, section.bands, x=x, **self._together)
        if curves.enlarged(section.bands, self._together["behind"]):
            caption += " Lower panel: the second half of training, enlarged, of the best losses."
        caption += self._grey_words()
        last = section.bands.dropna(subset=["mean"]).groupby("loss").tail(1)
        return PageFigure(
            name, caption, f"Line chart. {caption} At the end: {self._values(last, 100)}", draw
        )

    def _by_epoch(
        self, name: str, measures: Sequence[Measure], caption: str, *, log: bool = False
    ) -> PageFigure | None:
        frame = self.section.by_epoch
        there = [measure for measure in measures if (frame["measure"] == measure.column).any()]
        if not there:
            return None
        shown = set(frame.loc[frame["measure"].isin([measure.column for measure in there]), "loss"])
        axes = self._together | {"order": [loss for loss in self.order if loss in shown]}
        axes["behind"] = [loss for loss in axes["behind"] if loss in shown]
        caption += f" {band_words(frame[frame['measure'].isin([m.column for m in there])])}"
        caption += self._grey_words()
        panels = {measure.column: (measure.words, measure.scale) for measure in there}
        words = []
        for measure in there:
            last = frame[frame["measure"] == measure.column].groupby("loss").tail(1)
            words.append(f"{measure.words}: {self._values(last, measure.scale, measure.digits)}")
        return PageFigure(
            name,
            caption,
            f"Line charts. {caption} At the end: {' '.join(words)}",
            partial(curves.by_epoch, frame, panels, log=log, **axes),
        )

    def _grey_words(self) -> str:
        """Why some losses are grey; empty where none is."""
        if not self._together["behind"]:
            return ""
        return (
            f" Of {len(self.section.losses)} losses, the reference and the best by "
            f"{self.section.metric.words} are in color."
        )

    def _chosen(self) -> pd.DataFrame:
        chosen = self.section.chosen
        return chosen[chosen["epochs"] == self.section.epochs]

    def _rates(self) -> pd.DataFrame:
        table = self.section.rates
        return table[table["epochs"] == self.section.epochs]

    def _values(self, means: pd.DataFrame, scale: float, digits: int = 2) -> str:
        unit = " %" if scale == 100 else ""
        ordered = means.set_index("loss")["mean"].reindex(
            [loss for loss in ranked(self.section) if loss in set(means["loss"])]
        )
        return (
            minus(
                ", ".join(
                    f"{plain(k)} {number(v, digits, scale=scale).text}{unit}"
                    for k, v in ordered.items()
                )
            )
            + "."
        )

    def _pair_names(self) -> dict[str, str]:
        return short_names(self.order, 18)

    def _listed(self) -> str:
        return ", ".join(plain(loss) for loss in self.order)


def in_front(sections: Sequence[Section]) -> list[str]:
    """The losses with a colour of their own in every figure.

    They are the reference, the subjects and the best by the metric, or all losses if there are few.
    """
    losses = list(dict.fromkeys(loss for section in sections for loss in section.losses))
    if len(losses) <= TOGETHER:
        return losses
    ranks = pd.concat(
        [
            section.means[section.means["epochs"] == section.epochs]
            .set_index("loss")["mean"]
            .astype(float)
            .rank(ascending=not section.metric.higher_is_better)
            for section in sections
        ]
    )
    best = ranks.groupby(level=0).mean().sort_values(kind="stable").dropna().index
    first = [*(section.reference for section in sections), *sections[0].question.subjects]
    wanted = dict.fromkeys([*first, *map(str, best), *losses])
    return [loss for loss in wanted if loss in losses][:TOGETHER]


def span(counts: Iterable[int]) -> str:
    """The least and the most of the counts above 0: 3, or 2 to 10.

    >>> span([10, 2, 0, 3])
    '2 to 10'
    """
    found = sorted({int(count) for count in counts if count > 0}) or [0]
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def runs_behind(counts: Iterable[int]) -> str:
    """How many runs are behind each mean: 1 run, or 2 to 10 runs."""
    text = span(counts)
    return f"{text} run{'' if text == '1' else 's'}"


def band_words(bands: pd.DataFrame) -> str:
    """How many runs are behind the lines, and what the bands mean. bands: loss, low, n."""
    text = f"Lines are means over {runs_behind(bands.groupby('loss')['n'].max())} per loss"
    if bands["low"].notna().any():
        return f"{text}, bands are pointwise 95 % intervals of the mean."
    return f"{text}, without a confidence band (n = 1)."


def bar_words(means: pd.DataFrame) -> str:
    """What the bars mean; empty where there are none."""
    return " Bars are 95 % intervals of the mean." if means["low"].notna().any() else ""
