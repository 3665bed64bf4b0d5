"""The exact commands for more seeds, for a wider grid, and to make the report again.

A command names every option in which a setting differs from conf/, so that its runs belong to that
setting. Finished runs are not run again, so each runs what is missing and no more.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.contract import (
    DATA_PLACES,
    GROUPS,
    command,
    half_decade,
    override,
    value_of_param,
)
from reports.names import plain

if TYPE_CHECKING:
    from reports.runs import Baselines

CONF = Path(__file__).resolve().parents[2] / "conf"

_OTHER_GROUPS = GROUPS[1:]  # than the loss
_PLAIN = re.compile(r"[\w.+/:-]+")
_AS_FIRST = "uses options of your own: add --config-dir and PYTHONPATH as for the first run"
_AS_NOW = "runs the code as it is now, which adds runs to no other version"


@dataclass(frozen=True)
class Source:
    """Where the runs of a report come from, for the commands and the caveats."""

    experiments: Sequence[str]  # or the name of the file
    chosen: Sequence[str]  # the names of the sweeps that were chosen
    uri: str | None  # as the user gave it
    overrides: Sequence[str]
    missing: int
    notes: Sequence[str]
    warnings: Sequence[str] = ()
    sweeps: Sequence[tuple[str, str]] = ()  # run id and name of each whose runs these are
    verdicts: str = "verdicts.json"  # where the file will be, from where the report was made
    baselines: Baselines | None = None  # of which some of the runs are
    imported: bool = False  # from a file: there is nothing to run

    @property
    def file(self) -> str:
        """The file that the runs come from; "" for those of a store."""
        return plain(self.experiments[0], 80) if self.imported else ""


def run_command(
    losses: Sequence[str],
    rates: Sequence[float],
    seeds: Sequence[int],
    runs: pd.DataFrame,
    *,
    epochs: int,
    experiment: str = "",
    uri: str | None = None,
) -> list[str]:
    """The commands that run these losses at these rates with these seeds in the setting of `runs`.

    One command for all losses without hyperparameters of their own, and one for each other, with
    all of its tuned values. Where
    an option is not in conf/, a user's own, a comment says what the command lacks: no run records
    where its file was. Another one says that a command runs the code as it is now, where the losses
    are versions of their code.

    Args:
        losses: the losses to run, by the names that the report shows.
        rates: the learning rates.
        seeds: the seeds.
        runs: of one setting, with the columns loss, loss_option and the params by name.
        epochs: the length of training.
        experiment: named when it is not conf/config.yaml's own.
        uri: the store, as the report was given it.
    """
    first = {
        loss: runs[runs["loss"] == loss].iloc[0] for loss in losses if (runs["loss"] == loss).any()
    }
    own = {loss: _own_values(runs[runs["loss"] == loss], loss) for loss in first}
    names = {loss: str(row.get("loss_option", loss)) for loss, row in first.items()}
    together = [name for loss, name in names.items() if not own[loss]]
    alone = [([name], own[loss]) for loss, name in names.items() if own[loss]]
    shared = next(iter(first.values()), pd.Series(dtype=object))
    rest = [
        override("lr", *(float(rate) for rate in rates)),
        override("epochs", epochs),
        _seeds(seeds),
        *_setting(shared),
    ]
    defaults = _defaults("config")
    if experiment and experiment != defaults.get("experiment"):
        rest.append(override("experiment", experiment))
    if uri:
        rest.append(override("tracking.uri", uri))
    options: list[tuple[list[str], list[str]]]
    options = ([(list(dict.fromkeys(together)), [])] if together else []) + alone
    lines = [
        command("python experiments/run.py -m", override("loss", *chosen), *values, *rest)
        for chosen, values in options
    ]
    versions = {name for loss, name in names.items() if loss.startswith(f"{name}@")}
    others = [(group, str(shared[group])) for group in _OTHER_GROUPS if _known(shared.get(group))]
    for place, (losses, _) in enumerate(options):
        chosen = [*(("loss", name) for name in losses), *others]
        comments = [] if all(_in_conf(*option) for option in chosen) else [_AS_FIRST]
        comments += [_AS_NOW] if versions & set(losses) else []
        if comments:
            lines[place] += f"  # {'; '.join(comments)}"
    return lines


def report_command(overrides: Sequence[str]) -> str:
    """The command that makes a report, with the overrides it was given."""
    return command("generate report", *overrides)


def seeds_to_reach(
    evaluation: Sequence[int], needed: float, tuning: Sequence[int] = ()
) -> list[int]:
    """The existing evaluation seeds, and the next integers up to `needed` seeds.

    Args:
        evaluation: the evaluation seeds there are.
        needed: how many there have to be; finite.
        tuning: seeds that are not evaluated, and not used.
    """
    seeds = sorted(set(evaluation))
    following = max([*seeds, *tuning], default=-1) + 1
    return seeds + list(range(following, following + max(0, int(needed) - len(seeds))))


def wider_rates(grid: Sequence[float], edge: str, count: int = 1) -> list[float]:
    """The learning rate half a decade beyond the low or the high edge of a grid (> 0).

    With `count` above 1 there are so many, up to this one.
    """
    last, steps = (max(grid), 1) if edge == "high" else (min(grid), -1)
    end = half_decade(last, steps)
    between = (float(f"{last * (end / last) ** (place / count):.3g}") for place in range(1, count))
    return sorted([*between, end])


def changed_values(row: pd.Series) -> dict[str, Any]:
    """What decides a run's numbers and is not as in conf/, by key, such as data.train_size.

    Its loss, the grid, the places of data and the values of options that are not in conf/ are left
    out.
    """
    values = {
        key.removeprefix("+"): value
        for group in _OTHER_GROUPS
        if _in_conf(group, str(row.get(group)))
        for key, value in _changed(row, group, "").items()
    }
    usual = [name for name in ("augment", "stop.patience") if _known(row.get(name))]
    values |= {name: _whole(row[name]) for name in usual}
    return {key: value for key, value in values.items() if key not in DATA_PLACES}


def _setting(row: pd.Series) -> list[str]:
    """Overrides for all in which a run's params differ from the defaults in conf/.

    Its loss and the grid are left out.
    """
    chosen = []
    root = _defaults("config")
    for group in _OTHER_GROUPS:
        option = row.get(group)
        if _known(option) and str(option) != root.get(group):
            chosen.append(override(group, str(option)))
    if _known(row.get("batch_size")) and float(row["batch_size"]) != float(
        root.get("batch_size", math.nan)
    ):
        chosen.append(f"batch_size={int(float(row['batch_size']))}")
    for group in _OTHER_GROUPS:
        chosen += _overrides(_changed(row, group, ""))
    # Recorded only where they are not as usual.
    return chosen + [
        override(name, _whole(row[name]))
        for name in ("device", "threads", "corruptions", "augment", "stop.patience")
        if _known(row.get(name))
    ]


def _own_values(runs: pd.DataFrame, loss: str) -> list[str]:
    """The own values of a loss that are not those of its file; of a tuned one all that it has."""
    own = [str(name) for name in runs if str(name).startswith("loss.")]
    tuned = [name for name in own if runs[name].nunique() > 1]
    every = {name: [_whole(each) for each in runs[name].unique()] for name in tuned}
    return [
        *_overrides(_changed(runs.iloc[0].drop(labels=tuned), "loss", loss)),
        *(override(name, *values) for name, values in every.items()),
    ]


def _overrides(values: Mapping[str, Any]) -> list[str]:
    return [override(key, value) for key, value in values.items()]


def _changed(row: pd.Series, group: str, loss: str) -> dict[str, Any]:
    """A group's own values that differ from those of its option's file, by key.

    The key of a value that the file does not have begins with "+".
    """
    option = row.get(f"{group}_option", row.get(group, loss))
    defaults = _defaults(f"{group}/{option}") if _PLAIN.fullmatch(str(option)) else {}
    values = {}
    for key in sorted(str(name) for name in row.index if str(name).startswith(f"{group}.")):
        own, default = row[key], defaults.get(key.partition(".")[2], _MISSING)
        if _known(own) and not _equal(own, default) and key != "data.root":
            value = str(own) if isinstance(default, str) else _whole(own)
            plus = "+" if defaults and default is _MISSING else ""
            values[plus + key] = value
    return values


def _in_conf(group: str, option: str) -> bool:
    return bool(_PLAIN.fullmatch(option)) and (CONF / group / f"{option}.yaml").is_file()


_MISSING = object()


def _equal(own: Any, default: Any) -> bool:
    if str(own) == str(default):
        return True
    try:
        return float(own) == float(default)
    except (TypeError, ValueError):
        return False


def _whole(value: Any) -> Any:
    """The value of a param; a whole number is a float where another setting has none."""
    text = str(value)
    return value_of_param(text.removesuffix(".0") if re.fullmatch(r"-?\d+\.0", text) else text)


def _known(value: Any) -> bool:
    return pd.notna(value) and str(value) != ""


def _seeds(seeds: Sequence[int]) -> str:
    ordered = sorted({int(seed) for seed in seeds})
    if len(ordered) > 1 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        span = f"{ordered[-1] + 1}" if ordered[0] == 0 else f"{ordered[0]},{ordered[-1] + 1}"
        return f"seed=range({span})"
    return f"seed={','.join(map(str, ordered))}"


@functools.cache
def _defaults(name: str) -> dict[str, Any]:
    """The values of a file in conf/, with those of the files of its group that it builds on.

    Of config.yaml its default options, too. The result is empty where there is no such file.
    """
    import yaml

    path = CONF / f"{name}.yaml"
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    values: dict[str, Any] = {}
    for entry in content.get("defaults", []):
        values |= entry if isinstance(entry, dict) else _defaults(f"{path.parent.name}/{entry}")
    return values | content
