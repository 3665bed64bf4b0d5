"""Where baselines come from, and what that means for a comparison with runs made here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from reports.page.caveats import Fact, distinct
from reports.texts import say

if TYPE_CHECKING:
    from reports.runs import Baselines

_say = partial(say, file="provenance.jinja")


def sentences(baselines: Baselines, runs: pd.DataFrame) -> list[tuple[str, bool]]:
    """The caveats on the baselines among the runs: each a sentence, and whether it is an alarm."""
    origin, of_file = baselines.origin, runs["baseline"].astype(bool)
    joined = runs.loc[of_file, "loss"].nunique()
    if not joined:
        return [(_say("all_run_here"), False)]
    texts = [(_say("joined", origin, joined), False), (_say("rounding"), False)]
    versions = distinct(runs[~of_file], "paddle_version")
    if versions != sorted(origin.paddle):
        texts.append((_say("other_version", origin, versions), True))
    if not set(runs.loc[~of_file, "seed"]) & set(origin.seeds):
        texts.append((_say("no_common_seed", origin), True))
    if origin.unfinished:
        texts.append((_say("unfinished", origin), True))
    return texts


def facts(baselines: Baselines) -> list[Fact]:
    """The caveats on the file of the baselines: how to make it, and how to recognise it."""
    origin, uncommitted = baselines.origin, "baselines: uncommitted code"
    return [
        Fact("Baselines", _say("runs", origin)),
        Fact("Their versions", _say("versions", origin), bool(origin.uncommitted), uncommitted),
        Fact("Their digest", f"SHA-256 {baselines.sha256}."),
    ]
