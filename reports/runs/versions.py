"""Versions of the code that computed a run: which one counts, and how two of them differ.

A run's tag `code` is the digest of the code that computed its numbers, its tag `code.parts` the
files behind it. A run without the tag is of unknown code. Runs of different code are never pooled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from experiments.contract import GROUPS, Parts, changed_files
from reports.names import counted
from reports.runs.naming import loss_values, setting_key
from reports.runs.records import Run, age
from reports.runs.wording import some

UNKNOWN = "unknown"
DIGITS = 7
"""Shown of a digest; more where two digests begin alike."""


def code_of(run: Run) -> str:
    """The digest of the code that computed a run; empty where it is unknown."""
    return run.tags.get("code", "")


def parts_of(text: object) -> dict[str, dict[str, str]]:
    """The content of a tag `code.parts`; empty where there is none, or it cannot be read."""
    try:
        content = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        str(part): {str(file): str(digest) for file, digest in files.items()}
        for part, files in content.items()
        if isinstance(files, dict)
    }


def shortened(codes: Iterable[str]) -> dict[str, str]:
    """Each digest as it is shown; a missing one (empty) is unknown.

    >>> shortened(["0123456789", ""])
    {'0123456789': '0123456', '': 'unknown'}
    """
    distinct = list(dict.fromkeys(codes))
    digits = DIGITS
    longest = max(map(len, distinct), default=0)
    while digits < longest and len({code[:digits] for code in distinct}) < len(distinct):
        digits += 1
    return {code: code[:digits] or UNKNOWN for code in distinct}


def version_marks(runs: Sequence[Run]) -> list[str]:
    """The mark "@digest" for each run of a loss that several versions of its code ran, else "".

    A version that shares a setting with another one is marked in every setting.
    """
    losses = [json.dumps(loss_values(run)) for run in runs]
    codes: dict[tuple[str, str], set[str]] = {}
    for run, loss in zip(runs, losses, strict=True):
        codes.setdefault((loss, setting_key(run)), set()).add(code_of(run))
    marked = {
        (loss, code) for (loss, _), digests in codes.items() if len(digests) > 1 for code in digests
    }
    short = shortened(code for _, code in sorted(marked))
    return [
        f"@{short[code_of(run)]}" if (loss, code_of(run)) in marked else ""
        for run, loss in zip(runs, losses, strict=True)
    ]


def newest_code(runs: Sequence[Run]) -> tuple[list[Run], list[tuple[Run, Run]]]:
    """Of each loss in each setting the runs of its newest code, and the others.

    The newest code is that of the newest finished run; where none is finished, of the newest run.

    Returns:
        The runs that stay, in the order given, and each other run with the newest run of the code
        that was chosen instead.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    keys = [(setting_key(run), json.dumps(loss_values(run))) for run in runs]
    for key, run in zip(keys, runs, strict=True):
        groups.setdefault(key, []).append(run)
    newest = {
        key: max(group, key=lambda run: (run.status == "FINISHED", *age(run)))
        for key, group in groups.items()
    }
    kept, left = [], []
    for key, run in zip(keys, runs, strict=True):
        if code_of(run) == code_of(newest[key]):
            kept.append(run)
        else:
            left.append((run, newest[key]))
    return kept, left


def left_out(left: Sequence[tuple[Run, Run]]) -> list[str]:
    """What `newest_code` left out: a sentence for each kind of change."""
    reasons: dict[tuple[str, str], list[Run]] = {}
    for run, chosen in left:
        reasons.setdefault((_which(run, chosen), _why(run, chosen)), []).append(run)
    notes = []
    for (which, why), runs in reasons.items():
        names = some(sorted({run.params["loss"] for run in runs}))
        short = shortened(sorted({code_of(run) for run in runs}))
        digests = "" if set(short) == {""} else f" ({some(list(short.values()))})"
        notes.append(f"left out: {counted(len(runs), 'run')} of {names} {which}{digests}{why}")
    return notes


def taken(runs: Sequence[Run], planned: Parts) -> list[str]:
    """The runs of a sweep that are of other code than its command had, a sentence for each version.

    Args:
        runs: of the sweep's grid.
        planned: the files that each option of the grid reached, by "loss=ce" and the like, and
            those of the training.
    """
    from experiments.source_digest import Code

    other: dict[str, list[Run]] = {}
    for run in runs:
        names = {group: f"{group}={run.params[group]}" for group in GROUPS}
        names["training"] = "training"
        if planned.keys() >= set(names.values()):
            code = Code({part: dict(planned[name]) for part, name in names.items()}, "", {}).digest
            if code != code_of(run):
                other.setdefault(code_of(run), []).append(run)
    short = shortened(other)
    return [
        f"{counted(len(same), 'run')} of {some(sorted({run.params['loss'] for run in same}))} "
        f"taken as {'it was' if len(same) == 1 else 'they were'}, made by other code "
        f"({short[code]}) than the sweep's command had: reuse=any"
        for code, same in other.items()
    ]


def _which(run: Run, chosen: Run) -> str:
    if not code_of(run):
        return "whose code is unknown, which are never pooled with runs of known code"
    if age(run) > age(chosen):
        return "not finished, made by other code"
    return "made by earlier code"


def _why(run: Run, chosen: Run) -> str:
    if not code_of(run) or not code_of(chosen):
        return "" if code_of(chosen) else "; the code of the newest ones is unknown"
    files = changed_files(*(parts_of(each.tags.get("code.parts")) for each in (run, chosen)))
    return f": {some(files)} changed" if files else ""
