"""Every preset, in a form small enough to be asked here.

It runs, and its report is made.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.commands import ROOT
from helpers.doc_tables import CHINESE, OPTIONS, rows, section
from helpers.forked import generate
from helpers.stores import runs
from omegaconf import OmegaConf

PRESETS = sorted(path.stem for path in (ROOT / "conf" / "preset").glob("*.yaml"))
assert len(PRESETS) >= 11


@pytest.mark.parametrize("question", PRESETS)
def test_a_saved_question_says_what_it_asks_takes_and_showed(question):
    text = (ROOT / "conf" / "preset" / f"{question}.yaml").read_text(encoding="utf-8")
    said = re.findall(r"^# (\w+): +(\S.*)", text, flags=re.MULTILINE)
    assert [name for name, _ in said] == ["Question", "Command", "Runs", "Time", "Showed"]
    assert dict(said)["Command"].startswith(f"python experiments/run.py preset={question}")
    for page, heading in ((OPTIONS, "Presets"), (CHINESE["options"], "预设问题")):
        (row,) = [row for row in rows(section(page, heading)) if row[0] == f"`{question}`"]
        numbers = re.findall(r"\d+\.\d+", " ".join(row))
        assert [n for n in numbers if n not in text] == []  # none that the file does not have
        assert row[2] in re.findall(r"\d+", text.partition("# Time:")[0])


@pytest.mark.slow
@pytest.mark.parametrize("question", PRESETS)
def test_a_saved_question_can_be_asked(question, tmp_path, run_command):
    saved = OmegaConf.load(ROOT / "conf" / "preset" / f"{question}.yaml")
    sweeper = saved.hydra.sweeper
    names = str(sweeper.params.loss).split(",")
    losses = ["ce", "brier"] if "*" in names[0] else names[:2]
    small = ["data=digits", "data.train_size=200", "data.validation_size=100", "epochs=1"]
    small += [f"loss={','.join(losses)}"]
    tuned = "_target_" in sweeper
    if tuned:
        small += ["lr=0.01,0.1", "hydra.sweeper.extensions=0", "hydra.sweeper.evaluation_seeds=1"]
    elif "seed" in sweeper.params:
        small += ["seed=0,1"]
    done = run_command(tmp_path, "-m", f"preset={question}", *small)
    assert done.returncode == 0, done.stderr
    trained = runs(tmp_path)
    assert {run.data.params["loss"] for run in trained} == set(losses)
    assert {run.data.tags["outcome"] for run in trained} <= {"ok", "diverged"}
    parent = max(runs(tmp_path, "sweep"), key=lambda run: run.info.start_time)
    assert parent.info.run_name.startswith(question)

    report = generate(tmp_path, f"sweep={parent.info.run_id}", "formats=[svg]")
    assert report.returncode == 0, report.stderr
    (page,) = Path(tmp_path / "outputs" / "reports").glob("*/index.html")
    assert f"{losses[0]}" in page.read_text(encoding="utf-8")
