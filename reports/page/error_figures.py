"""The figures of a section about classes, images and kinds of corruption."""

from __future__ import annotations

from functools import partial

import numpy as np

from reports.error_analysis import Mistakes
from reports.figures import pictures
from reports.names import plain, short_names
from reports.page.figure import PageFigure, SectionFigures, runs_behind

WRONG, DISAGREED = 16, 10  # single images shown


class ErrorFigures(SectionFigures):
    """Draws which examples the losses classify wrongly."""

    def class_accuracy(self, mistakes: Mistakes) -> PageFigure:
        """Accuracy on each class."""
        draw = partial(pictures.class_accuracy, mistakes.classes, **self._together)
        caption = (
            "Accuracy on the test examples of each class, mean over "
            f"{runs_behind(mistakes.runs.values())} per loss; the line spans the losses."
        )
        caption += self._grey_words()
        hardest = mistakes.classes.groupby("class")["accuracy"].mean().idxmin()
        return PageFigure("classes", caption, f"{caption} The hardest class is {hardest}.", draw)

    def confusions(self, mistakes: Mistakes) -> PageFigure:
        """Which classes were taken for which."""
        shown = [loss for loss in self.order if loss in self.front and loss in mistakes.confusion]
        draw = partial(
            pictures.confusions,
            mistakes.confusion,
            order=shown,
            names=self.names,
            classes=mistakes.names,
        )
        caption = (
            "Confusion matrices: mean number of wrongly classified test examples per run, over "
            f"{runs_behind(mistakes.runs.values())} per loss. The diagonal, right answers, is left "
            "out."
        )
        caption += "" if len(shown) == len(mistakes.confusion) else " Of the losses in color."
        worst = []
        for loss, matrix in mistakes.confusion.items():
            wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            worst.append(
                f"{plain(loss)}: most often {mistakes.names[row]} read as "
                f"{mistakes.names[column]}, {wrong[row, column]:.1f} per run"
            )
        return PageFigure("confusions", caption, f"{caption} {'; '.join(worst)}.", draw)

    def most_wrong(self, mistakes: Mistakes, images: np.ndarray) -> PageFigure | None:
        """The test examples that most runs get wrong; None without errors."""
        rows = mistakes.images[mistakes.images["wrong"] > 0].sort_values(
            ["wrong", "image"], ascending=[False, True]
        )
        if not len(rows):
            return None
        draw = partial(pictures.most_wrong, images, rows.head(WRONG))
        caption = (
            "The test examples that runs classified wrongly most often, over all losses: label and "
            f"most frequent wrong answer, over {runs_behind(mistakes.runs.values())} per loss."
        )
        words = [
            f"label {r.label}, read as {r.taken_for} ({100 * r.wrong:.0f} % of runs)"
            for r in rows.head(WRONG).itertuples()
        ]
        return PageFigure("most-wrong", caption, f"{caption} {'; '.join(words)}.", draw)

    def most_disagreed(self, mistakes: Mistakes, images: np.ndarray) -> PageFigure | None:
        """The test examples that the losses disagree on most; None with fewer than two losses."""
        if len(mistakes.runs) < 2:
            return None
        rows = mistakes.images[mistakes.images["spread"] > 0].sort_values(
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
            "The test examples on which the losses disagree most: the share of each loss's runs "
            f"that classified it wrongly, of {runs_behind(mistakes.runs.values())}."
        )
        words = [
            f"label {r.label} (shares differ by {100 * r.spread:.0f} points)"
            for r in rows.head(DISAGREED).itertuples()
        ]
        return PageFigure("most-disagreed", caption, f"{caption} {'; '.join(words)}.", draw)

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
