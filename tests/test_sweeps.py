"""The parts of a sweep that need no training: the table, its durations, the hints, the refusals."""

from __future__ import annotations

import dataclasses

import pytest
from test_config import BASE, settings

from experiments import config, sweeps
from experiments.config import CommandError


def row(**values):
    base = sweeps.table_row(BASE, None)
    return base | values


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (8.14, "8.1s"), (60, "1m00s"), (185.4, "3m05s"), (3599.7, "1h00m"), (4320, "1h12m")],
)
def test_durations(seconds, text):
    assert sweeps.duration(seconds) == text


def test_the_table_shows_own_values_only_where_they_differ():
    rows = [row(), row(**{"data.label_noise": 0.2}), row(**{"loss.gamma": 2.0})]
    header = sweeps.table(rows).splitlines()[0]
    assert header.split() == [
        "loss",
        "lr",
        "epochs",
        "seed",
        "data.label_noise",
        "val",
        "acc",
        "test",
        "acc",
        "time",
        "outcome",
        "run",
        "id",
    ]
    assert "nan" not in sweeps.table(rows)


def test_a_cell_without_a_run_is_missing_in_the_table():
    assert sweeps.table([row()]).splitlines()[1].split() == ["ce", "0.003", "10", "0", "missing"]


def test_the_next_commands_work_for_the_store_in_use(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sweeps.next_commands(BASE) == "next:  mlflow ui\n       generate report"
    other = settings("tracking.uri=sqlite:///a.db", "experiment=mine")
    assert sweeps.next_commands(other).splitlines() == [
        f"next:  mlflow ui --backend-store-uri sqlite:///{tmp_path}/a.db",
        "       generate report tracking.uri=sqlite:///a.db experiment=mine",
    ]
    (tmp_path / "mlruns").mkdir()  # where it is there, `mlflow ui` alone would look into it
    assert f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db" in sweeps.next_commands(BASE)


def test_every_wrong_value_of_every_cell_is_named_at_once():
    cells = [dataclasses.replace(BASE, lr=-1.0), dataclasses.replace(BASE, epochs=-2), BASE]
    with pytest.raises(
        CommandError, match=r"(?s)epochs: expected.*came -2.*lr: expected.*came -1.0.*Nothing was trained"
    ):
        config.check_values(cells)


def test_what_a_rehearsal_finds_names_the_options():
    broken = dataclasses.replace(
        BASE, options=BASE.options | {"loss": BASE.options["loss"] | {"_target_": "operator_.add"}}
    )
    with pytest.raises(CommandError, match=r"loss=ce: cannot load operator_.add"):
        sweeps.check([broken])


def test_identities_are_those_of_the_settings_with_the_datas_digest():
    from experiments.data import digits

    cells = [settings("data=digits", "model=softmax", f"seed={seed}") for seed in (0, 1)]
    digest = digits(seed=0).digest
    assert sweeps.identify(cells) == [cell.identity(digest) for cell in cells]


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot write to"):
        sweeps.require_writable(tmp_path / "file" / "below")
    sweeps.require_writable(tmp_path / "new" / "below")
    assert list((tmp_path / "new" / "below").iterdir()) == []
