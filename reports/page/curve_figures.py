"""The figures of a section over epochs and seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from reports.figures import curves
from reports.names import plain
from reports.page.figure import PageFigure, SectionFigures, band_words
from reports.secondary_metrics import MEMORIZATION, STEPS, Measure


class CurveFigures(SectionFigures):
    """Draws what happened over the epochs."""

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
            f"Line charts, a panel for each of {', '.join(map(plain, self.order))}. {caption}",
            draw,
        )

    def memorization(self) -> PageFigure | None:
        """How many wrong labels are memorized; None without flipped labels."""
        caption = (
            "Training accuracy after each epoch with flipped labels: the share of flipped examples "
            "predicted as their wrong label (memorized noise), the share predicted as their true "
            "label, and the accuracy on all other examples (all in %)."
        )
        return self._by_epoch("memorization", MEMORIZATION, caption)

    def steps(self) -> PageFigure | None:
        """Norms of gradients and sizes of updates, by epoch; None where none are recorded."""
        caption = (
            "Mean over each epoch: the norm of the gradient, and the norm of an update relative to "
            f"the norm of the weights, {self.section.at_rates}. The axes are logarithmic."
        )
        return self._by_epoch("steps", STEPS, caption, log=True)

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
        axes = self._together_of(shown)
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
