"""Where baselines come from, and what that means for a comparison with runs made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from reports.names import counted, one_line, plain
from reports.page.caveats import Fact, distinct
from reports.texts import numbers

if TYPE_CHECKING:
    from reports.runs import Baselines

ROUNDING = (
    "Kinds of processors round float32 differently: between machines the last digits differ, and "
    "so after many steps the "
    "second decimal of an accuracy."
)


def sentences(baselines: Baselines, runs: pd.DataFrame) -> list[tuple[str, bool]]:
    """The caveats on the baselines among the runs: each a sentence, and whether it is an alarm."""
    joined = runs.loc[runs["baseline"].astype(bool), "loss"].nunique()
    if not joined:
        return [
            ("No baseline is shown: every loss that the baselines have was run here, too.", False)
        ]
    losses = "One loss here is a baseline" if joined == 1 else f"{joined} losses here are baselines"
    made = f"by {one_line(baselines.origin.commands[0])}, {', '.join(_made(baselines))}"
    return [
        (f"{losses}, and marked so: under the same protocol, but not run here; {made}.", False),
        (ROUNDING, False),
        *((text, True) for text in _warnings(baselines, runs)),
    ]


def facts(baselines: Baselines) -> list[Fact]:
    """The caveats on the file of the baselines: how to make it, and how to recognise it."""
    origin = baselines.origin
    again = " and then ".join(one_line(command) for command in origin.commands)
    runs = (
        f"{counted(origin.runs, 'run')}, rates {', '.join(f'{rate:g}' for rate in origin.rates)}, "
        f"seeds {numbers(origin.seeds)}; "
        f"made again by {again}."
    )
    versions = (
        f"{', '.join([*_made(baselines), *map(plain, origin.versions)])}; kernel "
        f"{_list(origin.kernels)}."
    )
    return [
        Fact("Baselines", runs),
        Fact("Their versions", versions, bool(origin.uncommitted), "baselines: uncommitted code"),
        Fact("Their digest", f"SHA-256 {baselines.sha256}."),
    ]


def _warnings(baselines: Baselines, runs: pd.DataFrame) -> list[str]:
    origin, found = baselines.origin, []
    theirs = runs["baseline"].astype(bool)
    versions = distinct(runs[~theirs], "paddle_version")
    if versions != sorted(origin.paddle):
        found.append(
            "The baselines were made with PaddlePaddle "
            f"{', '.join(map(plain, origin.paddle)) or 'of unknown version'}, the runs "
            f"here with {', '.join(versions) or 'one of unknown version'}: part of a difference "
            "may come from the version."
        )
    if not set(runs.loc[~theirs, "seed"]) & set(origin.seeds):
        found.append(
            "No seed is common to the runs here and the baselines, so nothing is paired, and "
            "rates and losses may have no "
            f"seeds to be evaluated on: run seeds {numbers(origin.seeds)}."
        )
    if origin.unfinished:
        found.append(
            f"{counted(origin.unfinished, 'run')} of the baselines' sweep had no finished run."
        )
    return found


def _made(baselines: Baselines) -> list[str]:
    origin = baselines.origin
    commit = f"commit {_list([commit[:10] for commit in origin.commits])}"
    if origin.uncommitted:
        commit += f" with uncommitted changes in {counted(origin.uncommitted, 'run')}"
    return [
        f"PaddlePaddle {_list(origin.paddle)}",
        commit,
        f"ended {plain(origin.ended)} UTC",
        f"on {_list(origin.processors)}",
    ]


def _list(names: Sequence[str]) -> str:
    return ", ".join(plain(name, 60) for name in names) or "unknown"
