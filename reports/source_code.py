"""The code that computed the runs of a setting, in words, and where losses do not share it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd

from experiments.contract import Parts, changed, changed_files
from reports.runs.versions import parts_of, shortened
from reports.texts import say

_say = partial(say, file="code.jinja")

OWN = "loss"
"""The part of the code in which losses differ anyway; all others are shared."""
OURS = "experiments/"
"""Begins the files of this program; others are the user's."""


def described(runs: pd.DataFrame) -> str:
    """The digests of the code by loss, the user's files, and the losses of unknown code."""
    by_loss = codes(runs)
    short = shortened(sorted({code for own in by_loss.values() for code in own if code}))
    digests = {loss: [short[c] for c in own if c] for loss, own in by_loss.items() if any(own)}
    files = sorted(file for file in _files(runs) if not file.startswith(OURS))
    unknown = [loss for loss, own in by_loss.items() if "" in own]
    return _say("described", digests, files, unknown, len(unknown) == len(by_loss))


def codes(runs: pd.DataFrame) -> dict[str, list[str]]:
    """The digests of the code behind each loss; "" for runs that record none.

    Imported runs cannot record any, and have no such column: then it is empty.
    """
    if "code" not in runs:
        return {}
    digests = runs["code"].fillna("").astype(str)
    losses = runs["loss"]
    return {str(loss): sorted(set(own)) for loss, own in digests.groupby(losses, sort=True)}


def warnings(runs: pd.DataFrame) -> list[str]:
    """What a reader has to know of the code before comparing these losses, a sentence each."""
    return [*_pooled(runs), *_unknown(runs), *_shared(runs)]


def _pooled(runs: pd.DataFrame) -> Iterator[str]:
    """Losses whose runs are of several versions of the code, as `reuse=any` leaves them."""
    for loss, digests in codes(runs).items():
        if len(digests) < 2:
            continue
        own = runs[runs["loss"] == loss]
        counts = own["code"].fillna("").astype(str).value_counts(sort=False).sort_index()
        short = shortened(counts.index)
        first, *others = (_parts(own, code) for code in counts.index if code)
        files = sorted({file for other in others for file in changed_files(first, other)})
        yield _say("pooled", loss, counts.rename(short).to_dict(), files)


def _unknown(runs: pd.DataFrame) -> Iterator[str]:
    by_loss = codes(runs)
    unknown = [loss for loss, digests in by_loss.items() if "" in digests]
    if not unknown:
        return
    every = len(unknown) == len(by_loss)
    yield _say("all_unknown") if every else _say("unknown", unknown)


def _shared(runs: pd.DataFrame) -> Iterator[str]:
    """Where losses differ in more than their own code, by part."""
    versions: dict[str, tuple[Parts, list[str]]] = {}
    for loss, digests in codes(runs).items():
        for code in digests:
            parts = _parts(runs[runs["loss"] == loss], code)
            if code and parts:
                shared = {part: files for part, files in parts.items() if part != OWN}
                versions.setdefault(repr(sorted(shared.items())), (shared, []))[1].append(loss)
    ordered = sorted(versions.values(), key=lambda version: -len(version[1]))
    for parts, losses in ordered[1:]:
        yield _say("different", ordered[0][1], losses, changed(ordered[0][0], parts))


def _parts(runs: pd.DataFrame, code: str) -> Parts:
    if not code:
        return {}
    texts = runs.loc[runs["code"] == code, "code_parts"].dropna()
    return parts_of(texts.iloc[0]) if len(texts) else {}


def _files(runs: pd.DataFrame) -> set[str]:
    """Every file behind the runs."""
    texts = runs["code_parts"].dropna().unique() if "code_parts" in runs else ()
    return {file for text in texts for files in parts_of(text).values() for file in files}
