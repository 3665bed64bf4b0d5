"""Baselines: what is kept of runs in a file, what is refused.

One's own loss against all of them.
"""

from __future__ import annotations

import dataclasses
import gzip
import html
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.commands import ROOT
from helpers.docs import write_examples
from helpers.forked import generate
from helpers.marks import first
from helpers.stores import Store
from helpers.synthetic_runs import predictions
from helpers.synthetic_runs import runs as synthetic
from omegaconf import OmegaConf

from reports import analysis, verdicts
from reports.names import short_names
from reports.page import caveats, provenance
from reports.question import Question
from reports.runs import (
    SHIPPED,
    Baselines,
    ReadError,
    collect_baselines,
    constant_scores,
    load,
    load_baselines,
    scores,
)
from reports.runs.baselines import pack, read
from reports.stats.contrasts import contrasts

HASHES = {
    "order_hash": "order0",
    "init_hash": "init0",
    "paddle_version": "3.3.1",
    "git_commit": "c" * 40,
}
MACHINE = {"processor": "a processor", "kernel": "stock", "git_dirty": "false"}


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Store:
    """A store with the runs of two losses, one of them diverged, and one that failed."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    (tmp_path / "theirs").mkdir()
    made = Store(shutil.copy(empty_store, tmp_path / "theirs" / "mlflow.db"))
    third = {"test/accuracy": 1 / 3, "test/loss": 0.123456789123}
    for loss, own in (("ce", {}), ("focal", {"loss.gamma": 2.0})):
        for seed in (0, 1):
            hashes = HASHES | {"order_hash": f"order{seed}", "init_hash": f"init{seed}"}
            made.add(
                tags=hashes | MACHINE, own=own | {"data.root": "somewhere"}, test=third,
                digest="d" * 32, loss=loss, seed=seed,
            )  # fmt: skip
    made.add(tags=HASHES | MACHINE, outcome="diverged", test={}, digest="d" * 32, lr=0.1)
    made.add(
        tags=HASHES | MACHINE, status="FAILED", outcome="failed", test={}, digest="d" * 32, lr=0.3
    )
    return made


@pytest.fixture
def kept(store: Store) -> Path:
    """The file of the store's baselines."""
    path = store.path.with_name("kept.json.gz")
    path.write_bytes(pack(collect_baselines(store.uri, None, None, None, file=path.name)))
    return path


@pytest.fixture
def mine(empty_store: Path, tmp_path: Path) -> Store:
    """A store of one's own, still empty."""
    return Store(shutil.copy(empty_store, tmp_path / "mlflow.db"))


# ---- the file ------------------------------------------------------------------------------------


def test_a_file_gives_the_frames_of_its_runs_back(store: Store, kept: Path) -> None:
    before, after = store.load(), load_baselines(kept)
    finished = before.summary[before.summary["status"] == "FINISHED"].reset_index(drop=True)
    assert len(finished) == 5 and set(before.summary["status"]) == {"FINISHED", "FAILED"}
    assert set(after.summary["loss"]) == {"ce (baseline)", "focal (baseline)"}
    assert after.summary["baseline"].all() and not before.summary["baseline"].any()
    same = after.summary.assign(loss=finished["loss"], baseline=False, planned=False)
    own = ["data.root", "experiment"]  # of one machine and one store
    pd.testing.assert_frame_equal(same, finished.drop(columns=own), check_exact=True)
    assert not {*own} & {*same}
    curves = before.curves[before.curves["run_id"].isin(finished["run_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(after.curves.assign(loss=curves["loss"]), curves, rtol=1e-8)
    accuracies = [name for name in curves if name.endswith("accuracy")]
    pd.testing.assert_frame_equal(after.curves[accuracies], curves[accuracies], check_exact=True)


def test_the_file_says_which_images_were_predicted_right(store: Store) -> None:
    labels = np.array([7, 1, 7, 2, 0, 7, 3, 3, 1])  # not a multiple of 8
    finished = [run for run in store.load().summary.itertuples() if run.status == "FINISHED"]
    right = {}
    for place, run in enumerate(finished[:3]):
        right[run.run_id] = (np.arange(9) % (place + 2) == 0).astype(np.float32)
        predicted = np.where(right[run.run_id], labels, 9)
        content = io.BytesIO()
        outputs = np.zeros((9, 10), dtype=np.float32)
        np.savez_compressed(content, outputs=outputs, predicted=predicted, label=labels)
        store.add_predictions(run.run_id, content.getvalue())
    path = store.path.with_name("kept.json.gz")
    path.write_bytes(pack(collect_baselines(store.uri, None, None, None, file=path.name)))
    kept = load_baselines(path)
    for run in finished:
        found = scores(kept, run.run_id, "test/accuracy")
        if run.run_id in right:
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, right[run.run_id])
        else:  # it stored no predictions
            assert found is None
        assert scores(kept, run.run_id, "test/nll") is None
    assert constant_scores(kept, right).tolist() == [1, 0, 1, 0, 0, 1, 0, 0, 0]


def test_a_file_without_images_is_read(kept: Path) -> None:
    runs = load_baselines(kept)
    assert runs.baselines.correct is None
    assert scores(runs, runs.summary["run_id"].iloc[0], "test/accuracy") is None
    assert constant_scores(runs, runs.summary["run_id"]) is None


def test_the_file_says_what_made_it(store: Store, kept: Path) -> None:
    origin = read(kept).origin
    assert (origin.runs, origin.losses, origin.unfinished, origin.uncommitted) == (5, 2, 1, 0)
    assert (origin.rates, origin.seeds, origin.ended) == ([0.003, 0.1], [0, 1], "2023-11-14 22:14")
    assert origin.protocol == {
        **{"data": "digits", "model": "mlp", "optimizer": "sgd", "scheduler": "constant"},
        **{"batch_size": "100", "epochs": "2", "data.digest": "d" * 32},
    }
    assert (origin.paddle, origin.processors, origin.kernels) == (
        ["3.3.1"],
        ["a processor"],
        ["stock"],
    )
    assert origin.commits == ["c" * 40]
    assert origin.commands == [  # not each loss at each rate: as tuning leaves it
        "python experiments/run.py -m hydra/sweeper=tuning loss=ce,focal lr=0.003,0.1",
        "generate report sweep=ID baselines_to=kept.json.gz",
    ]
    again = pack(collect_baselines(store.uri, None, None, None, file=kept.name))
    assert again == kept.read_bytes()


def test_what_is_no_set_of_baselines_is_not_kept(store: Store) -> None:
    store.add(model="softmax", digest="d" * 32)
    with pytest.raises(
        ReadError, match="expected the runs of one protocol, got several: model is mlp, softmax"
    ):
        collect_baselines(store.uri, None, None, None, file="x")
    with pytest.raises(ReadError, match="expected a sweep with finished runs, got one without"):
        collect_baselines(store.uri, None, None, {"lr": 0.3}, file="x")


def changed(path: Path, **parts: object) -> bytes:
    """The file with other parts."""
    return gzip.compress(
        json.dumps(json.loads(gzip.decompress(path.read_bytes())) | parts).encode()
    )


def test_a_damaged_file_is_refused(kept: Path) -> None:
    whole = kept.read_bytes()
    content = json.loads(gzip.decompress(whole))["content"]
    content["runs"][0]["metrics"]["test/accuracy"] += 0.01
    cases = {
        whole[:-20]: "is damaged, or no file of baselines",
        b"": "is damaged, or no file of baselines",
        b"text": "Not a gzipped file",
        gzip.compress(b"[]"): "is damaged, or no file of baselines",
        changed(kept, content=content): "its content has not the SHA-256 that it names",
        changed(kept, sha256="0" * 64): "its content has not the SHA-256 that it names",
        changed(kept, format=2): "has format '2', this program reads 1",
    }
    for data, message in cases.items():
        kept.write_bytes(data)
        with pytest.raises(ReadError, match=message):
            load_baselines(kept)
    kept.unlink()
    with pytest.raises(
        ReadError, match=r"cannot read .*No such file.* baselines_to=FILE makes such a file"
    ):
        load_baselines(kept)


# ---- joining -------------------------------------------------------------------------------------


def add_mine(store: Store, **changes: object) -> None:
    """A run of a loss of one's own under the protocol of `store`, but for the changes."""
    tags = HASHES | MACHINE | dict(changes.pop("tags", {}))  # type: ignore[call-overload]
    store.add(tags=tags, **({"digest": "d" * 32, "loss": "tempered"} | changes))


def test_only_losses_that_were_not_run_here_join(mine: Store, kept: Path) -> None:
    add_mine(mine)
    add_mine(mine, loss="focal", own={"loss.gamma": 3.0})
    add_mine(mine, loss="ce", lr=0.01)  # another rate is the same loss
    found = load(mine.uri, baselines=kept)
    assert set(found.summary["loss"]) == {
        "tempered",
        "ce",
        "focal gamma=3",
        "focal gamma=2 (baseline)",
    }
    assert found.summary.groupby("loss")["baseline"].sum().to_dict() == {
        **{"tempered": 0, "ce": 0, "focal gamma=3": 0, "focal gamma=2 (baseline)": 2}
    }
    assert found.summary["setting"].nunique() == 1
    assert set(found.curves["loss"]) == set(found.summary["loss"])


@pytest.mark.parametrize(
    ("changes", "message"),
    first(
        2,
        [
            ({"model": "softmax"}, "  model: softmax here, mlp in the baselines\n"),
            ({"batch_size": 10}, "  batch_size: 10 here, 100 in the baselines\n"),
            ({"epochs": 3}, "  epochs: 3 here, 2 in the baselines\n"),
            ({"threads": 2}, "  threads: 2 here, not set in the baselines\n"),
            (
                {"own": {"data.label_noise": 0.2}},
                "  data.label_noise: 0.2 here, not set in the baselines\n",
            ),
            (
                {"digest": "e" * 32},
                "  data.digest: eeeeeeeeeeee here, dddddddddddd… in the baselines\n",
            ),
            (
                {"tags": {"order_hash": "other"}},
                "order_hash: not the baselines' at seed 0: splits, labels",
            ),
            (
                {"tags": {"init_hash": "other"}},
                "init_hash: not the baselines' at seed 0: initial weights",
            ),
        ],
    ),
)
def test_another_protocol_is_refused_with_what_differs(
    mine: Store, kept: Path, changes: dict[str, object], message: str
) -> None:
    add_mine(mine, **changes)
    with pytest.raises(ReadError, match=re.escape(message)) as refusal:
        load(mine.uri, baselines=kept)
    assert "expected runs of the protocol" in str(refusal.value) and "where.KEY=VALUE" in str(
        refusal.value
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 1.0},
        {"seed": 7, "tags": {"order_hash": "order7", "init_hash": "init7"}},
        {"own": {"loss.temperature": 4.0, "data.root": "elsewhere"}},
        {"tags": {"paddle_version": "3.2.0", "processor": "another", "git_commit": "d" * 40}},
        {"digest": "", "status": "FAILED", "outcome": "failed"},
    ],
)
def test_what_may_differ_is_not_refused(
    mine: Store, kept: Path, changes: dict[str, object]
) -> None:
    add_mine(mine)
    add_mine(mine, **({"loss": "mine"} | changes))
    assert load(mine.uri, baselines=kept).summary["baseline"].sum() == 5


def test_a_store_without_runs_is_joined_by_nothing(mine: Store, kept: Path) -> None:
    parent = mine.add_sweep("empty", [])
    assert load(mine.uri, sweep=parent, baselines=kept).summary.empty


# ---- the comparison ------------------------------------------------------------------------------


def test_each_loss_of_ones_own_is_compared_with_every_other_one() -> None:
    summary, _ = synthetic(("ce", "focal", "mse", "square"))
    found = contrasts(summary, subjects=("mse", "square", "nowhere"))
    assert list(zip(found["a"], found["b"], strict=True)) == [
        *(("mse", "ce"), ("mse", "focal"), ("mse", "square"), ("square", "ce"), ("square", "focal"))
    ]
    assert set(found["family"]) == {5}
    (ours,) = found[(found["a"] == "mse") & (found["b"] == "ce")].to_dict("records")
    theirs = contrasts(summary, reference="ce").set_index("a").loc["mse"]
    assert ours["difference"] == theirs["difference"] and ours["p"] == theirs["p"]
    assert ours["p_holm"] > theirs["p_holm"] and theirs["family"] == 3


def marked(origin: Baselines | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Synthetic runs of three losses, of which two are baselines."""
    summary, curves = synthetic(("mine", "ce (baseline)", "mse (baseline)"))
    option = summary["loss"].str.removesuffix(" (baseline)")
    return summary.assign(baseline=option != summary["loss"], loss_option=option), curves


def test_the_page_says_where_the_baselines_come_from(kept: Path) -> None:
    runs, _ = marked()
    baselines = read(kept)
    (first, alarm), (rounding, _), *warnings = provenance.sentences(baselines, runs)
    assert first.startswith("2 losses here are baselines") and not alarm
    for part in (
        "lr=0.003,0.1",
        "PaddlePaddle 3.3.1",
        "commit cccccccccc,",
        "2023-11-14 22:14 UTC",
        "on a processor",
    ):
        assert part in first
    assert "round float32 differently" in rounding
    assert warnings == [("1 run of the baselines' sweep had no finished run.", True)]
    facts = {term: text for term, text, *_ in provenance.facts(baselines)}
    assert baselines.sha256 in facts["Their digest"] and "seeds 0, 1" in facts["Baselines"]

    others = runs.assign(paddle_version="3.2.0", seed=runs["seed"] + 100)
    said = " ".join(text for text, alarm in provenance.sentences(baselines, others) if alarm)
    assert "with PaddlePaddle 3.3.1, the runs here with 3.2.0" in said
    assert (
        "No seed is common to the runs here and the baselines" in said and "run seeds 0, 1." in said
    )
    assert "no baseline" in provenance.sentences(baselines, runs[~runs["baseline"]])[0][0].lower()


def test_the_caveats_name_several_processors() -> None:
    runs, curves = marked()
    for processors, alarm in ((["one", "one", "one"], False), (["one", "two", "two"], True)):
        each = dict(zip(runs["loss"].unique(), processors, strict=True))
        summary = runs.assign(processor=runs["loss"].map(each), kernel="stock")
        (section,) = analysis.sections(summary, curves, Question(reference="mine"), predictions)
        ((text, loud),) = [
            (text, loud) for term, text, loud, *_ in caveats.facts(section) if term == "Machine"
        ]
        assert loud is alarm and ("one, two" in text) is alarm and "kernel stock" in text


def test_a_long_name_keeps_its_mark() -> None:
    names = short_names(
        ["ce_double_softmax (baseline)", "ce_double_softmax", "x" * 40 + " (baseline)"], 12
    )
    assert list(names.values()) == [
        "ce_doub…tmax (baseline)",
        "ce_doub…tmax",
        "xxxxxxx…xxxx (baseline)",
    ]


def test_verdicts_with_baselines_are_derived_again() -> None:
    summary, curves = marked()
    question = Question(reference="mine", subjects=("mine",))
    sections = analysis.sections(summary, curves, question, predictions)
    assert sections[0].without_baselines == ["mine"] and sections[0].losses == [
        "mine",
        "ce (baseline)",
        "mse (baseline)",
    ]
    content = json.loads(verdicts.write(verdicts.document(sections, {})))
    assert {comparison["a"] for comparison in content["contrasts"]} == {"mine"}
    assert verdicts.check(content, summary) == []
    worse = summary["baseline"] & (summary["seed"] == 5)
    broken = verdicts.check(
        content, summary.assign(test_accuracy=np.where(worse, 0.1, summary["test_accuracy"]))
    )
    assert broken and all(line.startswith("mine ") for line in broken)


# ---- the whole -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_loss_of_ones_own_against_the_baselines(tmp_path: Path, run_command) -> None:
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir(), mine.mkdir()
    write_examples(mine)
    small = ["data=digits", "model=softmax", "data.train_size=500", "epochs=2", "lr=0.03,0.1,0.3"]
    small += [
        "data.validation_size=200",
        "hydra.sweeper.extensions=0",
        "hydra.sweeper.evaluation_seeds=8",
    ]
    done = run_command(theirs, "preset=baselines", "loss=ce,brier,mse", *small)
    assert done.returncode == 0, done.stderr
    (sweep,) = re.findall(r"generate report sweep=(\w+)", done.stdout)
    made = generate(theirs, f"sweep={sweep}", "baselines_to=../kept/some.json.gz")
    assert made.returncode == 0, made.stderr
    assert "42 runs, losses: 3" in made.stdout and "LEFT OUT" not in made.stdout
    origin = read(tmp_path / "kept" / "some.json.gz").origin
    assert origin.commands[0].startswith(
        "python experiments/run.py preset=baselines data=digits model=softmax"
    )
    assert "paddlepaddle==3.3.1" in origin.versions and origin.processors and origin.kernels

    done = run_command(
        mine,
        "--config-dir",
        "options",
        "-m",
        "preset=baselines",
        "loss=tempered",
        *small,
        PYTHONPATH=".",
    )
    assert done.returncode == 0, done.stderr
    ((own, stages),) = re.findall(r"generate report sweep=(\w+) '(tuning_seeds=\S+)'", done.stdout)
    assert stages == "tuning_seeds=[0,1]"  # the two that chose the rates are not evaluated
    said = generate(
        mine, f"sweep={own}", stages, "baselines=../kept/some.json.gz", "output=page",
        PYTHONPATH=".",
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert f"stored with the sweep's run {own}" in said.stdout
    content = json.loads((mine / "page" / "verdicts.json").read_text())
    best = [comparison for comparison in content["contrasts"] if comparison["view"] == "best"]
    assert [(comparison["a"], comparison["b"]) for comparison in best] == [
        *(
            ("tempered", "brier (baseline)"),
            ("tempered", "ce (baseline)"),
            ("tempered", "mse (baseline)"),
        )
    ]
    assert all(
        comparison["paired"] and comparison["n"] == 8 and comparison["family"] == 3
        for comparison in best
    )
    ids = {run.run_id for run in read(tmp_path / "kept" / "some.json.gz").runs}
    assert all(len(ids & set(comparison["run_ids"])) == 8 for comparison in best)
    page = (mine / "page" / "index.html").read_text(encoding="utf-8")
    for part in ("ce (baseline)", "3 losses here are baselines", "SHA-256", best[0]["sentence"]):
        assert html.escape(part) in page
    checked = generate(mine, "check=page/verdicts.json", PYTHONPATH=".")
    assert checked.returncode == 0 and "verdicts of page/verdicts.json hold" in checked.stdout, (
        checked.stderr
    )

    done = run_command(
        mine, "loss=ce", "data=digits", "model=softmax", "epochs=1", "experiment=another"
    )
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
    evaluation = len(baselines.origin.seeds) - 2
    assert 2.0 ** (1 - evaluation) * len(losses) < 0.05, (
        "no verdict of one loss against all of them could be reached"
    )
    assert SHIPPED.stat().st_size < 1_000_000
    text = json.dumps(dataclasses.asdict(baselines))
    for place in ("/ro" + "ot/", "/ho" + "me/", "/wo" + "rk/"):
        assert place not in text


@pytest.mark.mnist
def test_a_sample_of_the_shipped_baselines_is_found_again(tmp_path: Path, run_command) -> None:
    """They record no code.

    So that nothing but running them again can show that their numbers still hold.
    """
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
        assert now.loc[loss, "test_accuracy"] == pytest.approx(
            then.loc[loss, "test_accuracy"], abs=0.002
        )
        assert now.loc[loss, likelihood] == pytest.approx(then.loc[loss, likelihood], rel=0.002)
