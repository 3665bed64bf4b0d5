"""The figures of a section with their names, captions and alternative texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.analysis import Section
from reports.error_analysis import ErrorAnalysis
from reports.figures import comparisons, curves, effects, pictures, ranks, rates
from reports.figures.drawing import within
from reports.figures.palette import Look
from reports.metrics import Metric, read_metric
from reports.names import counted, plain, short_names
from reports.page.answer import ranked
from reports.page.figure import (
    PageFigure,
    band_words,
    bar_words,
    described,
    in_front,
    losses_of,
    runs_behind,
    span,
)
from reports.page.table import minus, number
from reports.secondary_metrics import MEMORIZATION, STEPS
from reports.stats import budget
from reports.texts import called

WRONG, DISAGREED = 16, 10  # single images shown


class FigureBuilder:
    """Draws the figures of one section, all with the same looks and names."""

    def __init__(
        self, section: Section, looks: Mapping[str, Look], front: Sequence[str] | None = None
    ) -> None:
        """front: the losses with a color of their own; None means those of this section."""
        self.section = section
        self.front = in_front([section]) if front is None else front
        self.every = losses_of(ranked(section), looks, self.front)
        self.losses = self.every.only(section.shown)

    def overview(self) -> PageFigure | None:
        """Validation accuracy by epoch; None without curves."""
        if not self.section.bands["mean"].notna().any():
            return None
        return self._curves("accuracy", ["epoch"], seeds=False)

    def over_epochs_and_seconds(self) -> PageFigure | None:
        """Validation accuracy by seconds and by epoch; None without times."""
        if not self.section.curves["seconds"].notna().any():
            return None
        return self._curves("accuracy-time", ["seconds", "epoch"])

    def own_losses(self) -> PageFigure | None:
        """The value of each loss on training and validation examples, by epoch; or None."""
        if not self.section.own["mean"].notna().any():
            return None
        draw = partial(curves.own_losses, self.section.own, self.losses)
        kind = f"Line charts, a panel for each of {', '.join(map(plain, self.losses.order))}."
        bands = band_words(self.section.own)
        return self._figure("own-losses", draw, kind=kind, bands=bands)

    def memorization(self) -> PageFigure | None:
        """How many wrong labels are memorized; None without flipped labels."""
        return self._by_epoch("memorization", MEMORIZATION)

    def steps(self) -> PageFigure | None:
        """Norms of gradients and sizes of updates, by epoch; None where none are recorded."""
        return self._by_epoch("steps", STEPS, log=True)

    def to_target(self) -> PageFigure | None:
        """The share of runs that reached the target; None where no run is known to."""
        times = self.section.to_target
        if not times["reached"].any():
            return None
        shares = budget.reached(times)
        losses = self.losses.only(shares["loss"])
        counts = times.groupby("loss")["reached"].agg(["sum", "size"]).reindex(losses.order)
        words = ", ".join(
            f"{plain(loss)} {row['sum']} of {row['size']}" for loss, row in counts.iterrows()
        )
        draw = partial(ranks.shares_reached, shares, losses)
        runs = runs_behind(counts["size"])
        return self._figure(
            "to-target", draw, f"Reached it: {words}.", kind="Step charts.", runs=runs
        )

    def expected(self) -> PageFigure | None:
        """Expected best validation accuracy over trials; None where no loss has several rates."""
        means = self.section.expected
        losses = self.losses.only(means["loss"])
        if not losses.order:
            return None
        draw = partial(
            effects.effect,
            means.assign(low=np.nan, high=np.nan),
            losses,
            replace(read_metric("val_accuracy"), words="best validation accuracy"),
            x="trials",
            x_label="trials",
        )
        last = self._values(means.groupby("loss").tail(1), 100)
        words = f"With the most trials: {last}"
        runs = runs_behind(means["n"])
        return self._figure("trials", draw, words, kind="Line chart.", runs=runs)

    def rates(self) -> PageFigure:
        """Validation accuracy by learning rate."""
        section = self.section
        frames = (section.runs, section.rates, section.chosen)
        runs, table, chosen = (section.at_end(frame) for frame in frames)
        draw = partial(rates.rate_sensitivity, runs, table, chosen, self.losses)
        picks = [
            f"{called(c.loss, c.tuned)} {c.lr:g}" for c in chosen.itertuples() if np.isfinite(c.lr)
        ]
        words = f"Chosen: {', '.join(picks) or 'none'}."
        return self._figure("learning-rates", draw, words, runs=runs_behind(table["scored"]))

    def heat_map(self) -> PageFigure:
        """Mean validation accuracy by loss and learning rate."""
        table = self.section.at_end(self.section.rates)
        chosen = self.section.at_end(self.section.chosen)
        draw = partial(rates.heat_map, table, chosen, self.losses)
        words = [
            f"{plain(loss)}: "
            + ", ".join(
                f"{r.lr:g} {r.tuned} {number(r.val_accuracy, 2, scale=100).text}".replace("  ", " ")
                for r in own.itertuples()
            )
            for loss, own in table.groupby("loss", sort=False)
        ]
        runs = runs_behind(table["scored"])
        return self._figure("heat-map", draw, f"{'; '.join(words)}.", runs=runs)

    def final(self) -> PageFigure | None:
        """The metric of each loss at the end; None where no run has a value."""
        section = self.section
        column = section.question.metric
        metric = section.metric
        runs = section.evaluated.assign(value=section.evaluated[column].astype(float))
        runs = runs[np.isfinite(runs["value"])]
        if not len(runs):
            return None
        means = section.at_end(section.means)
        losses = self.losses.only(runs["loss"])
        draw = partial(comparisons.final_accuracy, runs, means, losses, metric)
        return self._figure(
            "final",
            draw,
            self._values(means[means["loss"].isin(losses.order)], metric.scale, metric.digits),
            runs=runs_behind(means["n"]),
            bars=bar_words(means),
            enlarged=comparisons.enlarged(runs, means, losses, metric.scale),
            absent=[plain(loss) for loss in self.losses.order if loss not in losses.order],
        )

    def forest(self) -> PageFigure | None:
        """The differences between losses with their intervals; None where none is known."""
        frame = self.section.compared(self.section.epochs)
        if not frame["difference"].notna().any():
            return None
        metric = self.section.metric
        frame = within(frame, metric.differences)
        margin = float(frame["margin"].iloc[0])
        losses = replace(self.losses, names=short_names(self.losses.order, 18))
        draw = partial(comparisons.forest, frame, losses, metric, margin)
        n = span(frame["n"])
        pairs = "pairs of runs" if frame["paired"].all() else "runs or pairs of runs"
        pairs = "one pair of runs" if n == "1" else f"n = {n} {pairs}"
        words = [
            f"{plain(row.a)} minus {plain(row.b)}: "
            f"{number(row.difference, metric.digits, signed=True).text}, {row.verdict}."
            for row in frame.itertuples()
        ]
        every = " ".join(words)
        return self._figure(
            "contrasts", draw, every, kind="Forest plot.", pairs=pairs, margin=margin
        )

    def epochs_effect(self) -> PageFigure | None:
        """The metric by length of training; None with a single length."""
        means = self.section.means
        if means["epochs"].nunique() < 2:
            return None
        metric = self.section.metric
        draw = partial(
            effects.effect,
            means,
            self.every,
            metric,
            x="epochs",
            x_label="epochs trained (each length is a run of its own)",
        )
        words = [
            f"{counted(e, 'epoch')}: {self._values(part, metric.scale, metric.digits)}"
            for e, part in means.groupby("epochs")
        ]
        runs, bars = runs_behind(means["n"]), bar_words(means)
        return self._figure("epochs", draw, " ".join(words), runs=runs, bars=bars)

    def class_accuracy(self, errors: ErrorAnalysis) -> PageFigure:
        """Accuracy on each class."""
        draw = partial(pictures.class_accuracy, errors.classes, self.losses)
        hardest = errors.classes.groupby("class")["accuracy"].mean().idxmin()
        runs = runs_behind(errors.runs.values())
        return self._figure("classes", draw, f"The hardest class is {hardest}.", runs=runs)

    def confusions(self, errors: ErrorAnalysis) -> PageFigure:
        """Which classes were taken for which."""
        shown = self.losses.only(set(self.front) & set(errors.confusion))
        draw = partial(pictures.confusions, errors.confusion, shown, classes=errors.names)
        worst = []
        for loss, matrix in errors.confusion.items():
            wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            worst.append(
                f"{plain(loss)}: most often {errors.names[row]} read as "
                f"{errors.names[column]}, {wrong[row, column]:.1f} per run"
            )
        runs, some = runs_behind(errors.runs.values()), len(shown.order) < len(errors.confusion)
        return self._figure("confusions", draw, f"{'; '.join(worst)}.", runs=runs, some=some)

    def most_wrong(self, errors: ErrorAnalysis, images: np.ndarray) -> PageFigure | None:
        """The test examples that most runs get wrong; None without errors."""
        rows = _first(errors, "wrong", WRONG)
        if not len(rows):
            return None
        draw = partial(pictures.most_wrong, images, rows)
        words = [
            f"label {r.label}, read as {r.taken_for} ({100 * r.wrong:.0f} % of runs)"
            for r in rows.itertuples()
        ]
        runs = runs_behind(errors.runs.values())
        return self._figure("most-wrong", draw, f"{'; '.join(words)}.", runs=runs)

    def most_disagreed(self, errors: ErrorAnalysis, images: np.ndarray) -> PageFigure | None:
        """The test examples that the losses disagree on most; None with fewer than two losses."""
        if len(errors.runs) < 2:
            return None
        rows = _first(errors, "spread", DISAGREED)
        if not len(rows):
            return None
        losses = replace(self.losses, names=short_names(self.losses.order, 15))
        draw = partial(pictures.most_disagreed, images, rows, losses)
        words = [
            f"label {r.label} (shares differ by {100 * r.spread:.0f} points)"
            for r in rows.itertuples()
        ]
        runs = runs_behind(errors.runs.values())
        return self._figure("most-disagreed", draw, f"{'; '.join(words)}.", runs=runs)

    def corruptions(self) -> PageFigure | None:
        """Accuracy by loss and kind of corruption; None where none is recorded."""
        table = self.section.corruptions
        table = table[table["loss"].isin(self.losses.order)]
        if not len(table):
            return None
        clean = dict(
            zip(self.section.best["loss"], self.section.best["test_accuracy"], strict=True)
        )
        draw = partial(pictures.corruptions, table, self.losses, clean=clean)
        hardest = table.loc[table.groupby("loss")["accuracy"].idxmin()]
        words = [
            f"{plain(row.loss)}: least on {plain(row.corruption)}, {100 * row.accuracy:.1f} %"
            for row in hardest.itertuples()
        ]
        runs = runs_behind(table["n"])
        return self._figure("corruptions", draw, f"{'; '.join(words)}.", runs=runs)

    def _curves(self, name: str, x: Sequence[str], *, seeds: bool = True) -> PageFigure:
        section = self.section
        shown = section.curves if seeds else section.curves.iloc[:0]
        draw = partial(curves.accuracy_curves, shown, section.bands, self.losses, x=x)
        ended_well = set(section.evaluated["loss"])
        last = section.bands.dropna(subset=["mean"]).groupby("loss").tail(1)
        return self._figure(
            name,
            draw,
            f"At the end: {self._values(last, 100)}",
            kind="Line chart.",
            bands=band_words(section.bands),
            enlarged=curves.enlarged(section.bands, self.losses.behind),
            absent=[plain(loss) for loss in section.shown if loss not in ended_well],
        )

    def _by_epoch(
        self, name: str, metrics: Sequence[Metric], *, log: bool = False
    ) -> PageFigure | None:
        frame = self.section.by_epoch
        metrics = [metric for metric in metrics if (frame["measure"] == metric.name).any()]
        if not metrics:
            return None
        panels = {metric.name: (metric.heading, metric.scale) for metric in metrics}
        shown = frame[frame["measure"].isin(panels)]
        words = []
        for metric in metrics:
            last = shown[shown["measure"] == metric.name].groupby("loss").tail(1)
            digits = None if log else metric.digits
            words.append(f"{metric.heading}: {self._values(last, metric.scale, digits)}")
        draw = partial(curves.by_epoch, frame, panels, self.losses.only(shown["loss"]), log=log)
        alt, bands = f"At the end: {' '.join(words)}", band_words(shown)
        return self._figure(name, draw, alt, kind="Line charts.", bands=bands)

    def _figure(
        self, name: str, draw: Callable[[], Figure], alt: str = "", **values: Any
    ) -> PageFigure:
        """A figure whose caption has the section, and why some losses are grey."""
        return described(name, draw, alt, s=self.section, grey=self._grey_words(), **values)

    def _grey_words(self) -> str:
        """Why some losses are grey; empty where none is."""
        if not self.losses.behind:
            return ""
        return (
            f" Of {len(self.section.losses)} losses, the reference and the best by "
            f"{self.section.metric.words} are in color."
        )

    def _values(self, means: pd.DataFrame, scale: float, digits: int | None = 2) -> str:
        """The mean of each loss in words; digits: decimals, or None for three significant ones."""
        unit = " %" if scale == 100 else ""
        ordered = means.set_index("loss")["mean"].reindex(
            [loss for loss in ranked(self.section) if loss in set(means["loss"])]
        )
        words = []
        for loss, value in ordered.items():
            text = f"{value:.3g}" if digits is None else number(value, digits, scale=scale).text
            words.append(f"{plain(loss)} {text}{unit}")
        return minus(", ".join(words)) + "."


def _first(errors: ErrorAnalysis, column: str, count: int) -> pd.DataFrame:
    """The images with the largest positive values in a column."""
    rows = errors.images[errors.images[column] > 0]
    return rows.sort_values([column, "image"], ascending=[False, True]).head(count)
