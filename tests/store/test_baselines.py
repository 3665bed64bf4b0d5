"""Baselines: what is kept of runs in a file, what is refused.

One's own loss against all of them.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.baselines import HASHES, MACHINE
from helpers.marks import first
from helpers.stores import Store

from reports.runs import ReadError, collect_baselines, constant_scores, load, load_baselines, scores
from reports.runs.baselines import pack, read

# ---- the file ------------------------------------------------------------------------------------


def test_a_file_gives_the_frames_of_its_runs_back(
    baselines_store: Store, baselines_file: Path
) -> None:
    before, after = baselines_store.load(), load_baselines(baselines_file)
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


def test_the_file_says_which_images_were_predicted_right(baselines_store: Store) -> None:
    labels = np.array([7, 1, 7, 2, 0, 7, 3, 3, 1])  # not a multiple of 8
    finished = [
        run for run in baselines_store.load().summary.itertuples() if run.status == "FINISHED"
    ]
    right = {}
    for place, run in enumerate(finished[:3]):
        right[run.run_id] = (np.arange(9) % (place + 2) == 0).astype(np.float32)
        predicted = np.where(right[run.run_id], labels, 9)
        content = io.BytesIO()
        outputs = np.zeros((9, 10), dtype=np.float32)
        np.savez_compressed(content, outputs=outputs, predicted=predicted, label=labels)
        baselines_store.add_predictions(run.run_id, content.getvalue())
    path = baselines_store.path.with_name("baselines.json.gz")
    path.write_bytes(pack(collect_baselines(baselines_store.uri, None, None, None, file=path.name)))
    runs = load_baselines(path)
    for run in finished:
        values = scores(runs, run.run_id, "test/accuracy")
        if run.run_id in right:
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, right[run.run_id])
        else:  # it stored no predictions
            assert values is None
        assert scores(runs, run.run_id, "test/nll") is None
    assert constant_scores(runs, right).tolist() == [1, 0, 1, 0, 0, 1, 0, 0, 0]


def test_a_file_without_images_is_read(baselines_file: Path) -> None:
    runs = load_baselines(baselines_file)
    assert runs.baselines.correct is None
    assert scores(runs, runs.summary["run_id"].iloc[0], "test/accuracy") is None
    assert constant_scores(runs, runs.summary["run_id"]) is None


def test_the_file_says_what_made_it(baselines_store: Store, baselines_file: Path) -> None:
    origin = read(baselines_file).origin
    assert (origin.runs, origin.losses, origin.unfinished, origin.uncommitted) == (5, 2, 1, 0)
    assert (origin.rates, origin.seeds, origin.ended) == ([0.003, 0.1], [0, 1], "2023-11-14 22:14")
    assert origin.protocol == {
        **{"data": "digits", "model": "mlp", "optimizer": "sgd", "scheduler": "constant"},
        **{"batch_size": "100", "epochs": "2", "data.digest": "d" * 32},
    }
    machine = origin.paddle, origin.processors, origin.kernels
    assert machine == (["3.3.1"], ["a processor"], ["stock"])
    assert origin.commits == ["c" * 40]
    assert origin.commands == [  # not each loss at each rate: as tuning leaves it
        "python experiments/run.py -m hydra/sweeper=tuning loss=ce,focal lr=0.003,0.1",
        "generate report sweep=ID baselines_to=baselines.json.gz",
    ]
    again = pack(collect_baselines(baselines_store.uri, None, None, None, file=baselines_file.name))
    assert again == baselines_file.read_bytes()


def test_what_is_no_set_of_baselines_is_not_kept(baselines_store: Store) -> None:
    baselines_store.add(model="softmax", digest="d" * 32)
    words = "expected the runs of one protocol, got several: model is mlp, softmax"
    with pytest.raises(ReadError, match=words):
        collect_baselines(baselines_store.uri, None, None, None, file="x")
    with pytest.raises(ReadError, match="expected a sweep with finished runs, got one without"):
        collect_baselines(baselines_store.uri, None, None, {"lr": 0.3}, file="x")


def changed(path: Path, **parts: object) -> bytes:
    """The file with other parts."""
    content = json.loads(gzip.decompress(path.read_bytes())) | parts
    return gzip.compress(json.dumps(content).encode())


def test_a_damaged_file_is_refused(baselines_file: Path) -> None:
    whole = baselines_file.read_bytes()
    content = json.loads(gzip.decompress(whole))["content"]
    content["runs"][0]["metrics"]["test/accuracy"] += 0.01
    cases = {
        whole[:-20]: "is damaged, or no file of baselines",
        b"": "is damaged, or no file of baselines",
        b"text": "Not a gzipped file",
        gzip.compress(b"[]"): "is damaged, or no file of baselines",
        changed(baselines_file, content=content): "its content has not the SHA-256 that it names",
        changed(baselines_file, sha256="0" * 64): "its content has not the SHA-256 that it names",
        changed(baselines_file, format=2): "has format '2', this program reads 1",
    }
    for data, message in cases.items():
        baselines_file.write_bytes(data)
        with pytest.raises(ReadError, match=message):
            load_baselines(baselines_file)
    baselines_file.unlink()
    words = r"cannot read .*No such file.* baselines_to=FILE makes such a file"
    with pytest.raises(ReadError, match=words):
        load_baselines(baselines_file)


# ---- joining -------------------------------------------------------------------------------------


def add_mine(store: Store, **changes: object) -> None:
    """A run of a loss of one's own under the protocol of the baselines, but for the changes."""
    tags = HASHES | MACHINE | dict(changes.pop("tags", {}))  # type: ignore[call-overload]
    store.add(tags=tags, **({"digest": "d" * 32, "loss": "tempered"} | changes))


def test_only_losses_that_were_not_run_here_join(store: Store, baselines_file: Path) -> None:
    add_mine(store)
    add_mine(store, loss="focal", own={"loss.gamma": 3.0})
    add_mine(store, loss="ce", lr=0.01)  # another rate is the same loss
    runs = load(store.uri, baselines=baselines_file)
    assert runs.summary.groupby("loss")["baseline"].sum().to_dict() == {
        **{"tempered": 0, "ce": 0, "focal gamma=3": 0, "focal gamma=2 (baseline)": 2}
    }
    assert runs.summary["setting"].nunique() == 1
    assert set(runs.curves["loss"]) == set(runs.summary["loss"])


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
    store: Store, baselines_file: Path, changes: dict[str, object], message: str
) -> None:
    add_mine(store, **changes)
    with pytest.raises(ReadError, match=re.escape(message)) as refusal:
        load(store.uri, baselines=baselines_file)
    for words in ("expected runs of the protocol", "where.KEY=VALUE"):
        assert words in str(refusal.value)


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
    store: Store, baselines_file: Path, changes: dict[str, object]
) -> None:
    add_mine(store)
    add_mine(store, **({"loss": "mine"} | changes))
    assert load(store.uri, baselines=baselines_file).summary["baseline"].sum() == 5


def test_a_store_without_runs_is_joined_by_nothing(store: Store, baselines_file: Path) -> None:
    parent = store.add_sweep("empty", [])
    assert load(store.uri, sweep=parent, baselines=baselines_file).summary.empty
