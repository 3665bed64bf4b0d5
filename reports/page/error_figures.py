"""The figures of a section about classes, images and kinds of corruption."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from reports.error_analysis import Mistakes
from reports.figures import pictures
from reports.names import plain, short_names
from reports.page.figure import PageFigure, SectionFigures, runs_behind

WRONG, DISAGREED = 16, 10  # single images shown


class ErrorFigures(SectionFigures):
    """Draws which examples the losses classify wrongly."""

    def class_accuracy(self, mistakes: Mistakes) -> PageFigure:
        """Accuracy on each class."""
        draw = partial(pictures.class_accuracy, mistakes.classes, self.losses)
        hardest = mistakes.classes.groupby("class")["accuracy"].mean().idxmin()
        runs = runs_behind(mistakes.runs.values())
        return self._figure("classes", draw, f"The hardest class is {hardest}.", runs=runs)

    def confusions(self, mistakes: Mistakes) -> PageFigure:
        """Which classes were taken for which."""
        shown = self.losses.only(set(self.front) & set(mistakes.confusion))
        draw = partial(pictures.confusions, mistakes.confusion, shown, classes=mistakes.names)
        worst = []
        for loss, matrix in mistakes.confusion.items():
            wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            worst.append(
                f"{plain(loss)}: most often {mistakes.names[row]} read as "
                f"{mistakes.names[column]}, {wrong[row, column]:.1f} per run"
            )
        runs, some = runs_behind(mistakes.runs.values()), len(shown.order) < len(mistakes.confusion)
        return self._figure("confusions", draw, f"{'; '.join(worst)}.", runs=runs, some=some)

    def most_wrong(self, mistakes: Mistakes, images: np.ndarray) -> PageFigure | None:
        """The test examples that most runs get wrong; None without errors."""
        rows = _first(mistakes, "wrong", WRONG)
        if not len(rows):
            return None
        draw = partial(pictures.most_wrong, images, rows)
        words = [
            f"label {r.label}, read as {r.taken_for} ({100 * r.wrong:.0f} % of runs)"
            for r in rows.itertuples()
        ]
        runs = runs_behind(mistakes.runs.values())
        return self._figure("most-wrong", draw, f"{'; '.join(words)}.", runs=runs)

    def most_disagreed(self, mistakes: Mistakes, images: np.ndarray) -> PageFigure | None:
        """The test examples that the losses disagree on most; None with fewer than two losses."""
        if len(mistakes.runs) < 2:
            return None
        rows = _first(mistakes, "spread", DISAGREED)
        if not len(rows):
            return None
        losses = replace(self.losses, names=short_names(self.losses.order, 15))
        draw = partial(pictures.most_disagreed, images, rows, losses)
        words = [
            f"label {r.label} (shares differ by {100 * r.spread:.0f} points)"
            for r in rows.itertuples()
        ]
        runs = runs_behind(mistakes.runs.values())
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


def _first(mistakes: Mistakes, column: str, count: int) -> pd.DataFrame:
    """The images with the largest positive values in a column."""
    rows = mistakes.images[mistakes.images[column] > 0]
    return rows.sort_values([column, "image"], ascending=[False, True]).head(count)
