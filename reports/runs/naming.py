"""What a run is called: its loss, its setting, and the values that place it in a grid."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from experiments.contract import DATA_PLACES
from reports.names import BASELINE
from reports.runs.records import NEEDED, Run
from reports.runs.wording import number, short

Tuned = Mapping[str, Mapping[str, Sequence[str]]]
"""The own values that a sweep tuned, as params, by loss and by name (`loss.gamma`)."""


def is_complete(run: Run) -> bool:
    """Whether the params that place a run in a grid are there and of their types."""
    if any(name not in run.params for name in NEEDED):
        return False
    lr, *whole = (number(run.params[name]) for name in ("lr", "epochs", "batch_size", "seed"))
    return lr is not None and all(isinstance(each, int) and abs(each) < 2**63 for each in whole)


def scalars(run: Run) -> dict[str, float | int]:
    """lr, epochs, batch_size and seed of a complete run, as numbers."""
    values = {
        name: number(run.params[name]) or 0 for name in ("lr", "epochs", "batch_size", "seed")
    }
    return values | {"lr": float(values["lr"])}


def loss_values(run: Run) -> dict[str, str]:
    """The loss's option and its own values."""
    return {
        name: short(value)
        for name, value in sorted(run.params.items())
        if name == "loss" or name.startswith("loss.")
    }


def setting_values(run: Run) -> dict[str, str]:
    """Every value that decides the numbers but the loss's, lr, epochs and seed."""
    apart = ("loss", "lr", "epochs", "seed", *DATA_PLACES)
    values = {
        name: short(value)
        for name, value in sorted(run.params.items())
        if name not in apart and not name.startswith("loss.")
    }
    return values | {"data.digest": run.digest[:8]}


def with_digests(runs: Sequence[Run]) -> list[Run]:
    """The runs, each with the digest of its data set.

    A run that ended before it recorded one gets the digest of the runs with the same params.
    """
    keys = [json.dumps(setting_values(replace(run, digest=""))) for run in runs]
    digests: dict[str, set[str]] = {}
    for run, key in zip(runs, keys, strict=True):
        digests.setdefault(key, set()).update([run.digest] if run.digest else [])
    return [
        replace(run, digest=min(digests[key])) if not run.digest and len(digests[key]) == 1 else run
        for run, key in zip(runs, keys, strict=True)
    ]


def setting_key(run: Run) -> str:
    """The key of `setting_values`, equal in every report.

    Names to recognise it by, and a hash of everything.
    """
    return _key_of(tuple(setting_values(run).items()))


@functools.lru_cache(maxsize=1000)  # the settings of a store are few
def _key_of(items: tuple[tuple[str, str], ...]) -> str:
    values = dict(items)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return (
        f"{values['data']} {values['model']} {values['optimizer']} {values['scheduler']} "
        f"{values['batch_size']} {digest[:8]}"
    )


def tuned_values(run: Run, declared: Iterable[Tuned]) -> dict[str, str]:
    """Those of the loss's own values that were tuned: the run has one of the values declared."""
    own = loss_values(run)
    for each in () if run.baseline else declared:
        names = each.get(own["loss"], {})
        if names and all(
            name in own and own[name] in map(short, values) for name, values in names.items()
        ):
            return {name: own[name] for name in names}
    return {}


def loss_labels(
    runs: Sequence[Run],
    marks: Sequence[str] | None = None,
    tuned: Sequence[Mapping[str, str]] | None = None,
) -> list[str]:
    """The loss of each run: its option, and its own values that differ between runs of the option.

    The label of a baseline says that it is one.

    Args:
        runs: all runs that are shown together.
        marks: what follows the option's name, such as "@1a2b3c4" for a version of its code.
        tuned: the `tuned_values` of each run, which its label does not have.
    """
    losses = [
        {name: value for name, value in loss_values(run).items() if name not in left_out}
        for run, left_out in zip(runs, tuned or [{}] * len(runs), strict=True)
    ]
    labels = _distinguished(losses, [each["loss"] for each in losses])
    labels = [
        each["loss"] + mark + label[len(each["loss"]) :]
        for each, mark, label in zip(losses, marks or [""] * len(runs), labels, strict=True)
    ]
    return [
        label + BASELINE if run.baseline else label for label, run in zip(labels, runs, strict=True)
    ]


def setting_texts(runs: Sequence[Run]) -> list[str]:
    """The setting of each run for people."""
    named = ("data", "model", "optimizer", "scheduler")
    values = [setting_values(run) for run in runs]
    return _distinguished(
        values,
        [", ".join([*(v[n] for n in named), f"batch size {v['batch_size']}"]) for v in values],
    )


def _distinguished(values: Sequence[dict[str, str]], texts: Sequence[str]) -> list[str]:
    """The texts, longer by `name=value` for what differs between those of the same text."""
    values_by_text: dict[str, dict[str, set[str | None]]] = {}
    members: dict[str, list[dict[str, str]]] = {}
    for each, text in zip(values, texts, strict=True):
        members.setdefault(text, []).append(each)
    for text, group in members.items():
        distinct = list({tuple(each.items()): each for each in group}.values())
        names = {name: None for each in distinct for name in each}
        values_by_text[text] = {name: {each.get(name) for each in distinct} for name in names}
    longer = []
    for each, text in zip(values, texts, strict=True):
        differ = [
            name
            for name, values in values_by_text[text].items()
            if len(values) > 1 and name in each
        ]
        longer.append(
            " ".join([text, *(f"{name.removeprefix('loss.')}={each[name]}" for name in differ)])
        )
    return longer
