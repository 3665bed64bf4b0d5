"""The same losses over one numeric setting that differs between the sections.

Label noise, training examples, any other.

Pure: sections in, frames out. Nothing is pooled: every number is that of one section, where each
loss stands at its own best learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.contract import DATA_PLACES, GROUPS
from reports.analysis import Section

APART = DATA_PLACES
OPTIONS = GROUPS[1:]
NAMED = (
    *OPTIONS,
    "batch_size",
    "data_digest",
    "threads",
    "corruptions",
)  # all others have a dot in their names


@dataclass(frozen=True)
class Sensitivity:
    """The metric over one setting.

    setting: its param, e.g. data.label_noise. means: a row per panel, value and loss: panel, value,
    loss, epochs, lr, mean, low, high (NaN: no interval), n. In a panel all else is equal; its name
    says what is not between the panels, and is empty where there is one. elsewhere: how many
    sections have no number there, or no result. at_rates: at which learning rates the losses are
    shown, in words.
    """

    setting: str
    means: pd.DataFrame
    elsewhere: int = 0
    at_rates: str = ""

    @property
    def panels(self) -> list[str]:
        """The panels of the figure, in the order of the means."""
        return list(dict.fromkeys(self.means["panel"]))

    @property
    def words(self) -> str:
        """The setting for people."""
        return self.setting.rpartition(".")[2].replace("_", " ")


def sensitivities(sections: Sequence[Section]) -> list[Sensitivity]:
    """Those of each setting with at least two numbers, in sections that are alike in all else."""
    full = [section for section in sections if len(section.means)]
    values = pd.DataFrame([setting_values(section.runs) for section in full], dtype=object)
    texts = values.map(setting_text)
    by_number, rates = [], _at_rates(full)
    for name in [name for name in texts if texts[name].nunique() > 1 and name not in OPTIONS]:
        numbers = pd.to_numeric(values[name], errors="coerce")
        rest = texts.drop(columns=name)
        parts = [
            means.assign(panel=_panel(rest, group))
            for _, group in rest.groupby(list(rest), sort=True)
            if len(means := _over(full, numbers[group.index].dropna()))
        ]
        if parts:
            frame = pd.concat(parts, ignore_index=True)
            if frame["panel"].nunique() == 1:
                frame["panel"] = ""
            shown = frame.groupby("panel")["value"].nunique().sum()
            by_number.append(Sensitivity(str(name), frame, len(sections) - int(shown), rates))
    return by_number


def _at_rates(sections: Sequence[Section]) -> str:
    """At which learning rates the losses of several settings are shown, in words."""
    texts = {section.at_rates for section in sections}
    if len(texts) == 1 and (text := texts.pop()).startswith("at "):
        return text
    best = "best " if any("best" in section.at_rates for section in sections) else ""
    return f"each loss at its {best}learning rate there"


def _over(sections: Sequence[Section], numbers: pd.Series) -> pd.DataFrame:
    """The means of the sections at these places.

    At the length of training that most of the numbers have.
    """
    if (
        numbers.nunique() < 2 or numbers.duplicated().any()
    ):  # two of one number differ in something unknown
        return pd.DataFrame()
    every = pd.concat(
        [sections[place].means.assign(value=float(number)) for place, number in numbers.items()]
    )
    finite = every[np.isfinite(every["mean"].astype(float))]
    shared = finite.groupby("epochs")["value"].nunique()
    if not len(shared) or shared.max() < 2:
        return pd.DataFrame()
    longest = shared[shared == shared.max()].index.max()
    return finite[finite["epochs"] == longest].sort_values(
        "value", kind="stable", ignore_index=True
    )


def setting_values(runs: pd.DataFrame) -> dict[str, object]:
    """What decides a section's numbers but its losses, rates, epochs and seeds, by param."""
    first = runs.iloc[0]
    own = [str(name) for name in runs if "." in str(name) and not str(name).startswith("loss.")]
    return {name: first[name] for name in [*NAMED, *own] if name in first and name not in APART}


def setting_text(value: object) -> str:
    """A value of a setting in one form, so that equal values are equal texts; "" for none."""
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return "" if missing else f"{value:g}" if isinstance(value, float) else str(value)


def _panel(rest: pd.DataFrame, group: pd.DataFrame) -> str:
    """What tells a group from the others, in words."""
    differ = [name for name in rest if rest[name].nunique() > 1]
    return ", ".join(
        f"{str(name).rpartition('.')[2]}={group[name].iloc[0] or 'null'}" for name in differ
    ).replace("_", " ")
