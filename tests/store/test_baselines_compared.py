"""Losses of one's own compared with bundled results."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.commands import ROOT
from helpers.docs import write_examples
from helpers.forked import generate
from helpers.synthetic_runs import predictions
from helpers.synthetic_runs import runs as synthetic
from omegaconf import OmegaConf

from reports import analysis, verdicts
from reports.names import short_names
from reports.page import caveats, provenance
from reports.question import Question
from reports.runs import SHIPPED, Baselines, load, load_baselines
from reports.runs.baselines import read
from reports.stats.contrasts import contrasts

# ---- the comparison ------------------------------------------------------------------------------


def test_each_loss_of_ones_own_is_compared_with_every_other_one() -> None:
    summary, _ = synthetic(("ce", "focal", "mse", "square"))
    rows = contrasts(summary, subjects=("mse", "square", "nowhere"))
    assert (rows["a"] + " " + rows["b"]).tolist() == [
        *("mse ce", "mse focal", "mse square", "square ce", "square focal")
    ]
    assert set(rows["family"]) == {5}
    (ours,) = rows[(rows["a"] == "mse") & (rows["b"] == "ce")].to_dict("records")
    theirs = contrasts(summary, reference="ce").set_index("a").loc["mse"]
    assert ours["difference"] == theirs["difference"] and ours["p"] == theirs["p"]
    assert ours["p_holm"] > theirs["p_holm"] and theirs["family"] == 3


def marked(origin: Baselines | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Synthetic runs of three losses, of which two are baselines."""
    summary, curves = synthetic(("mine", "ce (baseline)", "mse (baseline)"))
    option = summary["loss"].str.removesuffix(" (baseline)")
    return summary.assign(baseline=option != summary["loss"], loss_option=option), curves


def test_the_page_says_where_the_baselines_come_from(baselines_file: Path) -> None:
    runs, _ = marked()
    baselines = read(baselines_file)
    (first, alarm), (rounding, _), *warnings = provenance.sentences(baselines, runs)
    assert first.startswith("2 losses here are baselines") and not alarm
    parts = ["lr=0.003,0.1", "PaddlePaddle 3.3.1", "commit cccccccccc,", "2023-11-14 22:14 UTC"]
    for part in (*parts, "on a processor"):
        assert part in first
    assert "round float32 differently" in rounding
    assert warnings == [("1 run of the baselines' sweep had no finished run.", True)]
    facts = {term: text for term, text, *_ in provenance.facts(baselines)}
    assert baselines.sha256 in facts["Their digest"] and "seeds 0, 1" in facts["Baselines"]

    others = runs.assign(paddle_version="3.2.0", seed=runs["seed"] + 100)
    said = " ".join(text for text, alarm in provenance.sentences(baselines, others) if alarm)
    assert "with PaddlePaddle 3.3.1, the runs here with 3.2.0" in said
    assert "No seed is common to the runs here and the baselines" in said
    assert "run seeds 0, 1." in said
    assert "no baseline" in provenance.sentences(baselines, runs[~runs["baseline"]])[0][0].lower()


def test_the_caveats_name_several_processors() -> None:
    runs, curves = marked()
    for processors, alarm in ((["one", "one", "one"], False), (["one", "two", "two"], True)):
        each = dict(zip(runs["loss"].unique(), processors, strict=True))
        summary = runs.assign(processor=runs["loss"].map(each), kernel="stock")
        (section,) = analysis.sections(summary, curves, Question(reference="mine"), predictions)
        ((_, text, loud, *_),) = [each for each in caveats.facts(section) if each[0] == "Machine"]
        assert loud is alarm and ("one, two" in text) is alarm and "kernel stock" in text


def test_a_long_name_keeps_its_mark() -> None:
    long = ["ce_double_softmax (baseline)", "ce_double_softmax", "x" * 40 + " (baseline)"]
    short = ["ce_doub…tmax (baseline)", "ce_doub…tmax", "xxxxxxx…xxxx (baseline)"]
    assert list(short_names(long, 12).values()) == short


def test_verdicts_with_baselines_are_derived_again() -> None:
    summary, curves = marked()
    question = Question(reference="mine", subjects=("mine",))
    sections = analysis.sections(summary, curves, question, predictions)
    assert sections[0].without_baselines == ["mine"]
    assert sections[0].losses == ["mine", "ce (baseline)", "mse (baseline)"]
    content = json.loads(verdicts.write(verdicts.document(sections, {})))
    assert {comparison["a"] for comparison in content["contrasts"]} == {"mine"}
    assert verdicts.check(content, summary) == []
    worse = summary["baseline"] & (summary["seed"] == 5)
    changed = np.where(worse, 0.1, summary["test_accuracy"])
    broken = verdicts.check(content, summary.assign(test_accuracy=changed))
    assert broken and all(line.startswith("mine ") for line in broken)


# ---- the whole -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_loss_of_ones_own_against_the_baselines(tmp_path: Path, run_command) -> None:
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir(), mine.mkdir()
    write_examples(mine)
    small = ["data=digits", "model=softmax", "data.train_size=500", "epochs=2", "lr=0.1,0.3"]
    small += ["data.validation_size=200", "seed=range(8)"]
    done = run_command(theirs, "preset=baselines", "loss=ce,brier,mse", *small)
    assert done.returncode == 0, done.stderr
    (sweep,) = re.findall(r"generate report sweep=(\w+)", done.stdout)
    made = generate(theirs, f"sweep={sweep}", "baselines_to=../kept/some.json.gz")
    assert made.returncode == 0, made.stderr
    assert "48 runs, losses: 3" in made.stdout and "LEFT OUT" not in made.stdout
    origin = read(tmp_path / "kept" / "some.json.gz").origin
    command = "python experiments/run.py preset=baselines data=digits model=softmax"
    assert origin.commands[0].startswith(command)
    assert "paddlepaddle==3.3.1" in origin.versions and origin.processors and origin.kernels

    words = ["--config-dir", "options", "-m", "preset=baselines", "loss=tempered", *small]
    done = run_command(mine, *words, PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    (own,) = re.findall(r"generate report sweep=(\w+)", done.stdout)
    said = generate(
        mine, f"sweep={own}", "baselines=../kept/some.json.gz", "output=page", PYTHONPATH="."
    )
    assert said.returncode == 0, said.stderr
    assert f"stored with the sweep's run {own}" in said.stdout
    content = json.loads((mine / "page" / "verdicts.json").read_text())
    best = [comparison for comparison in content["contrasts"] if comparison["view"] == "best"]
    assert {comparison["a"] for comparison in best} == {"tempered"}
    assert [comparison["b"] for comparison in best] == [
        f"{loss} (baseline)" for loss in ("brier", "ce", "mse")
    ]
    for each in best:
        assert (each["paired"], each["n"], each["family"]) == (True, 8, 3)
    ids = {run.run_id for run in read(tmp_path / "kept" / "some.json.gz").runs}
    assert all(len(ids & set(comparison["run_ids"])) == 8 for comparison in best)
    page = (mine / "page" / "index.html").read_text(encoding="utf-8")
    for part in ("ce (baseline)", "3 losses here are baselines", "SHA-256", best[0]["sentence"]):
        assert html.escape(part) in page
    checked = generate(mine, "check=page/verdicts.json", PYTHONPATH=".")
    assert checked.returncode == 0, checked.stderr
    assert "verdicts of page/verdicts.json hold" in checked.stdout

    words = ["loss=ce", "data=digits", "model=softmax", "epochs=1", "experiment=another"]
    done = run_command(mine, *words)
    assert done.returncode == 0, done.stderr
    refused = generate(mine, "experiment=another", "baselines=../kept/some.json.gz")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "  epochs: 1 here, 2 in the baselines" in refused.stderr


def test_the_file_that_comes_with_the_project_has_the_losses_of_its_preset() -> None:
    baselines = read(SHIPPED)
    losses = {run.params["loss"] for run in baselines.runs}
    preset = OmegaConf.load(ROOT / "conf" / "preset" / "baselines.yaml")
    assert losses == {*preset.hydra.sweeper.params.loss.split(",")}
    assert baselines.origin.commands == [
        "python experiments/run.py preset=baselines",
        f"generate report sweep=ID baselines_to={SHIPPED.relative_to(ROOT).as_posix()}",
    ]
    assert baselines.origin.unfinished == 0
    assert len(baselines.runs) == 31 * 8 * 10  # losses, rates, seeds
    assert SHIPPED.stat().st_size < 2_500_000
    text = json.dumps(dataclasses.asdict(baselines))
    for place in ("/ro" + "ot/", "/ho" + "me/", "/wo" + "rk/"):
        assert place not in text


@pytest.mark.mnist
def test_a_sample_of_the_shipped_baselines_is_found_again(tmp_path: Path, run_command) -> None:
    """They record no code: only running them again can show that their numbers still hold."""
    words = ["loss=ce,huber", "lr=0.01", "seed=0", "epochs=3", "tracking.log_model=false"]
    words += ["data.train_size=5000", "data.validation_size=5000", "hydra.launcher.n_jobs=2"]
    done = run_command(tmp_path, "-m", *words)
    assert done.returncode == 0, done.stderr
    now = load(f"sqlite:///{tmp_path}/mlflow.db").summary.set_index("loss")
    theirs = load_baselines().summary
    then = theirs[(theirs["lr"] == 0.01) & (theirs["seed"] == 0)].set_index("loss_option")
    for loss, likelihood in (("ce", "test_nll"), ("huber", "test_mean_absolute_error")):
        for name in ("init_hash", "head_hash", "order_hash", "data_digest"):
            assert now.loc[loss, name] == then.loc[loss, name], (loss, name)
        # Kinds of processors round float32 differently, which shows after 150 steps.
        for name, allowed in (("test_accuracy", {"abs": 0.002}), (likelihood, {"rel": 0.002})):
            assert now.loc[loss, name] == pytest.approx(then.loc[loss, name], **allowed)
