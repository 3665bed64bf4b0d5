"""The table at the end of a command, and what comes after it. Texts only: nothing is printed."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import contract, places, terminal
from experiments.config import Settings
from experiments.contract import command, override

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run


_SETTINGS = ["loss", "lr", "epochs", "seed"]  # columns
_RESULTS = ["val acc", "test acc", "time", "outcome", "run id"]
_CONSTANT = "constant"  # the accuracy with which a diverged run counts, where rows are compared
MOST_ROWS = 25
WIDTH = 100


def row(job: Settings, run: Run | None) -> dict[str, Any]:
    """One line of the table: the run, and what the store has of it."""
    values: dict[str, Any] = {"loss": job.choices["loss"], "lr": f"{job.lr:g}"}
    values |= {"epochs": job.epochs, "seed": job.seed}
    own = {name: value for name, value in job.params.items() if name not in values}
    values |= {name: "null" if value is None else value for name, value in own.items()}
    if run is None:
        return values | dict.fromkeys(_RESULTS, "") | {"outcome": "missing"}
    metrics, info = run.data.metrics, run.info
    seconds = ((info.end_time or info.start_time) - info.start_time) / 1000
    if run.data.tags.get("outcome") == "diverged":
        values[_CONSTANT] = contract.constant_accuracy(run.data.tags.get("classes"))
    return values | {
        "val acc": contract.validation_accuracy(metrics),
        "test acc": metrics.get("test/accuracy"),
        "time": terminal.duration(seconds),
        "outcome": run.data.tags.get("outcome", info.status.lower()),
        "run id": info.run_id[:8],
    }


def means(rows: Sequence[Mapping[str, Any]], tuning_seeds: int = 0) -> dict[str, float]:
    """The mean test accuracy of each loss at its best learning rate and own values.

    Only runs of the most epochs count. Empty where the runs have several settings. As in reports, a
    diverged run counts as a constant answer.

    Args:
        rows: From `row`.
        tuning_seeds: How many seeds, from 0 on, only chose the best by validation accuracy; the
            mean is over the others. 0: all choose, and all count.
    """
    import pandas as pd

    frame = pd.DataFrame(rows)
    own = _differing(frame)
    if any(not name.startswith("loss.") for name in own):
        return {}
    longest = frame[frame["epochs"] == frame["epochs"].max()]
    table = _by_configuration(longest, own, tuning_seeds)
    best = table.loc[_best(table, ["loss"])]
    return best.set_index("loss")["judged"].dropna().to_dict()


def _differing(frame: pd.DataFrame) -> list[str]:
    """The own values of options that differ between runs that have them."""
    own = [name for name in frame if name not in (*_SETTINGS, *_RESULTS, _CONSTANT)]
    return [name for name in own if frame[name].astype(str)[frame[name].notna()].nunique() > 1]


def _by_configuration(frame: pd.DataFrame, own: list[str], tuning_seeds: int) -> pd.DataFrame:
    """A row for each configuration, with texts to show and numbers to compare.

    `score` is the mean validation accuracy of the runs that choose, to 12 digits, `scores` their
    number, and `judged` the mean test accuracy of those that are judged.
    """
    import pandas as pd

    good = frame["outcome"].isin(("ok", "done"))
    test = pd.to_numeric(frame["test acc"], errors="coerce").where(good)
    validation = pd.to_numeric(frame["val acc"], errors="coerce").where(test.notna())
    constant = frame.get(_CONSTANT, math.nan)
    frame = frame.assign(
        **{"val acc": validation, "test acc": test},
        score=validation.fillna(constant).where(frame["seed"] < (tuning_seeds or math.inf)),
        judged=test.fillna(constant).where(frame["seed"] >= tuning_seeds),
    )
    frame[own] = frame[own].astype(object).where(frame[own].notna(), "").astype(str)
    groups = frame.groupby(["loss", "lr", "epochs", *own], sort=False)
    table = groups[["val acc", "test acc"]].agg(_mean)
    table["runs"] = groups["outcome"].agg(_counted)
    table["scores"] = groups["score"].count()
    table["score"] = groups["score"].mean().round(12)
    table["judged"] = groups["judged"].mean()
    return table.reset_index()


def _best(table: pd.DataFrame, groups: list[str]) -> pd.Index:
    """The row of each group that a report would choose.

    That with the most runs that choose; of these, with the best score; of these, with the smallest
    learning rate.
    """
    rates = table.assign(rate=table["lr"].astype(float))
    order = ["scores", "score", "rate"]
    ordered = rates.sort_values(order, ascending=[False, False, True], kind="stable")
    return ordered.groupby(groups, sort=False).head(1).index


def text(rows: list[dict[str, Any]], tuned: Collection[str] = (), tuning_seeds: int = 0) -> str:
    """The rows as text, with those of the options' own values that differ between rows.

    More than `MOST_ROWS` runs are shown as configurations, with the mean over their seeds.

    Args:
        rows: From `row`.
        tuned: Names of own values among which the best is marked, as among learning rates.
        tuning_seeds: How many seeds, from 0 on, choose the best; 0: all.
    """
    import pandas as pd

    frame = pd.DataFrame(rows)
    own = _differing(frame)
    if "data.name" in own and frame["data.name"].equals(frame.get("data")):
        own.remove("data.name")  # it says more only where several files are data=table
    if len(frame) > MOST_ROWS:
        return _configurations(frame, own, tuned, tuning_seeds)
    shown = frame[_SETTINGS + own + _RESULTS].copy()
    for name in ("val acc", "test acc"):
        shown[name] = [_percent(value) for value in frame[name]]
    return _narrow(shown.astype(object).where(shown.notna(), "").astype(str), own)


def _configurations(
    frame: pd.DataFrame, own: list[str], tuned: Collection[str], tuning_seeds: int
) -> str:
    """A row for each configuration; of many those at the best learning rate of each loss."""
    table = _by_configuration(frame, own, tuning_seeds)
    apart = ["loss", "epochs", *(name for name in own if name not in tuned)]
    best = table.index.isin(_best(table, apart))
    table.insert(0, "", ["*" if star else "" for star in best & (table["val acc"] != "")])
    scored = table["score"].notna().any()
    notes = []
    if scored:
        of_seeds = f" with seeds 0 to {tuning_seeds - 1}" if tuning_seeds else ""
        notes.append(f"* best validation accuracy of this loss{of_seeds}")
        notes[0] += "; mean ± standard deviation over seeds"
        if (frame["outcome"] == "diverged").any():
            notes.append("to choose, a diverged run counts as a constant answer")
    if len(table) > MOST_ROWS:
        few = scored and best.sum() <= MOST_ROWS
        which = "best of each loss" if few else f"{'best' if scored else 'first'} {MOST_ROWS}"
        notes.append(f"{len(table)} configurations; the {which} are shown")
        table = table[best] if scored else table
        if not few:
            table = table.sort_values("score", ascending=False, kind="stable").head(MOST_ROWS)
    note = ";\n  ".join(notes)
    return f"{_narrow(table.drop(columns=['scores', 'score', 'judged']), own)}\n{note}".rstrip()


def _narrow(table: pd.DataFrame, own: list[str]) -> str:
    """The table as text; own values share a column where it is wider than `WIDTH` otherwise."""
    shown = table.to_string(index=False)
    if len(own) < 2 or len(shown.partition("\n")[0]) <= WIDTH:
        return shown
    joined = [
        " ".join(
            f"{name.removeprefix('loss.')}={value.removesuffix('.0')}"
            for name, value in zip(own, values, strict=True)
            if value
        )
        for values in table[own].itertuples(index=False)
    ]
    place = list(table).index(own[0])
    table = table.drop(columns=own)
    table.insert(place, "own values", joined)
    return table.to_string(index=False)


def _mean(accuracies: pd.Series) -> str:
    """Mean and standard deviation in per cent: 98.12 ± 0.10 %."""
    count, mean, deviation = (100 * accuracies).agg(["count", "mean", "std"])
    return f"{mean:.2f} ± {deviation:.2f} %" if count > 1 else f"{mean:.2f} %" if count else ""


def _counted(outcomes: pd.Series) -> str:
    """How many runs ended in which way: '9 ok, 1 diverged'."""
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.value_counts().items())


def at_the_edge(pairs: Sequence[tuple[Settings, Run | None]], tuned: Collection[str]) -> list[str]:
    """A line for each loss whose best learning rate is the last of those that were tried.

    Args:
        pairs: The runs that choose, each with its settings.
        tuned: Names of own values that are tuned; the rate is that of the best trial.
    """
    from experiments import tuning

    jobs = [job for job, _ in pairs]
    values = [{name: str(value) for name, value in job.params.items()} for job in jobs]
    names = {name for each in values for name in each} - {"lr", "seed", "loss", *tuned}
    apart = {name for name in names if len({other.get(name) for other in values}) > 1}
    tried: dict[str, dict[str, dict[float, list[float]]]] = {}
    for (job, run), own in zip(pairs, values, strict=True):
        if run is not None and run.info.status == "FINISHED":
            named = [f"{name}={own[name]}" for name in own if name in apart]
            trial = "".join(f" {name}={own[name]}" for name in sorted(own.keys() & set(tuned)))
            by_trial = tried.setdefault(" ".join([f"loss={own['loss']}", *named]), {})
            rates = by_trial.setdefault(trial, {})
            rates.setdefault(job.lr, []).append(tuning.score(run))
    lines = []
    for loss, each in tried.items():
        best = max(
            each, key=lambda trial: statistics.fmean(each[trial][tuning.choose(each[trial])])
        )
        lines.append(tuning.at_the_edge(loss + best, each[best]))
    return list(filter(None, lines))


def of_one_seed(jobs: Sequence[Settings], runs: Sequence[Run | None]) -> str:
    """What runs of several losses with one seed say; empty unless each loss has just one run."""
    scores: dict[str, float] = {}
    for job, run in zip(jobs, runs, strict=True):
        loss = job.choices["loss"]
        if run is None or run.data.tags.get("outcome") != "ok" or loss in scores:
            return ""
        scores[loss] = run.data.metrics.get("test/accuracy", math.nan)
    if len(scores) < 2 or len({job.seed for job in jobs}) > 1:
        return ""
    best, *_, worst = sorted(scores, key=lambda loss: scores[loss], reverse=True)
    compared = (
        f"That of {best} answers the most test examples right ({_percent(scores[best])}),\nthat of "
        f"{worst} the fewest ({_percent(scores[worst])})."
    )
    if scores[best] == scores[worst]:
        compared = f"All answer {_percent(scores[best])} of the test examples right."
    return (
        f"One network was trained with each loss. {compared} The report says how sure this is for "
        "new examples. Whether\nthe losses differ needs more seeds: add 'seed=range(10)'."
    )


def next_commands(
    settings: Settings,
    parent: str = "",
    tuning_seeds: int = 0,
    question: Mapping[str, Any] | None = None,
    link: str = "",
) -> str:
    """The two commands that a user will want next.

    Args:
        settings: Those of one of the runs.
        parent: The sweep's run.
        tuning_seeds: How many seeds, from 0 on, only chose rates.
        question: What the report is to be asked, as far as it is not usual.
        link: Where MLflow's pages show the curves of the losses.
    """
    directory = Path(settings.tracking["directory"] or "")
    uri = places.store_uri(settings.tracking["uri"], directory)
    not_default = uri != places.store_uri(places.DEFAULT_URI, directory)
    exported = os.environ.get("MLFLOW_TRACKING_URI")  # which the next commands would follow, too
    other_backend = os.environ.get("MLFLOW_BACKEND_STORE_URI") or (directory / "mlruns").exists()
    browse = "mlflow ui"
    if uri.startswith("http"):
        browse = f"browse {uri}"
    elif not_default or exported or other_backend:
        browse = command(browse, "--backend-store-uri", uri)
    words = [override("tracking.uri", uri)] if not_default or exported else []
    words += [override("sweep", parent)] if parent else []
    words += [override("tuning_seeds", list(range(tuning_seeds)))] if tuning_seeds else []
    usual = {"metric": contract.METRIC, "margin": None, "reference": contract.REFERENCE}
    for name, value in (question or {}).items():
        if name in usual and value not in (None, usual[name]):
            words.append(override(name, value))
    if not parent:  # a sweep is found wherever it is
        words.append(override("experiment", settings.experiment))
    lines = [browse, *([link] if link else []), command("generate report", *words)]
    return "next:  " + "\n       ".join(lines)


def _percent(share: Any) -> str:
    return f"{100 * share:.2f}%" if isinstance(share, float) and not math.isnan(share) else ""
