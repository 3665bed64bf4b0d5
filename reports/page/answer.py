"""What a report answers: the losses in the order of their results, and the verdict on each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from reports.analysis import Section
from reports.names import full_name, plain
from reports.page.commands import changed_values
from reports.page.table import (
    Cell,
    Column,
    Table,
    as_it_is,
    count,
    markdown,
    number,
    rate,
    to_markdown,
)
from reports.page.tables import described, difference, metric_means
from reports.setting_frames import evaluated_runs

VERDICTS = ("better", "worse", "equivalent", "undecided")
OTHER_WAY = {"better": "worse", "worse": "better"}
_DATA = {
    "mnist": "MNIST",
    "fashion": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
}
_OPTIMIZERS = {"sgd": "SGD", "momentum": "SGD with momentum", "adam": "Adam", "adamw": "AdamW"}


def ranked(section: Section) -> list[str]:
    """All losses of a section, the best by the metric first, those without a value last."""
    means = section.at_end(section.means).set_index("loss")["mean"]
    values = means.astype(float).reindex(section.losses)
    ascending = not section.metric.higher_is_better
    return list(values.sort_values(ascending=ascending, kind="stable", na_position="last").index)


def undecided(row: Mapping[str, Any]) -> str:
    """Why a contrast is undecided: "too few seeds (5 of 7)", "too close to tell" and the like."""
    if row["n"] == 0:
        return "nothing to compare"
    reason = _REASONS.get(row["reason"], row["reason"])
    if reason == "too few seeds" and math.isfinite(row["seeds_needed"]):
        return f"too few seeds ({row['n']} of {int(row['seeds_needed'])})"
    return str(reason)


def versus(section: Section) -> pd.DataFrame:
    """A row per loss that was compared with the reference, each read as the loss against it."""
    rows = []
    for row in section.compared(section.epochs).to_dict("records"):
        if section.reference not in (row["a"], row["b"]):
            continue
        if row["a"] == section.reference:
            row |= {
                "a": row["b"], "b": row["a"], "difference": -row["difference"],
                "low": -row["high"], "high": -row["low"],
                "verdict": OTHER_WAY.get(row["verdict"], row["verdict"]),
            }  # fmt: skip
        rows.append(row | {"why": undecided(row) if row["verdict"] == "undecided" else ""})
    return pd.DataFrame(rows, columns=None if rows else ["a", "verdict", "difference", "why"])


def description(title: str, sections: Sequence[Section]) -> str:
    """The answer in Markdown: its sentence, and a table of verdicts for each setting."""
    parts = [f"**{markdown(title)}**"]
    for section in sections:
        parts += [f"*{markdown(section.title)}*"] if len(sections) > 1 else []
        parts.append(to_markdown(table(section)))
    return "\n\n".join(parts)


def diverged_runs(section: Section) -> dict[str, int]:
    """How many evaluated runs of each loss diverged at its best rate; no key: none."""
    runs, chosen = section.at_end(section.runs), section.at_end(section.chosen)
    lost = evaluated_runs(runs, chosen, section.split.evaluation, ("diverged",))
    return {str(loss): int(n) for loss, n in lost["loss"].value_counts().items()}


def table(section: Section) -> Table:
    """The answer as a table: each loss with its metric, the difference and the verdict."""
    metric = section.metric
    means = section.at_end(section.means)
    against = versus(section).set_index("a").to_dict("index")
    frame, column = metric_means(means, metric)
    frame = frame.set_index("loss").reindex(
        [loss for loss in ranked(section) if loss in section.shown]
    )
    diverged = diverged_runs(section)
    if all(loss in diverged for loss in frame.index[frame["runs"].fillna(0) == 0]):
        column = replace(column, none="diverged")
    edges = dict(zip(section.best["loss"], section.best["edge"], strict=True))
    rows = []
    for loss, values in frame.to_dict("index").items():
        row = against.get(str(loss), {})
        verdict = row.get("verdict", "reference" if loss == section.reference else "")
        words = f"undecided: {row['why']}" if verdict == "undecided" else verdict
        edge = {"low": ", lowest tried", "high": ", highest tried"}.get(edges.get(loss, ""), "")
        rows.append(
            values
            | {key: row.get(key, math.nan) for key in ("difference", "low", "high")}
            | {
                "loss": Cell(full_name(f"{loss} {values['tuned']}".rstrip()), str(loss)),
                "verdict": Cell(words, verdict, verdict not in ("undecided", "")),
                "lr": rate(values["lr"])._replace(text=rate(values["lr"]).text + edge),
                "runs": _runs(values["runs"], diverged.get(str(loss), 0)),
            }
        )
    columns = [
        Column("loss", "loss", form=as_it_is),
        column,
        Column("verdict", f"against {plain(section.reference, 20)}", form=as_it_is),
        difference(metric, none=""),
        Column("lr", "learning rate", form=as_it_is),
        Column("runs", "runs", form=as_it_is),
    ]
    shown = pd.DataFrame(rows, columns=None if rows else _KEYS)
    in_caption = ("runs",) if section.tuned else ("lr", "runs")  # by the caption, where it is one
    same = [name for name in in_caption if shown[name].nunique() < 2]
    same += [] if against else ["verdict", "difference"]
    columns = [each for each in columns if each.key not in same]
    runs = rows[0]["runs"].value if "runs" in same and rows else None
    return described("answer", shown, columns, s=section, runs=runs)


def _runs(ok: float, diverged: int) -> Cell:
    cell = count(np.nan_to_num(ok))
    return cell._replace(text=f"{cell.text}, {diverged} diverged") if diverged else cell


_REASONS = {"rates": "not at every good learning rate", "not to be trusted": "outlying seeds"}
_KEYS = ["loss", "lr", "verdict", "difference", "low", "high", "runs"]


def grid(sections: Sequence[Section], titles: Sequence[str], order: Sequence[str]) -> Table:
    """Of several settings: a row each, and the verdict of each loss."""
    rows = []
    for title, section in zip(titles, sections, strict=True):
        versus_reference = versus(section)
        verdicts = dict(zip(versus_reference["a"], versus_reference["verdict"], strict=True))
        values = facts(section)["values"]
        cells, diverged = {}, diverged_runs(section)
        for loss in order:
            verdict = verdicts.get(loss, "reference" if loss == section.reference else "not run")
            value = number(values.get(loss, math.nan), section.metric.digits)
            shown = value.text if value.value is not None else "diverged" * (loss in diverged)
            text = f"{verdict}, {shown}" if shown else verdict
            cells[loss] = Cell(text, verdict, verdict in VERDICTS[:3])
        rows.append({"setting": Cell(title, title)} | cells)
    columns = [Column("setting", "setting", form=as_it_is)]
    columns += [Column(loss, plain(loss), form=as_it_is) for loss in order]
    label = sections[0].metric.label
    return described("verdicts", pd.DataFrame(rows), columns, label=label)


def facts(section: Section) -> dict[str, Any]:
    """What the sentence that answers needs of a section."""
    versus_reference = versus(section)
    means = section.at_end(section.means).set_index("loss")
    order = [loss for loss in ranked(section) if loss in section.shown]
    rows = versus_reference.to_dict("records")
    with_mean = [loss for loss in order if loss in means.index and np.isfinite(means["mean"][loss])]
    return {
        "reference": section.reference,
        "metric": section.metric,
        "epochs": section.epochs,
        "losses": order,
        "best": with_mean[0] if with_mean else None,
        "values": {loss: section.metric.scale * float(means["mean"][loss]) for loss in with_mean},
        "rows": rows,
        "evaluated": len(section.evaluated),
        "by_verdict": {v: [row for row in rows if row["verdict"] == v] for v in VERDICTS},
        "why": pd.Series([str(row["why"]).partition(" (")[0] for row in rows if row["why"]])
        .value_counts()
        .to_dict(),
    }


def words_of(section: Section) -> list[str]:
    """The setting of a section for people: MNIST, convnet, batch size 100, label noise 20 %."""
    if not len(section.runs):  # all are under way
        return [plain(section.title, 200)]
    first = section.runs.iloc[0]
    data, model, optimizer, scheduler, size = (
        first.get(name, "") for name in ("data", "model", "optimizer", "scheduler", "batch_size")
    )
    usual = f"{data}, {model}, {optimizer}, {scheduler}, batch size {size:g}"
    if not section.title.startswith(usual):
        return [plain(section.title, 200)]
    rates = "constant learning rate" if scheduler == "constant" else f"{scheduler} learning rate"
    target = first.get("optimizer._target_")  # a class of Paddle
    if isinstance(target, str):
        optimizer = target.rpartition(".")[2]
    words = [
        _DATA.get(data, plain(data)),
        plain(model),
        f"{_OPTIMIZERS.get(optimizer, plain(optimizer))}, {plain(rates)}",
        f"batch size {size:g}",
    ]
    named = dict(each.partition("=")[::2] for each in section.title[len(usual) :].split())
    values = {key: str(value) for key, value in changed_values(first).items()} | named
    values.pop("optimizer._target_", None)
    return words + [_in_words(key, value) for key, value in values.items()]


def _in_words(key: str, value: str) -> str:
    """A value of a setting: data.label_noise and 0.2 are label noise 20 %."""
    if key == "data.label_noise":
        return f"label noise {100 * float(value):g} %"
    if key == "stop.patience":
        return plain(f"early stopping (patience {value})", 120)
    words = "not set" if value == "None" else value
    return plain(f"{key.rpartition('.')[2].replace('_', ' ')} {words}".strip(), 120)


def titles(sections: Sequence[Section]) -> list[str]:
    """What tells each setting from the others; all of it where nothing is common."""
    words = [words_of(section) for section in sections]
    shared = set(words[0]).intersection(*words[1:]) if words else set()
    named = []
    for each in words:
        own = " · ".join(word for word in each if word not in shared) or " · ".join(each)
        is_option = " " not in own.partition(" · ")[0]  # the name of one stays as it is typed
        named.append(own if is_option else own[:1].upper() + own[1:])
    return named
