"""The parts of one setting, in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.contract import override
from reports import sentences
from reports.analysis import Section
from reports.names import plain
from reports.page import answer, caveats, commands, provenance, tables
from reports.page.caveats import Fact
from reports.page.collector import Collector
from reports.page.commands import Source
from reports.page.figure import PageFigure
from reports.page.figures import FigureBuilder
from reports.page.methods import against, basis, margin, methods
from reports.page.more_runs import MoreRuns
from reports.page.render import Part
from reports.page.table import Table
from reports.texts import say, upper_first

Examples = Callable[[Section], np.ndarray | pd.DataFrame | str]
"""The test set of a section: images, or a column for each feature; or why it cannot be had."""

FEW = 5
"""The most undecided verdicts that have a sentence each; more are counted."""


class SectionParts:
    """Makes the parts of one setting."""

    def __init__(
        self, section: Section, source: Source, examples: Examples, collector: Collector
    ) -> None:
        self.section, self.source, self.examples = section, source, examples
        self.collector = collector
        self.order = answer.ranked(section)
        self.shown = [loss for loss in self.order if loss in section.shown]
        self.more_runs = MoreRuns(section, source)

    def all(self, shared: Sequence[Fact] = ()) -> tuple[list[Part], list[Fact]]:
        """The parts and the caveats. shared: caveats of the whole store."""
        section, collector = self.section, self.collector
        facts = [*self._caveats(), *shared]
        checks = collector.facts(caveats.training_checks(section), "check")
        about = self._about(facts, checks)
        if not len(section.evaluated):
            return [about], [*facts, *checks]
        draw = FigureBuilder(section, collector.looks, collector.front)
        first: dict[str, Any] = {"table": None, "basis": ""}
        if collector.prefix:
            first = {"table": collector.table(answer.table(section)), "basis": basis(section)}
        parts = [
            collector.part("Verdicts", "verdicts.jinja", self._verdicts() | first),
            collector.figures("Curves", [draw.overview()], folded=False),
            self._contrasts(draw),
            about,
            *self._further(draw),
            self._errors(draw),
            self._runs(),
            collector.part(
                "Methods", "methods.jinja",
                methods(section) | {"imported": self.source.file}, folded=True,
            ),
        ]  # fmt: skip
        collector.report.tables[f"{collector.prefix}curves"] = tables.curves(section)
        return [part for part in parts if part is not None], [*facts, *checks]

    def short(self, key: str) -> tuple[Part, list[Fact]]:
        """The setting in a report across several: its verdicts, its table; and its caveats."""
        section, collector = self.section, self.collector
        name = str(section.runs[key].iloc[0]) if len(section.runs) else section.title
        rows = section.compared(section.epochs).to_dict("records")
        again = [
            text
            for text in self.source.overrides
            if not text.startswith(("across=", f"where.{key}="))
        ]
        best = tables.best(section, self.order) if len(section.evaluated) else None
        facts = collector.facts(caveats.facts(section), "caveat")
        checks = collector.facts(caveats.training_checks(section), "check")
        values = {
            "notes": section.notes,
            "items": [_verdict(row) for row in rows],
            "section": section,
            "margin": margin(section),
            "table": collector.table(best),
            "facts": facts,
            "checks": checks,
            "name": name,
            "commands": [commands.report_command([*again, override(f"where.{key}", name)])],
        }
        tally = sentences.tally(rows) or "nothing to compare"
        title = f"{plain(name, 120)}: {tally}"
        part = collector.part(title, "short.jinja", values, folded=True)
        return part, [*facts, *checks]

    def _caveats(self) -> list[Fact]:
        section = self.section
        facts = self.collector.facts(caveats.facts(section), "caveat")
        lines = self.more_runs.wider()
        facts = [
            fact._replace(commands=lines, text=fact.text if lines else f"{fact.text[:-1]}.")
            if fact.term == "Edges" and fact.alarm and len(caveats.edge_rates(section))
            else fact
            for fact in facts
        ]
        if self.source.baselines and section.without_baselines != section.losses:
            facts += self.collector.facts(provenance.facts(self.source.baselines), "baselines")
        return facts

    def _about(self, facts: Sequence[Fact], checks: Sequence[Fact]) -> Part:
        values = {
            "notes": self.section.notes if self.collector.prefix else [],
            "facts": facts,
            "checks": checks,
            "table": self._denominators(),
            "again": self.more_runs.again(),
            "unfinished": self.more_runs.unfinished(),
            "count": len(self.section.unfinished),
        }
        return self.collector.part("Caveats", "caveats.jinja", values)

    def _further(self, draw: FigureBuilder) -> list[Part | None]:
        """The folded parts of figures and tables."""
        section, shown, figures = self.section, self.shown, self.collector.figures
        at_end = section.at_end(section.runs)
        trials = at_end.drop_duplicates(["loss", "lr", "tuned"])
        several_rates = trials["loss"].duplicated().any()
        reached = draw.to_target()
        wanted = reached or (len(section.to_target) and section.question.target is not None)
        return [
            figures("Training time, and each seed", [draw.over_epochs_and_seconds()]),
            figures("Training and validation loss", [draw.own_losses()]),
            figures("Memorized label noise", [draw.memorization()]),
            figures("Gradient norm and update size", [draw.steps()]),
            figures(
                "Learning rates",
                [draw.rates(), draw.heat_map()] if several_rates else [],
                [tables.rates(section, shown)],
            ),
            figures(
                f"All metrics, {section.at_rates}",
                [draw.final()],
                [
                    tables.best(section, shown),
                    tables.further(section, shown),
                    tables.deciding(section, shown),
                ],
            ),
            figures(
                f"Epochs and seconds to {100 * section.target:g} % validation accuracy",
                [reached],
                [tables.to_target(section, shown)] if wanted else [],
            ),
            figures(
                "Best validation accuracy to expect from a number of trials",
                [draw.expected()],
                [tables.expected(section, shown)] if len(section.expected) else [],
            ),
            figures(
                "Effect of longer training",
                [draw.epochs_effect()],
                [tables.epochs(section, self.order)] if len(section.lengths) > 1 else [],
            ),
            figures(
                "Corrupted test images", [draw.corruptions()], [tables.corruptions(section, shown)]
            ),
        ]

    def _verdicts(self) -> dict[str, Any]:
        """The verdicts at the headline's epochs, then at every other length of training."""
        section = self.section
        rows = section.compared(section.epochs).to_dict("records")
        undecided = [row for row in rows if row["verdict"] == "undecided"]
        many = len(undecided) > FEW
        no_commands: tuple[list[str], int] = [], 0
        deciding = [no_commands if many else self.more_runs.deciding(row) for row in rows]
        items = [_verdict(row, *each) for row, each in zip(rows, deciding, strict=True)]
        why = pd.Series([answer.undecided(row).partition(" (")[0] for row in undecided])
        absent = [loss for loss in section.losses if loss not in section.shown]
        return {
            "only": section.losses[0] if not len(section.headline) else "",
            "items": items,
            "many": many,
            "why": why.value_counts().to_dict(),
            "commands": self.more_runs.deciding_many(undecided) if many else no_commands,
            "absent": absent,
            "epochs": section.epochs,
            "at_rates": section.at_rates_by_length,
            "other": [
                self._at_other_epochs(epochs, rows, absent)
                for epochs in section.lengths[1:]
                if (rows := section.compared(epochs).to_dict("records"))
            ],
        }

    def _at_other_epochs(
        self, epochs: int, rows: Sequence[Mapping[str, Any]], absent: Sequence[str]
    ) -> dict[str, Any]:
        again = [text for text in self.source.overrides if not text.startswith("where.epochs=")]
        command = commands.report_command([*again, override("where.epochs", epochs)])
        return {
            "epochs": epochs,
            "items": [_verdict(row) for row in rows],
            "tally": sentences.tally(rows),
            "commands": [command] if {row["a"] for row in rows} & set(absent) else [],
        }

    def _contrasts(self, draw: FigureBuilder) -> Part | None:
        section, collector = self.section, self.collector
        if not len(section.headline):
            return None
        best = pd.concat([section.compared(epochs) for epochs in section.lengths])
        equal = section.contrasts[section.contrasts["view"] == "equal"]
        caption = say("contrasts", against(section), section.at_rates, section.metric.words)
        second = None
        if len(equal) and section.rates["lr"].nunique() > 1:
            words = (
                f"{upper_first(against(section))} at equal learning rates, on all seeds; one "
                "family per length of training."
            )
            second = tables.contrasts(section, equal, "contrasts-equal-rate", words)
        values = {
            "figure": collector.picture(draw.forest()),
            "best": collector.table(tables.contrasts(section, best, "contrasts", caption)),
            "equal": collector.table(second),
        }
        return collector.part("Differences and their intervals", "contrasts.jinja", values)

    def _errors(self, draw: FigureBuilder) -> Part:
        title, template = "Errors by class and example", "errors.jinja"
        errors = self.section.errors
        if errors is None:
            why = "folds" if self.section.folds else "nothing stored"
            values: dict[str, Any] = {"runs": {}, "why": why, "figures": [], "tables": []}
            return self.collector.part(title, template, values, folded=True)
        figures: list[PageFigure | None] = [
            draw.class_accuracy(errors),
            draw.confusions(errors),
        ]
        examples, shown = self.examples(self.section), [tables.classes(errors, self.order)]
        why = ""
        if isinstance(examples, str):
            why = examples
        elif len(examples) != len(errors.labels):
            why = "the data at hand are not the test set of these runs"
        elif not (errors.images["wrong"] > 0).any():
            why = "nothing wrong"
        elif isinstance(examples, pd.DataFrame):
            shown.append(tables.most_wrong(errors, examples))
        else:
            figures += [
                draw.most_wrong(errors, examples),
                draw.most_disagreed(errors, examples),
            ]
        values = {
            "runs": errors.runs,
            "at_rates": self.section.at_rates,
            "why": why,
            "figures": [self.collector.picture(each) for each in figures],
            "tables": [self.collector.table(each) for each in shown],
        }
        return self.collector.part(title, template, values, folded=True)

    def _runs(self) -> Part:
        every = self.collector.table(tables.runs(self.section, self.order))
        values = {"figures": [], "tables": [every], "kind": "runs"}
        return self.collector.part("All runs", "figures.jinja", values, folded=True)

    def _denominators(self) -> Table | None:
        """The table of what became of the runs, where that is not the same for every loss."""
        if not len(self.section.denominators):
            return None
        table = self.collector.table(tables.denominators(self.section, self.order))
        counts = self.section.denominators.drop(columns="loss").drop_duplicates()
        return table if len(counts) > 1 else None


def _verdict(row: Mapping[str, Any], lines: Sequence[str] = (), seeds: int = 0) -> dict[str, Any]:
    return {
        "verdict": row["verdict"],
        "sentence": sentences.sentence(row),
        "more": sentences.needed(row),
        "commands": lines,
        "seeds": seeds,
    }
