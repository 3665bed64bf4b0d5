"""The longer passages of the page: the question, and what the verdicts rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reports.analysis import Section
from reports.names import counted, plain
from reports.stats.verdicts import IMAGES, SEEDS, SEEDS_AND_IMAGES

_RULES = (
    "Every loss is given the same network, data, seeds and learning rates to choose from; the "
    "answer to each comparison is "
    "one of four: better, worse, equivalent, undecided."
)


_GENERALISES = {
    SEEDS_AND_IMAGES: "Intervals and tests are for new seeds and new test images of the same kind, "
    "not for other data or networks",
    SEEDS: "Intervals and tests are for new seeds on this test set, not for other test images",
    IMAGES: "Intervals are for new test images and these very networks, not for other seeds",
}


def question(sections: Sequence[Section]) -> str:
    """What the page asks of these losses."""
    losses = list(dict.fromkeys(loss for section in sections for loss in section.losses))
    if not losses:
        return "Which of these losses trains the network better? No run has a result yet."
    reference = sections[0].reference
    subjects = [loss for loss in sections[0].question.subjects if loss in losses]
    others = [plain(loss) for loss in losses if loss != reference]
    metric = sections[0].metric.words
    if subjects:
        rest = len(losses) - len(subjects)
        than = f"the {rest} other losses here" if rest > 1 else "the other loss here"
        return (
            f"Does {_any_of(list(map(plain, subjects)))} train this network better than {than}, "
            f"judged by {metric}? {_RULES}"
        )
    if not others:
        return f"How well does {plain(reference)} train this network, judged by {metric}?"
    return (
        f"Does {_any_of(others)} train this network better than {plain(reference)}, judged by "
        f"{metric}? {_RULES}"
    )


def against(section: Section) -> str:
    """Which losses are compared with which."""
    if section.question.all_pairs:
        return "All pairs"
    subjects = [plain(loss) for loss in section.question.subjects if loss in section.losses]
    if subjects:
        return f"{', '.join(subjects)} against each other loss"
    return f"Each loss against {plain(section.reference)}"


def subtitle(sections: Sequence[Section], name: str) -> str:
    """What the page is about: how many runs of what."""
    runs = sum(len(section.runs) for section in sections)
    losses = len({loss for section in sections for loss in section.losses})
    setting = (
        f", {plain(sections[0].title, 120)}"
        if len(sections) == 1
        else f", {len(sections)} settings"
    )
    return (
        f"{plain(name, 80)}: {runs:,} run{'s' if runs != 1 else ''}, {losses} "
        f"loss{'es' if losses != 1 else ''}{setting}"
    )


def basis(section: Section) -> str:
    """What the verdicts of a section rest on, in two sentences."""
    split = section.split
    words = section.metric.words
    rates = section.rates.loc[section.rates["epochs"] == section.epochs, "lr"].nunique()
    text = f"By {words} after {counted(section.epochs, 'epoch')}, {section.at_rates}"
    if rates > 1 and split.shared:
        text += f": {split.reason}"
    elif rates > 1:
        text += (
            f", chosen on validation with tuning {_seeds(split.tuning)} and evaluated on test with "
            f"evaluation {_seeds(split.evaluation)}"
        )
    if (combinations := int(section.headline["combinations"].max())) > 1:
        text += (
            ". A verdict has to hold at every rate that validation cannot tell from the best: at "
            f"up to {combinations} pairs of rates"
        )
    if told := _GENERALISES.get(max(section.headline["generalises"], key=len)):
        text += f". {told}"
    several = section.headline[section.headline["n"] > 1]
    if (several["planned_n"] < several["n"]).any():
        text += (
            ". Seeds beyond the declared ones decide only with an e-value of 200 and more, so that "
            "adding seeds until a verdict appears makes no false one likelier"
        )
    margin = section.headline["margin"].iloc[0]
    if np.isfinite(margin):
        unit = " points" if section.metric.in_points else ""
        text += f". Equivalent means: the 95 % interval lies within ±{margin:.3g}{unit}"
        least = section.metric.one_example(section.test_size)
        images = round(margin / least) if least else 0
        if images in (1, 2) and math.isclose(margin, images * least):
            words = "one test image" if images == 1 else "two test images"
            text += f", which is {words} of {section.test_size:,}"
            text += " of this digit" if section.metric.digit is not None else ""
    return f"{text}. {_standing(section)}"


def _standing(section: Section) -> str:
    """Whether the question was asked before the runs."""
    declared = section.declared
    if declared is None:
        return "Exploratory: no question was declared before these runs."
    when = f"on {declared.time:%Y-%m-%d %H:%M} UTC, before the runs"
    if section.confirmatory:
        return f"Confirmatory: just this question was declared {when}."
    margin = "" if declared.margin is None else f", margin {declared.margin:g}"
    return (
        f"Exploratory: the question that was declared {when} is another one, or some of its seeds "
        f"have no run: {plain(declared.metric, 60)} against {plain(declared.reference, 48)} after "
        f"{counted(declared.epochs, 'epoch')}{margin}, {_seeds(declared.seeds)}."
    )


def _any_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _seeds(seeds: Sequence[int]) -> str:
    ordered = sorted(seeds)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"seeds {ordered[0]} to {ordered[-1]}"
    return f"seed{'s' if len(ordered) != 1 else ''} {', '.join(map(str, ordered))}"
