"""The parts of a report from its sections, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.contract import override
from reports import sentences
from reports.across import Across
from reports.across import basis as basis_across
from reports.analysis import Section
from reports.figures import palette
from reports.gallery import Gallery
from reports.names import counted, full_name, plain
from reports.page import across as page_across
from reports.page import answer, caveats, commands, cross_setting, provenance, render, under_way
from reports.page.caveats import Fact
from reports.page.collector import Collector, Report
from reports.page.commands import Source
from reports.page.figure import in_front, losses_of
from reports.page.methods import basis
from reports.page.more_runs import MoreRuns
from reports.page.render import Page, Part
from reports.page.section import Examples, SectionParts
from reports.page.under_way import Progress
from reports.sensitivity import sensitivities
from reports.texts import say


def report(
    sections: Sequence[Section],
    source: Source,
    examples: Examples,
    *,
    gallery: Gallery | None = None,
    figure_format: str = "svg",
    across: Across | None = None,
    progress: Progress | None = None,
) -> Report:
    """The whole report. Call inside `palette.style()`.

    examples: the test set of a section, or why it cannot be had. gallery: what the losses
    themselves are. across: the losses over all sections, which comes first; the sections are then
    short. progress: of a sweep under way; the page then reloads itself.
    """
    order = list(dict.fromkeys(loss for section in sections for loss in answer.ranked(section)))
    running = [] if progress is None else sorted(set(progress.runs["loss"]))
    front = list(dict.fromkeys([*in_front(sections), *running]))[: palette.TOGETHER]
    looks = palette.looks(list(dict.fromkeys([*front, *order, *running])))
    collector = Collector(looks, front)
    answers = [answer.facts(section) for section in sections]
    shared = collector.facts(
        caveats.about_the_store(source.missing, source.notes, source.warnings), "store"
    )
    top: dict[str, Any] = {"table": None, "kind": "answer", "basis": "", "notes": []}
    top["baselines"] = []
    if across is not None:
        top["table"] = collector.table(page_across.answer(across))
        alone = f"Each {across.unit} on its own"
        parts: list[Part | None] = [_across(across, sections, source, collector)]
        each, facts = _settings(sections, source, examples, collector, shared, across)
        parts.append(Part(alone, "nothing.jinja", parts=each))
    else:
        if len(sections) > 1:
            titles = answer.titles(sections)
            top |= {"table": collector.table(answer.grid(sections, titles, order)), "kind": "grid"}
        elif sections:
            top["notes"] = sections[0].notes
            if answers[0]["evaluated"]:
                top["table"] = collector.table(answer.table(sections[0]))
                top["basis"] = basis(sections[0]) if len(sections[0].headline) else ""
        each, facts = _settings(sections, source, examples, collector, shared)
        parts = [*_sensitivities(sections, order, collector), *each]
    if len(sections) > 1:  # counted over all settings
        facts = [
            fact._replace(label=caveats.lost_runs(sections)) if fact.term == "Runs" else fact
            for fact in facts
        ]
    labels: dict[str, Fact] = {}
    for fact in facts:
        if fact.label and fact.alarm:
            labels.setdefault(fact.label, fact)
    top["labels"] = list(labels.values())[:8]
    if progress is not None:
        curves = [under_way.figure(progress, collector.looks)]
        parts.insert(0, collector.figures("Runs under way", curves, folded=False))
    if len(sections) > 1 and shared:
        parts.append(Part("Caveats of all settings", "caveats.jinja", _only(shared)))
    if source.baselines and sections:
        top["baselines"] = provenance.sentences(source.baselines, sections[0].runs)
    title = say("answer", answers) if across is None else _title(across)
    collector.report.page = Page(
        title=("So far: " if progress else "") + title,
        subtitle=_subtitle(sections, source),
        top=Part("Answer", "answer.jinja", top),
        parts=[
            *(part for part in parts if part is not None),
            *_gallery(gallery, order, collector),
            _reproduction(source),
        ],
        losses=_legend(collector),
        figure_format=figure_format,
        progress=progress,
    )
    collector.report.checklist = render.checklist(
        [
            ([*caveats.tried(section), *caveats.facts(section)], answer.words_of(section))
            for section in sections
        ]
    )
    return collector.report


def _settings(
    sections: Sequence[Section],
    source: Source,
    examples: Examples,
    collector: Collector,
    shared: Sequence[Fact],
    across: Across | None = None,
) -> tuple[list[Part], list[Fact]]:
    """The parts of the settings, and their caveats.

    shared: caveats of the whole store. across: what the settings differ in, if they are short.
    """
    if len(sections) == 1 and across is None:
        return SectionParts(sections[0], source, examples, collector).all(shared)
    parts: list[Part] = []
    every: list[Fact] = []
    for number, (title, section) in enumerate(
        zip(answer.titles(sections), sections, strict=True), start=1
    ):
        collector.prefix = f"setting-{number}-"
        setting = SectionParts(section, source, examples, collector)
        if across is not None:
            part, facts = setting.short(across.key)
            parts.append(part)
            every += facts
            continue
        own, facts = setting.all()
        name = f"Setting {number} of {len(sections)}: {title}"
        parts.append(Part(name, "nothing.jinja", parts=own, folded=number > 1, anchor=title))
        every += facts
    collector.prefix = ""
    unit = "setting" if across is None else across.unit
    return parts, [*caveats.over_settings(every, unit), *shared] if sections else []


def _legend(collector: Collector) -> list[dict[str, Any]]:
    """The losses with the number and the color of their looks."""
    return [
        {
            "loss": loss,
            "name": plain(loss, 26),
            "number": look.number,
            "variable": palette.CSS_VARIABLES[look.color] if loss in collector.front else "--muted",
        }
        for loss, look in collector.looks.items()
    ]


def _sensitivities(
    sections: Sequence[Section], order: Sequence[str], collector: Collector
) -> list[Part]:
    """The losses over each number in which settings differ."""
    parts = []
    losses = losses_of(order, collector.looks, collector.front)
    for sensitivity in sensitivities(sections):
        metric = sections[0].metric
        picture = cross_setting.sensitivity_picture(sensitivity, metric, losses)
        values = {
            "figure": collector.picture(picture),
            "table": collector.table(cross_setting.sensitivity_table(sensitivity, metric, order)),
        }
        parts.append(Part(f"Over {plain(sensitivity.words)}", "sensitivity.jinja", values))
    return parts


def _across(
    across: Across, sections: Sequence[Section], source: Source, collector: Collector
) -> Part:
    """The answer over all data sets or models."""
    every = pd.concat([section.runs for section in sections], ignore_index=True)
    left_out = across.comparison.left_out
    values = page_across.words(across) | {
        "lacking": [
            line
            for section in sections
            for line in MoreRuns(section, source).lacking(
                left_out.get(str(section.runs[across.key].iloc[0]), []), every
            )
        ],
        "figure": collector.picture(page_across.diagram(across, collector.looks)),
        "values": collector.table(page_across.values(across)),
        "contrasts": collector.table(page_across.contrasts(across))
        if len(across.comparison.contrasts)
        else None,
    }
    return Part(f"Across {across.unit}s", "across.jinja", values)


def _title(across: Across) -> str:
    """The answer in one sentence; what was compared where there is none."""
    tally = sentences.tally(across.comparison.contrasts.to_dict("records"))
    if not tally:
        return basis_across(across)
    return (
        f"Over {counted(across.units, across.unit)}, compared with {full_name(across.reference)} "
        f"by {across.metric.words}: {tally}."
    )


def _subtitle(sections: Sequence[Section], source: Source) -> str:
    names = source.chosen or source.experiments
    name = plain(", ".join(names), 80)
    if source.imported:
        name = f"imported from {name}"
    elif len(names) > 1:
        name = f"{len(names)} {'sweeps' if source.chosen else 'experiments'}: {name}"
    if not sections:
        return name
    runs = pd.concat([section.runs for section in sections])
    words = [answer.words_of(section) for section in sections]
    shared = [word for word in words[0] if all(word in each for each in words)]
    if len(sections) > 1:
        shared.insert(0, counted(len(sections), "setting"))
    lengths = {section.epochs for section in sections}
    name = "" if name in shared else name  # that of an experiment by default is that of its data
    return say(
        "subtitle", sections[0].metric.words, lengths.pop() if len(lengths) == 1 else 0, shared,
        runs["seed"].nunique(), len(runs), runs["loss"].nunique(), name,
    )  # fmt: skip


def _gallery(gallery: Gallery | None, order: Sequence[str], collector: Collector) -> list[Part]:
    """What the losses are, whatever was run."""
    if gallery is None:
        return []
    figures = cross_setting.gallery_pictures(
        gallery, losses_of(order, collector.looks, collector.front)
    )
    without = cross_setting.left_out(gallery, order)
    if not figures and not without:
        return []
    values = {
        "figures": [collector.picture(each) for each in figures],
        "weights": bool(len(gallery.weights)),
        "in_context": any(frame["when"].any() for frame in (gallery.weights, gallery.errors)),
        "without": without,
    }
    return [Part("Gradient weight of each loss", "gallery.jinja", values, folded=True)]


def _reproduction(source: Source) -> Part:
    """The commands that make the page again, and check it."""
    store = [text for text in source.overrides if text.startswith("tracking.uri=")]
    again = [text for text in source.overrides if not text.startswith("sweep=")]
    most = cross_setting.MOST_SWEEPS
    sweeps = [
        f"{commands.report_command([*again, override('sweep', run_id)])}  # {plain(name, 60)}"
        for run_id, name in source.sweeps[:most]
    ]
    values = {
        "place": source.file or "the store",
        "commands": [
            commands.report_command(source.overrides),
            commands.report_command([*store, override("check", source.verdicts)]),
        ],
        "sweeps": sweeps if len(source.sweeps) > 1 else [],
        "count": len(source.sweeps),
        "most": most if len(source.sweeps) > most else 0,
    }
    return Part("Reproduce this page", "reproduction.jinja", values)


def _only(facts: Sequence[Fact]) -> dict[str, Any]:
    """The values of caveats that are facts alone."""
    empty: dict[str, Any] = dict.fromkeys(("notes", "checks", "again", "unfinished"), ())
    return empty | {"facts": facts, "table": None, "count": 0}
