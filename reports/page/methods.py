"""What the verdicts of a setting rest on, in words: for the page, a terminal and a paper."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from reports.analysis import Section
from reports.names import full_name, plain
from reports.page import answer, caveats
from reports.texts import listed, say


def against(section: Section) -> str:
    """Which losses are compared with which, in the middle of a sentence."""
    if section.question.all_pairs:
        return "all pairs"
    subjects = [plain(loss) for loss in section.question.subjects if loss in section.losses]
    if subjects:
        return f"the loss{'es' * (len(subjects) > 1)} {listed(subjects)} against each other loss"
    return f"each loss against {plain(section.reference)}"


def margin(section: Section) -> tuple[float | None, str]:
    """The margin that counts as equivalent, and the test examples that it is, if one or two."""
    size = float(section.headline["margin"].iloc[0]) if len(section.headline) else math.nan
    if not math.isfinite(size):
        return None, ""
    least = section.metric.one_example(section.test_size)
    images = round(size / least) if least else 0
    exact = images in (1, 2) and math.isclose(size, images * least)
    return size, ("one test example", "two test examples")[images - 1] if exact else ""


def basis(section: Section) -> str:
    """What the verdicts of a section rest on, in two sentences."""
    rates = section.at_end(section.rates)[["lr", "tuned"]]
    several = section.headline[section.headline["n"] > 1]
    return say(
        "basis",
        section,
        section.split,
        len(rates.drop_duplicates()) > 1,
        *margin(section),
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
    runs = section.at_end(section.runs)
    headline = section.headline
    paired = set(headline.loc[headline["n"] > 0, "paired"]) if len(headline) else set()
    tested = headline[headline["n"] > 1]
    return {
        "section": section,
        "paired": all(paired) if paired else None,
        "words": answer.words_of(section),
        "rates": sorted(runs["lr"].unique()),
        "seeds": section.split.evaluation,
        "basis": basis(section),
        "losses": [full_name(loss) for loss in answer.ranked(section)],
        "versions": caveats.distinct(section.runs, "paddle_version"),
        "against": against(section),
        "tests": tested[["interval", "paired"]].drop_duplicates().to_dict("records"),
        "test_examples": int(tested["test_images"].max()) if len(tested) else 0,
        "family": int(tested["family"].max()) if len(tested) else 0,
        "diverged": set(tested.loc[tested["diverged_a"] + tested["diverged_b"] > 0, "interval"]),
        "label_noise": bool((_numbers(runs, "data.label_noise") > 0).any()),
    }


def _numbers(runs: pd.DataFrame, name: str) -> pd.Series:
    return pd.to_numeric(runs.get(name, pd.Series(dtype=float)), errors="coerce")
