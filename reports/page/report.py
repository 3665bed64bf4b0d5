"""What the page says, top to bottom: the blocks of a report, from its sections.

A figure or a table becomes a file of its own name; those of a second setting begin with its number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from experiments.contract import override
from reports import verdicts
from reports.across import Across, advice, basis, posterior, sentence
from reports.analysis import Section
from reports.figures import palette
from reports.gallery import Gallery
from reports.names import counted, plain
from reports.page import across as page_across
from reports.page import caveats, commands, cross_setting, provenance
from reports.page import tables as page_tables
from reports.page import text as page_text
from reports.page.blocks import (
    Commands,
    Facts,
    Fold,
    Heading,
    Listing,
    Page,
    Picture,
    Text,
    Verdict,
    Verdicts,
)
from reports.page.cross_setting import Source
from reports.page.figures import FigureBuilder, PageFigure, in_front
from reports.page.table import Table
from reports.sensitivity import overviews, setting_values

Images = Callable[[Section], np.ndarray | str]


@dataclass
class Report:
    """A page with its files: figures (file name without suffix -> Figure) and tables."""

    page: Page
    figures: dict[str, Any] = field(default_factory=dict)
    drawings: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)


def report(
    sections: Sequence[Section],
    source: Source,
    images: Images,
    *,
    gallery: Gallery | None = None,
    figure_format: str = "svg",
    across: Across | None = None,
) -> Report:
    """The whole report. Call inside `palette.style()`.

    images: the test images [n, 28, 28] of a section, or why they cannot be had. gallery: what the
    losses themselves are. across: the losses over all sections, which comes first; the sections
    are then short.
    """
    order = list(dict.fromkeys(loss for section in sections for loss in section.losses))
    front = in_front(sections)
    composer = _Composer(
        palette.looks(list(dict.fromkeys([*front, *order]))), front, source, images
    )
    blocks: list[Any] = [Text(page_text.question(sections))]
    if source.baselines and sections:
        blocks += [Text(*told) for told in provenance.told(source.baselines, sections[0].runs)]
    if across is not None:
        blocks += composer.across(across, sections)
    blocks += cross_setting.sweeps(source)
    if across is None:
        blocks += composer.overviews(sections, order)
    else:
        blocks.append(Heading(f"Each {across.unit} on its own"))
    for number, section in enumerate(sections, start=1):
        blocks += (
            composer.section(section, number, len(sections))
            if across is None
            else composer.short_section(section, number, across.key)
        )
    composer.prefix = ""
    blocks += composer.gallery(gallery, order)
    together = caveats.about_the_store(source.missing, source.notes, source.warnings)
    if len(sections) > 1 and together:
        blocks += [Heading("What to know about all settings"), Facts(together)]
    blocks += cross_setting.reproduction(source)
    name = source.sweep or source.experiment
    page = Page(
        title="Which loss trains better, and how sure are we?",
        subtitle=page_text.subtitle(sections, name),
        blocks=blocks,
        figure_format=figure_format,
    )
    composer.result.page = page
    return composer.result


class _Composer:
    """Numbers figures and tables across sections, and keeps their files."""

    def __init__(
        self,
        looks: Mapping[str, palette.Look],
        front: Sequence[str],
        source: Source,
        images: Images,
    ) -> None:
        self.looks, self.front, self.source, self.images = looks, front, source, images
        self.result = Report(Page("", ""))
        self.prefix = ""

    def across(self, found: Across, sections: Sequence[Section]) -> list[Any]:
        """The answer over all data sets or models."""
        items = [
            Verdict(row["verdict"], sentence(found, row), posterior(found, row))
            for row in found.comparison.contrasts.to_dict("records")
        ]
        blocks = [
            Heading(f"Across {found.unit}s"),
            Text(basis(found)),
            *(_most_telling(items) if items else []),
            *(Text(each, alarm=not items) for each in advice(found)),
            *self._lacking(found, sections),
            self._picture(page_across.diagram(found, self.looks)),
            self._table(page_across.values(found)),
        ]
        if items:
            blocks += [Text(page_across.how(found)), self._table(page_across.contrasts(found))]
        return [block for block in blocks if block is not None]

    def _lacking(self, found: Across, sections: Sequence[Section]) -> list[Any]:
        """The commands that run the losses that some data sets or models lack."""
        every = pd.concat([section.runs for section in sections], ignore_index=True)
        lines: list[str] = []
        for section in sections:
            losses = found.comparison.left_out.get(str(section.runs[found.key].iloc[0]), [])
            setting = setting_values(section.runs)
            lines += commands.run_command(
                losses,
                sorted(section.runs["lr"].unique()),
                sorted(section.runs["seed"].unique()),
                every.assign(**setting),  # a loss that has no run here has its values elsewhere
                epochs=section.epochs,
                experiment=self.source.experiment,
                uri=self.source.uri,
            )
        return [Fold("The commands that run what is missing", [Commands(lines)])] if lines else []

    def short_section(self, section: Section, number: int, key: str) -> list[Any]:
        """One setting of a report across several: its verdicts, its table, what to know."""
        self.prefix = f"setting-{number}-"
        name = str(section.runs[key].iloc[0]) if len(section.runs) else section.title
        rows = section.compared(section.epochs).to_dict("records")
        again = [
            text
            for text in self.source.overrides
            if not text.startswith(("across=", f"where.{key}="))
        ]
        command = commands.report_command([*again, override(f"where.{key}", name)])
        blocks = [
            *(Text(note, alarm=True) for note in section.notes),
            *_most_telling([_verdict(row, ()) for row in rows]),
            *([self._table(page_tables.best(section))] if len(section.judged) else []),
            *self._honesty(section)[1:],  # without its heading
            Text(f"The whole page about {plain(name)}:"),
            Commands([command]),
        ]
        tally = verdicts.tally(rows) or "nothing to compare"
        return [Fold(f"{plain(name, 120)}: {tally}", blocks)]

    def overviews(self, sections: Sequence[Section], order: Sequence[str]) -> list[Any]:
        """The losses over every number in which settings differ."""
        blocks: list[Any] = []
        for found in overviews(sections):
            metric = sections[0].metric
            table = self._table(cross_setting.overview_table(found, metric, order))
            blocks += [
                Heading(f"Over {plain(found.words)}"),
                self._picture(
                    cross_setting.overview_picture(found, metric, order, self.looks, self.front)
                ),
                Fold("These numbers as a table", [table]),
            ]
        return blocks

    def gallery(self, gallery: Gallery | None, order: Sequence[str]) -> list[Any]:
        """Why the losses differ: what they are, whatever was run."""
        if gallery is None:
            return []
        pictures = [
            self._picture(made)
            for made in cross_setting.gallery_pictures(gallery, order, self.looks)
        ]
        without = cross_setting.left_out(gallery, order)
        if not pictures and not without:
            return []
        lead = [Text(cross_setting.WHY)] if len(gallery.weights) else []
        return [
            Heading("Why the losses differ"),
            *lead,
            *pictures,
            *([Text(without)] if without else []),
        ]

    def section(self, section: Section, number: int, of: int) -> list[Any]:
        """Everything about one setting."""
        self.prefix = f"setting-{number}-" if of > 1 else ""
        blocks: list[Any] = []
        if of > 1:
            blocks += [Heading(f"Setting {number} of {of}: {plain(section.title, 400)}")]
        blocks += [Text(note, alarm=True) for note in section.notes]
        if not len(section.judged):
            none = "No run of this setting finished with a result: there is nothing to compare."
            return [*blocks, Text(none, alarm=True), *self._honesty(section)]
        draw = FigureBuilder(section, self.looks, self.front)
        blocks += [
            Heading("The curves", 2 if of == 1 else 3),
            self._picture(draw.overview()),
            self._table(page_tables.last_epoch(section)),
        ]
        blocks += [*self._verdicts(section, 2 if of == 1 else 3), *self._loud(section)]
        level = 2 if of == 1 else 3
        blocks += [
            Heading("Each seed, over epochs and over seconds", level),
            self._picture(draw.over_epochs_and_seconds()),
        ]
        blocks += [Heading("Each loss by its own measure", level), self._picture(draw.own_losses())]
        blocks += self._part(
            "Wrong labels, learned by heart or seen through", level, draw.memorisation()
        )
        blocks += self._part("The steps that were taken", level, draw.steps())
        at_headline = section.runs[section.runs["epochs"] == section.epochs]
        varied = bool((at_headline.groupby("loss", observed=True)["lr"].nunique() > 1).any())
        if varied:
            blocks += [
                Heading("Sensitivity to the learning rate", level),
                self._picture(draw.rates()),
            ]
        blocks += [
            Heading("Each loss at its best rate", level),
            self._table(page_tables.best(section)),
            self._table(page_tables.further(section)),
            self._table(page_tables.judged(section)),
            self._picture(draw.final()),
            *self._budget(section, draw),
        ]
        blocks += self._contrasts(section, draw, level)
        if section.means["epochs"].nunique() > 1:
            title = "The effect of longer training"
            blocks += self._part(title, level, draw.epochs_effect(), page_tables.epochs(section))
        if varied:
            blocks += [Heading("Loss by learning rate", level), self._picture(draw.heat_map())]
            title = "These numbers as a table, with what diverged"
        else:
            title = "Each loss was run at one learning rate only: the accuracies there as a table"
        blocks.append(Fold(title, [self._table(page_tables.rates(section))]))
        blocks += self._part(
            "On corrupted images", level, draw.corruptions(), page_tables.corruptions(section)
        )
        blocks += self._mistakes(section, draw, level)
        blocks += self._honesty(section, level)
        return [block for block in blocks if block is not None]

    # ---- parts of a section ----------------------------------------------------------------------

    def _budget(self, section: Section, draw: FigureBuilder) -> list[Any]:
        """Folded: training until a target accuracy, and trials until a good learning rate."""
        reached, expected = draw.to_target(), draw.expected()
        folds = []
        if reached or (len(section.to_target) and section.question.target is not None):
            blocks = [self._picture(reached), self._table(page_tables.to_target(section))]
            title = f"Epochs and seconds to {100 * section.target:g} % validation accuracy"
            folds.append(Fold(title, [block for block in blocks if block]))
        if expected:
            folds.append(
                Fold(
                    "Best validation accuracy to expect from a number of trials",
                    [self._picture(expected), self._table(page_tables.expected(section))],
                )
            )
        return folds

    def _verdicts(self, section: Section, level: int) -> list[Any]:
        blocks: list[Any] = [Heading("The verdicts", level)]
        if not len(section.headline):
            only = (
                f"Only {plain(section.losses[0])} was run here: there is nothing to compare it "
                "with."
            )
            return [*blocks, Text(only)]
        frame = section.compared(section.epochs)
        if len(frame):
            items = [
                _verdict(row, self._deciding(section, row)) for row in frame.to_dict("records")
            ]
            blocks += [Text(page_text.basis(section)), *_most_telling(items)]
        absent = [loss for loss in section.losses if loss not in section.shown]
        if absent:
            names = ", ".join(plain(loss) for loss in absent)
            blocks.append(
                Text(
                    f"Not run for {counted(section.epochs, 'epoch')}, and so not compared there: "
                    f"{names}."
                )
            )
        for epochs in section.lengths[1:]:
            rows = section.compared(epochs).to_dict("records")
            if not rows:
                continue
            lead = (
                f"After {counted(epochs, 'epoch')}, each loss at the rate that is best for it there"
            )
            told = _most_telling([_verdict(row, ()) for row in rows])
            if {row["a"] for row in rows} & set(absent):  # this length is all that is known of them
                again = [
                    text for text in self.source.overrides if not text.startswith("where.epochs=")
                ]
                command = commands.report_command([*again, override("where.epochs", epochs)])
                blocks += [Text(f"{lead}; a page about that length:"), Commands([command]), *told]
            else:
                blocks.append(Fold(f"{lead}: {verdicts.tally(rows)}", told))
        return blocks

    def _deciding(self, section: Section, row: Mapping[str, Any]) -> list[str]:
        """The commands for the seeds that an undecided contrast lacks, at every rate they need.

        Every new seed also chooses among the rates, so it needs the whole grid; in a two-stage
        sweep the chosen rates. Runs that are finished are not run again.
        """
        if row["verdict"] != "undecided" or math.isinf(row["seeds_needed"]):
            return []
        if row["n"] == 0 and any(lost.reason == "no value" for lost in row["dropped"]):
            return []  # this head has no such number, however many seeds there are
        needed = (
            row["seeds_needed"] if math.isfinite(row["seeds_needed"]) else max(10, row["n"] + 1)
        )
        split = section.split
        tuning = set(split.tuning) - set(split.evaluation)
        seeds = commands.seeds_to_reach(split.evaluation, needed, sorted(tuning))
        losses = [row["a"], row["b"]]
        if not split.two_stage:
            there = section.rates[section.rates["epochs"] == row["epochs"]]
            rates = sorted(there["lr"].unique())
            return self._run(section, losses, rates, seeds, row["epochs"])
        lines: list[str] = []
        by_rate: dict[float, list[str]] = {}
        for loss, lr in zip(losses, (row["lr_a"], row["lr_b"]), strict=True):
            if math.isfinite(lr):
                by_rate.setdefault(lr, []).append(loss)
        for lr, together in by_rate.items():
            lines += self._run(section, together, [lr], seeds, row["epochs"])
        return lines

    def _loud(self, section: Section) -> list[Any]:
        """Warnings of best rates on the edge of the grid, with the command that extends it."""
        chosen = section.chosen[section.chosen["epochs"] == section.epochs]
        blocks: list[Any] = []
        for edge, word in (("low", "lowest"), ("high", "highest")):
            there = chosen[chosen["edge"] == edge]
            if not len(there):
                continue
            names = ", ".join(f"{plain(row.loss)} ({row.lr:g})" for row in there.itertuples())
            grid = sorted(
                section.rates.loc[section.rates["epochs"] == section.epochs, "lr"].unique()
            )
            wider = commands.wider_rates(grid, edge)
            which = (
                "the same for every loss"
                if section.here == section.losses
                else "of the losses that run here"
            )
            text = (
                f"At the edge of the grid: the best learning rate is the {word} one tried for "
                f"{names}. A better one may lie "
                "beyond it, and the comparison is then unfair to these losses. Extend the grid, "
                f"{which}:"
            )
            seeds = sorted(set(section.split.tuning) | set(section.split.evaluation))
            blocks += [
                Text(text, alarm=True),
                Commands(self._run(section, section.here, wider, seeds, section.epochs)),
            ]
        return blocks

    def _contrasts(self, section: Section, draw: FigureBuilder, level: int) -> list[Any]:
        frame = section.contrasts
        if not len(section.headline):
            return []
        words = section.metric.words
        against = page_text.against(section)
        blocks: list[Any] = [Heading("The contrasts", level), self._picture(draw.forest())]
        caption = (
            f"{against}, {section.at_rates}: difference in {words} (A minus B) with its 95 % "
            "interval, the median over seeds, p of the same test, exact p of the seeds alone, the "
            "p that decides after Holm's correction, effect size, and the chance that A beats B on "
            "a seed."
        )
        best = pd.concat([section.compared(epochs) for epochs in section.lengths])
        blocks.append(self._table(page_tables.contrasts(section, best, "contrasts", caption)))
        equal = frame[frame["view"] == "equal"]
        if len(equal) and section.rates["lr"].nunique() > 1:
            caption = (
                f"{against} at equal learning rates, on all seeds; one family per length of "
                "training."
            )
            table = page_tables.contrasts(section, equal, "contrasts-equal-rate", caption)
            blocks.append(Fold("The second view: at equal learning rates", [self._table(table)]))
        return blocks

    def _mistakes(self, section: Section, draw: FigureBuilder, level: int) -> list[Any]:
        blocks: list[Any] = [Heading("What the networks get wrong", level)]
        if section.mistakes is None:
            return [
                *blocks,
                Text(
                    "No run here stored its predictions on the test set, so classes and images "
                    "cannot be shown."
                ),
            ]
        read = ", ".join(f"{plain(loss)} {count}" for loss, count in section.mistakes.runs.items())
        blocks.append(
            Text(f"From the predictions of evaluated runs at each loss's best rate ({read}).")
        )
        blocks.append(self._picture(draw.class_accuracy()))
        folded = [self._picture(draw.confusions()), self._table(page_tables.classes(section))]
        blocks.append(
            Fold(
                "Confusion matrices, and the accuracies as a table",
                [block for block in folded if block],
            )
        )
        images = self.images(section)
        if isinstance(images, str):
            return [*blocks, Text(f"The digits themselves cannot be shown: {images}.")]
        if len(images) != len(section.mistakes.labels):
            return [
                *blocks,
                Text(
                    "The digits themselves cannot be shown: the images at hand are not the test "
                    "set of these runs."
                ),
            ]
        wrong, disagreed = draw.most_wrong(images), draw.most_disagreed(images)
        if wrong is None:
            blocks.append(Text("No test image was got wrong by any of these runs."))
        blocks += [self._picture(wrong), self._picture(disagreed)]
        return blocks

    def _honesty(self, section: Section, level: int = 2) -> list[Any]:
        blocks: list[Any] = [Heading("What to know before believing this", level)]
        facts = caveats.facts(section)
        if not self.prefix:  # one setting: what holds for all of the store holds for it
            facts += caveats.about_the_store(
                self.source.missing, self.source.notes, self.source.warnings
            )
        if self.source.baselines and section.here != section.losses:
            facts += provenance.facts(self.source.baselines)
        blocks.append(Facts(facts))
        if mistaken := caveats.classic_mistakes(section):
            blocks += [Text("Classic mistakes found:", alarm=True), Facts(mistaken)]
        if len(section.denominators):
            blocks.append(self._table(page_tables.denominators(section)))
        blocks.append(
            Fold(
                "The commands that run everything of this setting again",
                [Commands(self._grid(section))],
            )
        )
        unfinished = section.unfinished[section.unfinished["loss"].isin(section.here)]
        if len(unfinished):
            lines: list[str] = []
            for (loss, lr, epochs), subset in unfinished.groupby(
                ["loss", "lr", "epochs"], sort=True
            ):
                lines += self._run(section, [loss], [lr], list(subset["seed"]), epochs)
            blocks.append(
                Fold(
                    f"{len(unfinished)} runs have no result: the commands that run them",
                    [Commands(lines)],
                )
            )
        return blocks

    def _grid(self, section: Section) -> list[str]:
        lines: list[str] = []
        for epochs, subset in section.runs.groupby("epochs", sort=True):
            lines += self._run(
                section, section.here, sorted(subset["lr"].unique()), list(subset["seed"]), epochs
            )
        return lines

    def _run(
        self,
        section: Section,
        losses: Sequence[str],
        rates: Sequence[float],
        seeds: Sequence[int],
        epochs: int,
    ) -> list[str]:
        return commands.run_command(
            losses,
            rates,
            seeds,
            section.runs,
            epochs=int(epochs),
            experiment=self.source.experiment,
            uri=self.source.uri,
        )

    def _picture(self, illustration: PageFigure | None) -> Picture | None:
        if illustration is None:
            return None
        name = self.prefix + illustration.name
        self.result.figures[name] = illustration.figure
        drawing = palette.svg(illustration.figure)
        self.result.drawings[name] = drawing
        width, _ = palette.size_in_points(drawing)
        number = len(self.result.figures)
        return Picture(
            number,
            name,
            illustration.caption,
            illustration.alt,
            palette.inline(drawing, f"f{number}"),
            width,
        )

    def _part(
        self, title: str, level: int, illustration: PageFigure | None, table: Table | None = None
    ) -> list[Any]:
        """A heading with its figure, and its numbers folded; nothing where there is no figure."""
        if illustration is None:
            return []
        folded = [Fold("These numbers as a table", [self._table(table)])] if table else []
        return [Heading(title, level), self._picture(illustration), *folded]

    def _table(self, table: Table | None) -> Listing | None:
        if table is None:
            return None
        name = self.prefix + table.name
        self.result.tables[name] = table
        return Listing(len(self.result.tables), table, name)


def _verdict(row: Mapping[str, Any], lines: Sequence[str]) -> Verdict:
    return Verdict(row["verdict"], verdicts.sentence(row), verdicts.needed(row), lines)


def _most_telling(items: Sequence[Verdict]) -> list[Any]:
    """The verdicts; of many those that decide, and the undecided ones folded."""
    undecided = [item for item in items if item.verdict == "undecided"]
    if len(items) <= 12 or not undecided:
        return [Verdicts(items)]
    decided = [item for item in items if item.verdict != "undecided"]
    fold = Fold(f"{len(undecided)} of {len(items)} contrasts are undecided", [Verdicts(undecided)])
    return [Verdicts(decided), fold] if decided else [fold]
