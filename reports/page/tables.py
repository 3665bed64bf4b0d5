"""The tables of a section: a frame and its columns each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from reports.analysis import Section
from reports.error_analysis import ErrorAnalysis
from reports.metrics import Metric, read_metric
from reports.names import counted, plain
from reports.page.table import (
    NOT_AVAILABLE,
    Cell,
    Column,
    Table,
    as_it_is,
    count,
    name_cell,
    probability,
    rate,
    tabulate,
)
from reports.secondary_metrics import FURTHER, LIKELIHOOD
from reports.stats import budget
from reports.texts import called, say

LOSS = Column("loss", "loss", form=name_cell)
RATE = Column("lr", "learning rate", form=rate)
TUNED = Column("tuned", "own values", form=name_cell)
RUNS = Column("runs", "runs", form=count)
ENDS = ["ok", "diverged", "failed", "killed", "missing"]
MOST_WRONG, MOST_FEATURES = 16, 20  # single examples of a table, and features of each
MOST_RUNS = 2000
"""Rows of the table of all runs."""

MOST_TRIALS = 8
"""Columns of numbers of trials; the last one is shown as well."""


def described(
    name: str, frame: pd.DataFrame, columns: Sequence[Column], text: str = "", **values: Any
) -> Table:
    """A table with its caption.

    text: the macro of captions.jinja without `table_`; empty: that of the table's name.
    """
    macro = f"table_{text or name.replace('-', '_')}"
    return tabulate(name, say(macro, values, file="captions.jinja"), frame, columns)


def metric_means(means: pd.DataFrame, metric: Metric) -> tuple[pd.DataFrame, Column]:
    """The means of the metric that decides, by its name, and the column that shows them."""
    names = {end: f"{metric.name}_{end}" for end in ("low", "high")}
    frame = means.rename(columns={"mean": metric.name, "n": "runs"} | names)
    ends = (names["low"], names["high"])
    return frame, Column(
        metric.key, metric.label, metric.name, digits=metric.digits, scale=metric.scale,
        ends=ends, bounds=metric.bounds,
    )  # fmt: skip


def best(section: Section, order: Sequence[str]) -> Table:
    """Everything per loss at its own best rate."""
    frame = _ordered(section.best, order)
    edges = frame["edge"].map({"low": ", lowest", "high": ", highest"}).fillna("")
    frame["lr_text"] = list(zip(frame["lr"], edges, strict=True))
    columns = [
        LOSS,
        Column("lr", "learning rate", "lr_text", form=_rate_with_edge),
        *_tuned(frame),
        Column("val_accuracy_percent", "validation (%)", "val_accuracy", scale=100),
        Column(
            "test_accuracy_percent", "test (%)", "test_accuracy", scale=100,
            ends=("test_accuracy_low", "test_accuracy_high"), bounds=(0, 1),
        ),
        *_measured(frame, LIKELIHOOD),
        Column("seconds_per_epoch", "s / epoch", "epoch_seconds"),
        RUNS,
        Column("diverged", "diverged", form=count),
    ]  # fmt: skip
    return described("losses", frame, columns, s=section)


def deciding(section: Section, order: Sequence[str]) -> Table | None:
    """The metric that decides; None for the test accuracy, which `best` has."""
    metric = section.metric
    if metric.name == "test_accuracy":
        return None
    means = section.at_end(section.means)
    frame, column = metric_means(_ordered(means, order), metric)
    without = bool((frame["runs"] == 0).any())
    columns = [LOSS, RATE, *_tuned(frame), column, RUNS]
    return described("metric", frame, columns, s=section, without=without)


def further(section: Section, order: Sequence[str]) -> Table | None:
    """What else the evaluated runs say of each loss; None where no run says any of it."""
    frame = _ordered(section.best, order)
    columns = _measured(frame, FURTHER)
    if not columns:
        return None
    names = [column.source for column in columns]
    return described("further", frame, [LOSS, *columns], names=names)


def to_target(section: Section, order: Sequence[str]) -> Table:
    """When the evaluated runs of each loss reached the target."""
    times = budget.median_times(section.to_target)
    wide = times.pivot(index="loss", columns="measure", values=["median", "low", "high"])
    wide.columns = [f"{measure}_{end}" for end, measure in wide.columns]
    counts = times[times["measure"] == "epochs"].set_index("loss")[["n", "reached"]]
    frame = counts.rename(columns={"n": "runs"}).join(wide).reset_index()
    columns = [
        Column(
            f"{name}_median", f"{name}, median", digits=0 if name == "epochs" else 1,
            ends=(f"{name}_low", f"{name}_high"),
        )
        for name in budget.MEASURES
        if name in set(times["measure"])
    ]  # fmt: skip
    columns = [LOSS, RUNS, Column("reached", "reached it", form=count), *columns]
    seconds = "seconds" in set(times["measure"])
    return described("to-target", _ordered(frame, order), columns, s=section, seconds=seconds)


def expected(section: Section, order: Sequence[str]) -> Table:
    """The best validation accuracy to expect from a number of trials of each loss."""
    frame = section.expected.pivot(index="loss", columns="trials", values="mean")
    trials = [
        Column(f"trials_{n}", counted(n, "trial"), f"trials_{n}", scale=100)
        for n in frame
        if n <= MOST_TRIALS or n == max(frame)
    ]
    frame = frame.rename(columns=lambda n: f"trials_{n}").reset_index()
    return described("trials", _ordered(frame, order), [LOSS, *trials], s=section)


def corruptions(section: Section, order: Sequence[str]) -> Table | None:
    """Accuracy on every kind of corrupted test images; None where no run was tried on any."""
    frame = section.corruptions.pivot(index="loss", columns="corruption", values="accuracy")
    kinds = [
        Column(f"{kind}_percent", str(kind).replace("_", " "), kind, scale=100) for kind in frame
    ]
    frame = _ordered(frame.reset_index(), order)
    return described("corruptions", frame, [LOSS, *kinds]) if len(frame) else None


def classes(errors: ErrorAnalysis, order: Sequence[str]) -> Table:
    """Test accuracy per class and loss."""
    frame = errors.classes.pivot(index="loss", columns="class", values="accuracy")
    frame = frame[errors.classes["class"].drop_duplicates()]
    shown = [Column(f"class_{name}", name, name, scale=100) for name in frame]
    return described("classes", _ordered(frame.reset_index(), order), [LOSS, *shown])


def most_wrong(errors: ErrorAnalysis, examples: pd.DataFrame) -> Table:
    """The test examples that runs classified wrongly most often, with their features."""
    wrong = errors.images[errors.images["wrong"] > 0]
    rows = wrong.sort_values(["wrong", "image"], ascending=[False, True]).head(MOST_WRONG)
    shown = examples.iloc[rows["image"]].iloc[:, :MOST_FEATURES]
    features = [
        ", ".join(f"{plain(name)} {value:.4g}" for name, value in row.items())
        + (", ..." if examples.shape[1] > MOST_FEATURES else "")
        for _, row in shown.iterrows()
    ]
    columns = [
        Column("example", "example", form=count),
        Column("label", "label", form=name_cell),
        Column("taken_for", "read as", form=name_cell),
        Column("wrong_percent", "wrong (% of runs)", "wrong", digits=0, scale=100),
        Column("features", "features", form=lambda text: Cell(text, text)),
    ]
    frame = rows.assign(example=rows["image"], features=features)
    return described("most-wrong", frame, columns)


PAIR = (
    Column("", "contrast", "pair", form=name_cell),
    Column("a", form=name_cell),
    Column("b", form=name_cell),
)
P_VALUES = (Column("p", "p", form=probability), Column("p_holm", "Holm p", form=probability))
VERDICT = Column("verdict", "verdict", "marked", form=as_it_is)


def pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """Contrasts with what `PAIR` and `VERDICT` show."""
    return frame.assign(
        pair=[f"{a} − {b}" for a, b in zip(frame["a"], frame["b"], strict=True)],
        marked=[Cell(verdict, verdict, verdict != "undecided") for verdict in frame["verdict"]],
    )


def difference(metric: Metric, none: str = NOT_AVAILABLE) -> Column:
    """The column of a difference with its interval."""
    heading = "difference (points)" if metric.in_points else "difference"
    return Column(
        "difference", heading, digits=metric.digits, signed=True, ends=("low", "high"),
        bounds=metric.differences, none=none,
    )  # fmt: skip


def contrasts(section: Section, frame: pd.DataFrame, name: str, caption: str) -> Table:
    """Contrasts with everything behind their verdicts."""
    frame = pairs(frame).assign(
        pair=[
            f"{called(row.a, row.tuned_a)} − {called(row.b, row.tuned_b)}"
            for row in frame.itertuples()
        ],
        pairs=[
            Cell(f"{row.n}" if row.paired else f"{row.n_a} / {row.n_b}", int(row.n))
            for row in frame.itertuples()
        ],
        lost=[
            Cell(f"{row.diverged_a}, {row.diverged_b}", int(row.diverged_a + row.diverged_b))
            for row in frame.itertuples()
        ],
    )
    diverged = bool((frame["diverged_a"] + frame["diverged_b"]).any())
    if diverged:
        ranks = (frame["interval"] == "ranks").any()
        caption += " " + say("diverged_count", ranks, file="captions.jinja")
    digits = section.metric.digits
    many, equal = frame["epochs"].nunique() > 1, (frame["view"] == "equal").any()
    columns = [
        *PAIR,
        *(Column(each, form=name_cell) for each in ("tuned_a", "tuned_b") if frame[each].any()),
        *([Column("epochs", "epochs", form=count)] if many else []),
        *([Column("lr", "learning rate", "lr_a", form=rate)] if equal else []),
        difference(section.metric),
        Column("n", "n", "pairs", form=as_it_is),
        *([Column("", "diverged (A, B)", "lost", form=as_it_is)] if diverged else []),
        *(Column(each, form=count) for each in ("diverged_a", "diverged_b") if diverged),
        *(
            Column(each, digits=digits, signed=True)
            for each in ("seeds_only_low", "seeds_only_high")
        ),
        Column("median", "median", digits=digits, signed=True),
        Column("trimmed_mean", digits=digits, signed=True),
        P_VALUES[0],
        Column("p_seeds", "p of seeds", form=probability),
        P_VALUES[1],
        Column("d_z", "d_z", signed=True),
        Column("p_better", "P(A beats B)", ends=("p_better_low", "p_better_high")),
        VERDICT,
        Column("reason", "reason", form=name_cell),
        Column("generalises", form=name_cell),
    ]
    return tabulate(name, caption, frame, columns)


def denominators(section: Section, order: Sequence[str]) -> Table:
    """What became of every run."""
    columns = [Column(key, key, form=count) for key in ("expected", *ENDS)]
    frame = _ordered(section.denominators, order)
    return described("denominators", frame, [LOSS, *columns])


def epochs(section: Section, order: Sequence[str]) -> Table:
    """The metric at each length of training."""
    frame, column = metric_means(_ordered(section.means, order, "epochs"), section.metric)
    columns = [Column("epochs", "epochs", form=count), LOSS, RATE, *_tuned(frame), column, RUNS]
    return described("epochs", frame, columns, s=section)


def rates(section: Section, order: Sequence[str]) -> Table:
    """Mean validation accuracy of every loss at every rate, with what diverged."""
    frame = section.at_end(section.rates).sort_values(["lr", "tuned"])
    accuracy = Column("val_accuracy_percent", "validation accuracy (%)", "val_accuracy", scale=100)
    columns = [LOSS, RATE, *_tuned(frame), accuracy]
    columns += [Column(key, key, form=count) for key in ENDS]
    return described("rates", _ordered(frame, order), columns, s=section)


def runs(section: Section, order: Sequence[str]) -> Table:
    """All runs, a row each."""
    metric = section.metric
    frame = _ordered(section.runs.sort_values(["epochs", "lr", "seed"]), order)
    if metric.name not in frame:
        frame[metric.name] = float("nan")
    frame["short"] = frame["run_id"].str[:8]
    values = {"val_accuracy": read_metric("val_accuracy"), metric.name: metric}
    columns = [
        LOSS,
        RATE,
        *_tuned(frame),
        Column("epochs", "epochs", form=count),
        Column("seed", "seed", form=count),
        Column("outcome", "outcome", form=name_cell),
        *(
            Column(each.key, each.label, name, digits=each.digits, scale=each.scale)
            for name, each in values.items()
        ),
        Column("seconds", "seconds", digits=1),
        Column("", "run", "short", form=name_cell),
        Column("run_id", form=name_cell),
    ]
    return described("runs", frame.head(MOST_RUNS), columns, n=len(frame))


def curves(section: Section) -> Table:
    """Validation accuracy and each loss's own value after every epoch, for programs."""
    own = section.own.pivot_table(
        index=["loss", "epoch"], columns="part", values="mean"
    ).reset_index()
    frame = section.bands.merge(own, on=["loss", "epoch"], how="left")
    accuracy = Column(
        "val_accuracy_percent", "validation accuracy (%)", "mean", scale=100,
        ends=("low", "high"),
    )  # fmt: skip
    columns = [LOSS, Column("epoch", "epoch", form=count), accuracy]
    columns += [Column(f"{p}_loss", f"{p} loss", p, digits=4) for p in ("training", "validation")]
    for part in ("training", "validation"):
        if part not in frame:
            frame[part] = float("nan")
    return described("curves", frame, [*columns, Column("runs", "runs", "n", form=count)])


def _ordered(frame: pd.DataFrame, order: Iterable[str], *first: str) -> pd.DataFrame:
    """The rows of these losses in this order, by other columns first."""
    places = {loss: place for place, loss in enumerate(order)}
    kept = frame[frame["loss"].isin(list(places))]
    kept = kept.assign(place=kept["loss"].astype(object).map(places))
    return kept.sort_values([*first, "place"], kind="stable", ignore_index=True)


def _measured(frame: pd.DataFrame, metrics: Sequence[Metric]) -> list[Column]:
    """A column for each metric that some loss has a value of."""
    return [
        Column(each.key, each.column, each.name, digits=each.digits, scale=each.scale)
        for each in metrics
        if frame[each.name].notna().any()
    ]


def _tuned(frame: pd.DataFrame) -> list[Column]:
    """The column of own values that were tuned, where some were."""
    return [TUNED] if (frame["tuned"] != "").any() else []


def _rate_with_edge(value: tuple[float, str]) -> Cell:
    cell = rate(value[0])
    return cell._replace(text=cell.text + value[1])
