"""The parts of a report from its sections, and its files.

A figure or a table becomes a file of its own name; those of a second setting begin with its number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.contract import override
from reports import verdicts
from reports.across import Across, advice, posterior, sentence
from reports.across import basis as basis_across
from reports.analysis import Section
from reports.figures import palette
from reports.gallery import Gallery
from reports.names import counted, full_name, plain
from reports.page import across as page_across
from reports.page import answer, caveats, commands, cross_setting, provenance, render, tables
from reports.page.caveats import Fact
from reports.page.cross_setting import Source
from reports.page.figures import FigureBuilder, PageFigure, in_front
from reports.page.render import Listing, Page, Part, Picture, anchor, say
from reports.page.table import Table
from reports.sensitivity import overviews, setting_values

Images = Callable[[Section], np.ndarray | str]

FEW = 5
"""So many verdicts are said one by one; more are counted."""


@dataclass
class Report:
    """A page with its files: figures (file name without suffix -> Figure) and tables."""

    page: Page
    figures: dict[str, Figure] = field(default_factory=dict)
    drawings: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    checklist: str = ""


def report(
    sections: Sequence[Section],
    source: Source,
    images: Images,
    *,
    gallery: Gallery | None = None,
    figure_format: str = "svg",
    width: str = "page",
    across: Across | None = None,
) -> Report:
    """The whole report. Call inside `palette.style()`.

    images: the test images [n, 28, 28] of a section, or why they cannot be had. gallery: what the
    losses themselves are. width: of the figures' files, a name in `palette.WIDTHS`. across: the
    losses over all sections, which comes first; the sections are then short.
    """
    order = list(dict.fromkeys(loss for section in sections for loss in answer.ranked(section)))
    front = in_front(sections)
    looks = palette.looks(list(dict.fromkeys([*front, *order])))
    composer = _Composer(looks, front, source, images, width)
    return composer.report(sections, order, gallery, figure_format, across)


class _Composer:
    """Numbers figures and tables across sections, and keeps their files."""

    def __init__(
        self,
        looks: Mapping[str, palette.Look],
        front: Sequence[str],
        source: Source,
        images: Images,
        width: str = "page",
    ) -> None:
        self.looks, self.front, self.source, self.images = looks, front, source, images
        self.width = width
        self.result = Report(Page("", "", Part("", "")))
        self.prefix = ""

    def report(
        self,
        sections: Sequence[Section],
        order: Sequence[str],
        gallery: Gallery | None,
        figure_format: str,
        across: Across | None = None,
    ) -> Report:
        """The page with all its parts."""
        titles = answer.titles(sections)
        answers = [answer.facts(section) for section in sections]
        several = len(sections) > 1
        shared = self._facts(
            caveats.about_the_store(self.source.missing, self.source.notes, self.source.warnings),
            "store",
        )
        table = None
        over_all = [self.across(across, sections)] if across is not None else []
        if several and across is None:
            table = self.table(answer.grid(sections, titles, order))
        elif sections and not several and answers[0]["judged"]:
            table = self.table(answer.table(sections[0]))
        parts: list[Part] = []
        labels: list[Fact] = []
        for number, (title, section) in enumerate(zip(titles, sections, strict=True), start=1):
            self.prefix = f"setting-{number}-" if several else ""
            if across is not None:
                parts.append(self.short_section(section, across.key))
                continue
            made, facts = self.section(section, [] if several else shared)
            if several:
                name = f"Setting {number} of {len(sections)}: {title}"
                parts.append(
                    Part(name, "nothing.jinja", parts=made, folded=number > 1, anchor=title)
                )
            else:
                parts += made
            labels += [fact for fact in facts if fact.label and fact.alarm]
        self.prefix = ""
        overview = [
            Part(
                f"Over {plain(found.words)}",
                "overview.jinja",
                {
                    "figure": self.picture(
                        cross_setting.overview_picture(
                            found, sections[0].metric, order, self.looks, self.front
                        )
                    ),
                    "table": self.table(
                        cross_setting.overview_table(found, sections[0].metric, order)
                    ),
                },
            )
            for found in (overviews(sections) if across is None else [])
        ]
        if across is not None:
            name = f"Each {across.unit} on its own"
            parts = [Part(name, "nothing.jinja", parts=parts)]
        if several and shared:
            parts.append(Part("Caveats of all settings", "caveats.jinja", _only(shared)))
            labels += [fact for fact in shared if fact.alarm]
        parts = [*over_all, *overview, *parts, *self.gallery(gallery, order), self.reproduction()]
        top = {
            "baselines": provenance.told(self.source.baselines, sections[0].runs)
            if self.source.baselines and sections
            else [],
            "labels": list({fact.label: fact for fact in labels}.values())[:8],
            "notes": [] if several or not sections else sections[0].notes,
            "table": table,
            "kind": "grid" if several else "answer",
            "basis": basis(sections[0])
            if table and not several and len(sections[0].headline)
            else "",
        }
        self.result.page = Page(
            title=say("answer", answers)
            if across is None
            else f"{basis_across(across)} {_tally_across(across)}",
            subtitle=self._subtitle(sections, titles),
            top=Part("Answer", "answer.jinja", top),
            parts=parts,
            losses=[
                {
                    "loss": loss,
                    "name": plain(loss, 26),
                    "number": look.number,
                    "variable": palette.CSS_VARIABLES[look.colour]
                    if loss in self.front
                    else "--muted",
                }
                for loss, look in self.looks.items()
            ],
            figure_format=figure_format,
        )
        self.result.checklist = render.checklist(
            [
                item
                for section in sections
                for item in caveats.checklist(caveats.facts(section), answer.words_of(section))
            ]
        )
        return self.result

    def across(self, found: Across, sections: Sequence[Section]) -> Part:
        """The answer over all data sets or models."""
        items = [
            {
                "verdict": row["verdict"],
                "sentence": sentence(found, row),
                "more": posterior(found, row),
                "commands": (),
            }
            for row in found.comparison.contrasts.to_dict("records")
        ]
        values = {
            "basis": basis_across(found),
            "items": items,
            "advice": advice(found),
            "lacking": self._lacking(found, sections),
            "figure": self.picture(page_across.diagram(found, self.looks)),
            "values": self.table(page_across.values(found)),
            "how": page_across.how(found),
            "contrasts": self.table(page_across.contrasts(found)) if items else None,
        }
        return Part(f"Across {found.unit}s", "across.jinja", values)

    def _lacking(self, found: Across, sections: Sequence[Section]) -> list[str]:
        """The commands that run the losses that some data sets or models lack."""
        every = pd.concat([section.runs for section in sections], ignore_index=True)
        lines: list[str] = []
        for section in () if self.source.imported else sections:
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
        return lines

    def short_section(self, section: Section, key: str) -> Part:
        """One setting of a report across several: its verdicts, its table, its caveats."""
        name = str(section.runs[key].iloc[0]) if len(section.runs) else section.title
        rows = section.compared(section.epochs).to_dict("records")
        again = [
            text
            for text in self.source.overrides
            if not text.startswith(("across=", f"where.{key}="))
        ]
        order = answer.ranked(section)
        values = {
            "notes": section.notes,
            "items": [self._verdict(row, ()) for row in rows],
            "table": self.table(tables.best(section, order)) if len(section.judged) else None,
            "facts": self._facts(caveats.facts(section), "caveat"),
            "checks": self._facts(caveats.training_checks(section), "check"),
            "name": name,
            "commands": [commands.report_command([*again, override(f"where.{key}", name)])],
        }
        tally = verdicts.tally(rows) or "nothing to compare"
        title = f"{plain(name, 120)}: {tally}"
        return self._part(title, "short.jinja", values, folded=True)

    def _subtitle(self, sections: Sequence[Section], titles: Sequence[str]) -> str:
        name = plain(self.source.sweep or self.source.experiment, 80)
        if self.source.imported:
            name = f"imported from {name}"
        if not sections:
            return name
        runs = pd.concat([section.runs for section in sections])
        first = sections[0]
        words = (
            answer.words_of(first)
            if len(sections) == 1
            else [counted(len(sections), "setting"), *_shared_words(sections)]
        )
        lengths = {section.epochs for section in sections}
        return say(
            "subtitle", first.metric.words, first.epochs if len(lengths) == 1 else 0, words,
            runs["seed"].nunique(), len(runs), runs["loss"].nunique(), name,
        )  # fmt: skip

    # ---- one setting -----------------------------------------------------------------------------

    def section(
        self, section: Section, shared: Sequence[Fact] = ()
    ) -> tuple[list[Part], list[Fact]]:
        """The parts of one setting, and its caveats."""
        facts = self._facts(caveats.facts(section), "caveat")
        lines = self._wider(section)
        facts = [
            fact._replace(commands=lines, text=fact.text if lines else f"{fact.text[:-1]}.")
            if fact.term == "Edges" and fact.alarm and len(caveats.edge_rates(section))
            else fact
            for fact in facts
        ]
        checks = self._facts(caveats.training_checks(section), "check")
        if self.source.baselines and section.here != section.losses:
            facts += self._facts(provenance.facts(self.source.baselines), "baselines")
        facts += shared
        order = answer.ranked(section)
        values = {
            "notes": section.notes if self.prefix else [],
            "facts": facts,
            "checks": checks,
            "table": self._denominators(section, order),
            "again": self._grid(section),
            "unfinished": self._unfinished(section),
            "count": len(section.unfinished),
        }
        about = self._part("Caveats", "caveats.jinja", values)
        if not len(section.judged):
            return [about], [*facts, *checks]
        draw = FigureBuilder(section, self.looks, self.front)
        shown = [loss for loss in order if loss in section.shown]
        several_rates = bool(
            (section.runs[section.runs["epochs"] == section.epochs]
             .groupby("loss", observed=True)["lr"].nunique() > 1).any()
        )  # fmt: skip
        reached = draw.to_target()
        wanted = bool(len(section.to_target)) and (
            reached is not None or section.question.target is not None
        )
        first = (
            {"listing": self.table(answer.table(section)), "basis": basis(section)}
            if self.prefix
            else {"listing": None, "basis": ""}
        )
        parts = [
            self._part("Verdicts", "verdicts.jinja", self._verdicts(section) | first),
            self._figures("Curves", [draw.overview()], folded=False),
            self._contrasts(section, draw),
            about,
            self._figures("Training time, and each seed", [draw.over_epochs_and_seconds()]),
            self._figures("Training and validation loss", [draw.own_losses()]),
            self._figures("Memorized label noise", [draw.memorisation()]),
            self._figures("Gradient norm and update size", [draw.steps()]),
            self._figures(
                "Learning rates",
                [draw.rates(), draw.heat_map()] if several_rates else [],
                [tables.rates(section, shown)],
            ),
            self._figures(
                "All metrics, each loss at its best learning rate",
                [draw.final()],
                [
                    tables.best(section, shown),
                    tables.further(section, shown),
                    tables.judged(section, shown),
                ],
            ),
            self._figures(
                f"Epochs and seconds to {100 * section.target:g} % validation accuracy",
                [reached],
                [tables.to_target(section, shown)] if wanted else [],
            )
            if reached or wanted
            else None,
            self._figures(
                "Best validation accuracy to expect from a number of trials",
                [draw.expected()],
                [tables.expected(section, shown)],
            )
            if len(section.expected)
            else None,
            self._figures(
                "Effect of longer training",
                [draw.epochs_effect()],
                [tables.epochs(section, order)],
            )
            if section.means["epochs"].nunique() > 1
            else None,
            self._figures(
                "Corrupted test images", [draw.corruptions()], [tables.corruptions(section, shown)]
            ),
            self._mistakes(section, draw),
            self._part(
                "All runs", "figures.jinja",
                {"figures": [], "tables": [self.table(tables.runs(section, order))],
                 "kind": "runs"},
                folded=True,
            ),
            self._part(
                "Methods", "methods.jinja",
                methods(section) | {"imported": self._imported()}, folded=True,
            ),
        ]  # fmt: skip
        self.result.tables[f"{self.prefix}curves"] = tables.curves(section)
        return [part for part in parts if part is not None], [*facts, *checks]

    def _verdicts(self, section: Section) -> dict[str, Any]:
        """The verdicts at the headline's epochs, then at every other length of training."""
        rows = section.compared(section.epochs).to_dict("records")
        open_rows = [row for row in rows if row["verdict"] == "undecided"]
        many = len(open_rows) > FEW
        items = [self._verdict(row, () if many else self.deciding(section, row)) for row in rows]
        why = pd.Series([answer.undecided(row).partition(" (")[0] for row in open_rows])
        absent = [loss for loss in section.losses if loss not in section.shown]
        other = []
        for epochs in section.lengths[1:]:
            if not (found := section.compared(epochs).to_dict("records")):
                continue
            again = [text for text in self.source.overrides if not text.startswith("where.epochs=")]
            again.append(override("where.epochs", epochs))
            other.append(
                {
                    "epochs": epochs,
                    "items": [self._verdict(row, ()) for row in found],
                    "tally": verdicts.tally(found),
                    "commands": [commands.report_command(again)]
                    if {row["a"] for row in found} & set(absent)
                    else [],
                }
            )
        return {
            "only": section.losses[0] if not len(section.headline) else "",
            "items": items,
            "many": many,
            "why": why.value_counts().to_dict(),
            "commands": self._deciding_many(section, open_rows) if many else ([], 0),
            "absent": absent,
            "epochs": section.epochs,
            "other": other,
        }

    def _verdict(self, row: Mapping[str, Any], lines: Sequence[str]) -> dict[str, Any]:
        return {
            "verdict": row["verdict"],
            "sentence": verdicts.sentence(row),
            "more": verdicts.needed(row),
            "commands": lines,
        }

    def deciding(self, section: Section, row: Mapping[str, Any]) -> list[str]:
        """The commands for the seeds that an undecided contrast lacks, at every rate they need."""
        needed = _seeds_wanted(row)
        if needed is None:
            return []
        return self._more_seeds(section, {row["a"], row["b"]}, [row], needed, row["epochs"])

    def _deciding_many(
        self, section: Section, rows: Sequence[Mapping[str, Any]]
    ) -> tuple[list[str], int]:
        """One command for many undecided contrasts, and the seeds up to which it goes.

        These decide half of them, if the differences and spreads observed are the true ones.
        """
        wanted = {n: row for n, row in enumerate(rows) if _seeds_wanted(row) is not None}
        if not wanted:
            return [], 0
        needed = math.ceil(np.median([_seeds_wanted(row) or 0 for row in wanted.values()]))
        losses = {row[side] for row in wanted.values() for side in ("a", "b")}
        lines = self._more_seeds(section, losses, list(wanted.values()), needed, section.epochs)
        return lines, needed

    def _more_seeds(
        self,
        section: Section,
        losses: set[str],
        rows: Sequence[Mapping[str, Any]],
        needed: float,
        epochs: int,
    ) -> list[str]:
        """Every new seed also chooses among the rates, so it needs the whole grid.

        In a two-stage sweep it needs the chosen rates. Runs that are finished are not run again.
        """
        split = section.split
        tuning = sorted(set(split.tuning) - set(split.evaluation))
        seeds = commands.seeds_to_reach(split.evaluation, needed, tuning)
        wanted = [loss for row in rows for loss in (row["a"], row["b"]) if loss in losses]
        wanted = list(dict.fromkeys(wanted))
        if not split.two_stage:
            there = section.rates[section.rates["epochs"] == epochs]
            return self._run(section, wanted, sorted(there["lr"].unique()), seeds, epochs)
        by_rate: dict[float, dict[str, None]] = {}
        for row in rows:
            for loss, lr in ((row["a"], row["lr_a"]), (row["b"], row["lr_b"])):
                if math.isfinite(lr):
                    by_rate.setdefault(lr, {})[loss] = None
        lines: list[str] = []
        for lr, together in by_rate.items():
            lines += self._run(section, list(together), [lr], seeds, epochs)
        return lines

    def _wider(self, section: Section) -> list[str]:
        """The commands that extend the grid beyond the edges at which best rates are."""
        grid = sorted(section.rates.loc[section.rates["epochs"] == section.epochs, "lr"].unique())
        seeds = sorted(set(section.split.tuning) | set(section.split.evaluation))
        edges = set(caveats.edge_rates(section)["edge"])
        return [
            line
            for edge in ("low", "high")
            if edge in edges
            for line in self._run(
                section, section.here, commands.wider_rates(grid, edge), seeds, section.epochs
            )
        ]

    def _contrasts(self, section: Section, draw: FigureBuilder) -> Part | None:
        if not len(section.headline):
            return None
        best = pd.concat([section.compared(epochs) for epochs in section.lengths])
        equal = section.contrasts[section.contrasts["view"] == "equal"]
        caption = say("contrasts", against(section), section.at_rates, section.metric.words)
        second = None
        if len(equal) and section.rates["lr"].nunique() > 1:
            second = self.table(
                tables.contrasts(
                    section, equal, "contrasts-equal-rate",
                    f"{against(section)} at equal learning rates, on all seeds; one family per "
                    "length of training.",
                )
            )  # fmt: skip
        values = {
            "figure": self.picture(draw.forest()),
            "best": self.table(tables.contrasts(section, best, "contrasts", caption)),
            "equal": second,
        }
        return self._part("Differences and their intervals", "contrasts.jinja", values)

    def _mistakes(self, section: Section, draw: FigureBuilder) -> Part:
        found = section.mistakes
        values: dict[str, Any] = {"runs": {}, "without": "", "figures": [], "tables": []}
        if found is None:
            values["without"] = (
                "No run here stored its predictions on the test set, so classes and images cannot "
                "be shown."
            )
        else:
            order = answer.ranked(section)
            made = [draw.class_accuracy(), draw.confusions()]
            images = self.images(section)
            if isinstance(images, str):
                values["without"] = f"The test images cannot be shown: {images}."
            elif len(images) != len(found.labels):
                values["without"] = (
                    "The test images cannot be shown: the images at hand are not the test set of "
                    "these runs."
                )
            else:
                made += [wrong := draw.most_wrong(images), draw.most_disagreed(images)]
                if wrong is None:
                    values["without"] = "No run classified a test image wrongly."
            values |= {
                "runs": found.runs,
                "figures": [self.picture(each) for each in made],
                "tables": [self.table(tables.classes(section, order))],
            }
        return self._part("Errors by class and image", "mistakes.jinja", values, folded=True)

    def _denominators(self, section: Section, order: Sequence[str]) -> Listing | None:
        """The table of what became of the runs, where that is not the same for every loss."""
        if not len(section.denominators):
            return None
        table = tables.denominators(section, order)
        same = len(section.denominators.drop(columns="loss").drop_duplicates()) == 1
        if same:
            self.result.tables[self.prefix + table.name] = table
            return None
        return self.table(table)

    def _unfinished(self, section: Section) -> list[str]:
        open_runs = section.unfinished[section.unfinished["loss"].isin(section.here)]
        lines: list[str] = []
        for (loss, lr, epochs), subset in open_runs.groupby(["loss", "lr", "epochs"], sort=True):
            lines += self._run(section, [loss], [lr], list(subset["seed"]), epochs)
        return lines

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
        """The commands that run these; none for imported runs, which were made elsewhere."""
        if self.source.imported:
            return []
        return commands.run_command(
            losses,
            rates,
            seeds,
            section.runs,
            epochs=int(epochs),
            experiment=self.source.experiment,
            uri=self.source.uri,
        )

    # ---- beyond a setting ------------------------------------------------------------------------

    def gallery(self, gallery: Gallery | None, order: Sequence[str]) -> list[Part]:
        """What the losses are, whatever was run."""
        if gallery is None:
            return []
        made = cross_setting.gallery_pictures(gallery, order, self.looks, self.front)
        without = cross_setting.left_out(gallery, order)
        if not made and not without:
            return []
        values = {
            "figures": [self.picture(each) for each in made],
            "weights": bool(len(gallery.weights)),
            "without": without,
        }
        return [Part("Gradient weight of each loss", "gallery.jinja", values, folded=True)]

    def reproduction(self) -> Part:
        """The commands that make the page again, and check it."""
        source = self.source
        store = [text for text in source.overrides if text.startswith("tracking.uri=")]
        again = [text for text in source.overrides if not text.startswith("sweep=")]
        most = cross_setting.MOST_SWEEPS
        values = {
            "place": self._imported() or "the store",
            "commands": [
                commands.report_command(source.overrides),
                commands.report_command([*store, override("check", source.verdicts)]),
            ],
            "sweeps": [
                f"{commands.report_command([*again, override('sweep', run_id)])}"
                f"  # {plain(name, 60)}"
                for run_id, name in source.sweeps[:most]
            ]
            if len(source.sweeps) > 1
            else [],
            "count": len(source.sweeps),
            "most": most if len(source.sweeps) > most else 0,
        }
        return Part("Reproduce this page", "reproduction.jinja", values)

    def _imported(self) -> str:
        """The file that the runs come from; "" for those of a store."""
        return plain(self.source.experiment, 80) if self.source.imported else ""

    # ---- numbering -------------------------------------------------------------------------------

    def picture(self, made: PageFigure | None) -> Picture | None:
        """A figure of the page, with its file."""
        if made is None:
            return None
        name = self.prefix + made.name
        number = len(self.result.figures) + 1
        figure, drawing, inline = self._drawn(made, number)
        self.result.figures[name], self.result.drawings[name] = figure, drawing
        return Picture(name, made.caption, made.alt, **inline)

    def _drawn(self, made: PageFigure, number: int) -> tuple[Figure, str, dict[str, str]]:
        """The figure of the file, its SVG, and what the page shows: wide, and on a phone narrow."""
        found, inline = {}, {}
        for width, kind in (("page", "wide"), ("column", "narrow")):
            with palette.style(width=width):
                figure = made.draw()
                drawing = palette.svg(figure)
            inline[kind] = palette.inline(drawing, f"f{number}{kind[0]}", figure)
            found[width] = figure, drawing
        return *found[self.width], inline

    def table(self, table: Table | None) -> Listing | None:
        """A table of the page, with its files."""
        if table is None:
            return None
        name = self.prefix + table.name
        self.result.tables[name] = table
        return Listing(table, name)

    def _part(
        self, title: str, template: str, values: Mapping[str, Any], *, folded: bool = False
    ) -> Part:
        return Part(title, template, values, folded=folded, anchor=f"{self.prefix}{title}")

    def _figures(
        self,
        title: str,
        figures: Sequence[PageFigure | None],
        listings: Sequence[Table | None] = (),
        *,
        folded: bool = True,
    ) -> Part | None:
        """A part of figures with their numbers; None where there are none of either."""
        made = [self.picture(figure) for figure in figures if figure is not None]
        tabled = [self.table(each) for each in listings if each is not None]
        if not made and not tabled:
            return None
        values = {"figures": made, "tables": tabled, "kind": ""}
        return self._part(title, "figures.jinja", values, folded=folded)

    def _facts(self, facts: Sequence[Fact], kind: str) -> list[Fact]:
        return [
            fact._replace(id=anchor(f"{self.prefix}{kind}-{fact.term}-{place}"))
            for place, fact in enumerate(facts)
        ]


def _tally_across(found: Across) -> str:
    tally = verdicts.tally(found.comparison.contrasts.to_dict("records"))
    return f"Against {full_name(found.reference)}: {tally}." if tally else ""


def against(section: Section) -> str:
    """Which losses are compared with which."""
    if section.question.all_pairs:
        return "All pairs"
    subjects = [plain(loss) for loss in section.question.subjects if loss in section.losses]
    if subjects:
        return f"{', '.join(subjects)} against each other loss"
    return f"Each loss against {plain(section.reference)}"


def basis(section: Section) -> str:
    """What the verdicts of a section rest on, in two sentences."""
    margin = float(section.headline["margin"].iloc[0]) if len(section.headline) else math.nan
    least = section.metric.one_example(section.test_size)
    images = round(margin / least) if least and math.isfinite(margin) else 0
    exact = images in (1, 2) and math.isclose(margin, images * least)
    rates = section.rates.loc[section.rates["epochs"] == section.epochs, "lr"].nunique()
    several = section.headline[section.headline["n"] > 1]
    return say(
        "basis",
        section,
        section.split,
        rates > 1,
        margin if math.isfinite(margin) else None,
        ("one test image", "two test images")[images - 1] if exact else "",
        {
            "combinations": int(section.headline["combinations"].max()),
            "generalises": max(section.headline["generalises"], key=len),
            "later": bool((several["planned_n"] < several["n"]).any()),
        }
        if len(section.headline)
        else {"combinations": 0, "generalises": "", "later": False},
    )


def methods(section: Section) -> dict[str, Any]:
    """What a paragraph on methods has to say of a section."""
    runs = section.runs[section.runs["epochs"] == section.epochs]
    return {
        "section": section,
        "words": answer.words_of(section),
        "rates": sorted(runs["lr"].unique()),
        "seeds": section.split.evaluation,
        "basis": basis(section),
        "losses": [full_name(loss) for loss in answer.ranked(section)],
        "versions": caveats.distinct(section.runs, "paddle_version"),
        "against": against(section),
    }


def _seeds_wanted(row: Mapping[str, Any]) -> float | None:
    """The seeds that an undecided contrast needs; None where no number of them would decide."""
    if row["verdict"] != "undecided" or math.isinf(row["seeds_needed"]):
        return None
    if row["n"] == 0 and any(lost.reason == "no value" for lost in row["dropped"]):
        return None  # this head has no such number, however many seeds there are
    wanted = row["seeds_needed"]
    return float(wanted if math.isfinite(wanted) else max(10, row["n"] + 1))


def _only(facts: Sequence[Fact]) -> dict[str, Any]:
    """The values of caveats that are facts alone."""
    return {
        "notes": [], "facts": facts, "checks": [], "table": None, "again": [], "unfinished": [],
        "count": 0,
    }  # fmt: skip


def _shared_words(sections: Sequence[Section]) -> list[str]:
    words = [answer.words_of(section) for section in sections]
    return [word for word in words[0] if all(word in each for each in words)]
