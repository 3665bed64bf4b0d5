"""The figures of a section with their names, captions and alternative texts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from reports.figures import comparisons, effects, ranks, rates
from reports.figures.drawing import within
from reports.metrics import read_metric
from reports.names import counted, plain, short_names
from reports.page.curve_figures import CurveFigures
from reports.page.error_figures import ErrorFigures
from reports.page.figure import PageFigure, bar_words, runs_behind, span
from reports.page.table import number
from reports.stats import budget
from reports.texts import called, numbers


class FigureBuilder(CurveFigures, ErrorFigures):
    """Draws the figures of one section, all with the same looks and names."""

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
        tuning = {tuple(seeds) for seeds in chosen["tuning_seeds"]}
        seeds = numbers(tuning.pop()) if len(tuning) == 1 else "those with a run at every rate"
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
        return self._figure("heat-map", draw, f"{'; '.join(words)}.", runs=runs, seeds=seeds)

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
