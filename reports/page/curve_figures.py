"""The figures of a section over epochs and seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from reports.figures import curves
from reports.metrics import Metric
from reports.names import plain
from reports.page.figure import PageFigure, SectionFigures, band_words
from reports.secondary_metrics import MEMORIZATION, STEPS


class CurveFigures(SectionFigures):
    """Draws what happened over the epochs."""

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
            words.append(f"{metric.heading}: {self._values(last, metric.scale, metric.digits)}")
        draw = partial(curves.by_epoch, frame, panels, self.losses.only(shown["loss"]), log=log)
        alt, bands = f"At the end: {' '.join(words)}", band_words(shown)
        return self._figure(name, draw, alt, kind="Line charts.", bands=bands)
