"""What a command says at its end: the table, its durations, the commands that come next."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from helpers.settings import BASE, settings

from experiments import table, terminal


def row(**values):
    base = table.row(BASE, None)
    return base | values


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0.0s"), (8.14, "8.1s"), (60, "1m00s"), (185.4, "3m05s")),
        *((3599.7, "1h00m"), (4320, "1h12m")),
    ],
)
def test_durations(seconds, text):
    assert terminal.duration(seconds) == text


def test_the_table_shows_own_values_only_where_they_differ():
    rows = [row(), row(**{"data.label_noise": 0.2}), row(**{"loss.gamma": 2.0})]
    header = " ".join(table.text(rows).splitlines()[0].split())
    assert header == "loss lr epochs seed data.label_noise val acc test acc time outcome run id"
    assert "nan" not in table.text(rows)
    one, other = (table.row(settings(f"data.train_size={size}"), None) for size in ("null", 500))
    assert [line.split()[4] for line in table.text([one, other]).splitlines()] == [
        "data.train_size", "null", "500",
    ]  # fmt: skip


def test_a_run_without_a_run_is_missing_in_the_table():
    assert table.text([row()]).splitlines()[1].split() == ["ce", "0.003", "10", "0", "missing"]


def test_the_next_report_is_asked_what_was_declared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    usual = {"metric": "test/accuracy", "margin": None, "reference": "ce", "epochs": 3}
    for question, words in (
        (None, ""),
        (usual, ""),
        (usual | {"metric": "test/ece", "reference": "mse"}, " metric=test/ece reference=mse"),
        (usual | {"margin": 0.2}, " margin=0.2"),
    ):
        printed = table.next_commands(BASE, "1a", question=question)
        assert printed == f"next:  mlflow ui\n       generate report sweep=1a{words}"


def test_the_next_commands_work_for_the_store_in_use(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_all = table.next_commands(BASE)
    assert of_all == "next:  mlflow ui\n       generate report experiment=digits"
    assert table.next_commands(BASE, "1a", link="http://a/#/b").splitlines() == [
        "next:  mlflow ui", "       http://a/#/b", "       generate report sweep=1a",
    ]  # fmt: skip
    other = settings("tracking.uri=sqlite:///a.db", "experiment=mine")
    assert table.next_commands(other).splitlines() == [
        f"next:  mlflow ui --backend-store-uri sqlite:///{tmp_path}/a.db",
        f"       generate report tracking.uri=sqlite:///{tmp_path}/a.db experiment=mine",
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///another.db")
    default = settings("tracking.uri=sqlite:///mlflow.db")
    assert table.next_commands(default).splitlines() == [
        f"next:  mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db",
        f"       generate report tracking.uri=sqlite:///{tmp_path}/mlflow.db experiment=mnist",
    ]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (tmp_path / "mlruns").mkdir()  # where it is there, `mlflow ui` alone would look into it
    browse = f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db"
    assert browse in table.next_commands(BASE)


def test_the_runs_of_one_seed_are_put_into_words():
    def run(accuracy, outcome="ok"):
        metrics = {} if accuracy is None else {"test/accuracy": accuracy}
        return SimpleNamespace(data=SimpleNamespace(tags={"outcome": outcome}, metrics=metrics))

    jobs = [settings("loss=mse"), settings("loss=ce"), settings("loss=brier")]
    runs = [run(0.5127), run(0.9644), run(0.9)]
    text = table.of_one_seed(jobs, runs)
    assert "That of ce answers the most test examples right (96.44%)" in text
    assert "that of mse the fewest (51.27%)" in text and "add 'seed=range(10)'" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert table.of_one_seed(jobs, [*runs[:2], run(0.1, "diverged")]) == ""
    equal = table.of_one_seed(jobs[:2], [run(0.5)] * 2)
    assert "All answer 50.00% of the test examples right." in equal and "fewest" not in equal
    assert table.of_one_seed(jobs, [*runs[:2], None]) == ""
    assert table.of_one_seed(jobs[:1], runs[:1]) == ""
    more_seeds = [*jobs[:2], settings("loss=brier", "seed=1")]
    assert table.of_one_seed(more_seeds, runs) == ""
    assert table.of_one_seed([*jobs[:2], settings("loss=ce", "lr=0.1")], runs) == ""


def test_more_runs_than_rows_are_shown_by_configuration():
    def finished(loss, lr, seed, validation, test, outcome="ok"):
        cells = {"val acc": validation, "test acc": test, "outcome": outcome}
        return row(loss=loss, lr=f"{lr:g}", seed=seed, **cells)

    rates = (0.01, 0.1)
    rows = [
        finished(loss, lr, seed, 0.9 + 0.01 * seed * (lr == 0.1), 0.8 + 0.01 * seed)
        for loss in ("ce", "mse")
        for lr in rates
        for seed in range(7)
    ]
    rows[0] |= {"outcome": "diverged", "test acc": None}
    lines = table.text(rows).splitlines()
    begins = ["ce 0.01 10", "* ce 0.1", "mse 0.01 10", "* mse 0.1"]
    assert [" ".join(line.split()[:3]) for line in lines[1:5]] == begins
    words = [" ".join(line.split()) for line in lines]
    assert words[1].endswith("90.00 ± 0.00 % 83.50 ± 1.87 % 6 ok, 1 diverged")
    assert words[2].endswith("93.00 ± 2.16 % 83.00 ± 2.16 % 7 ok")
    assert all(len(line) <= 100 for line in lines)
    losses = [f"loss{place}" for place in range(30)]
    many = [finished(loss, lr, 0, 0.5 + lr, 0.5) for loss in losses for lr in rates]
    lines = table.text(many).splitlines()
    assert len(lines) == 1 + table.MOST_ROWS + 2
    assert {line.split()[0] for line in lines[1:-2]} == {"*"}
    assert lines[-1] == "  60 configurations; the best 25 are shown"
    many[-1] |= {"val acc": 0.9}
    assert table.text(many).splitlines()[1].split()[:3] == ["*", "loss29", "0.1"]  # the best first
    fewer = table.text([each for each in many if each["loss"] < "loss25"])
    assert fewer.endswith("36 configurations; the best of each loss are shown")
    missing = table.text([each | {"val acc": "", "test acc": ""} for each in many[:40]])
    assert "*" not in missing
    assert missing.endswith("\n40 configurations; the first 25 are shown")


def test_many_own_values_share_a_column():
    rows = [
        row(loss="ce_double_softmax", lr="0.03", seed=seed, outcome="ok")
        | {"val acc": 0.5 + value / 100, "test acc": 0.5, "run id": "12345678", "time": "1.0s"}
        | {f"loss.{name}": value, f"data.{name[0]}": value}
        for name in ("alpha", "beta", "gamma", "theta")
        for value in (0.5, 10.0)
        for seed in range(4)
    ]
    for shown, first in (
        (rows, "* ce_double_softmax 0.03 10 alpha=0.5 data.a=0.5 50.50 ± 0.00 %"),
        (rows[:25], "ce_double_softmax 0.03 10 0 alpha=0.5 data.a=0.5 50.50% 50.00% 1.0s ok"),
    ):
        lines = table.text(shown).splitlines()
        assert "own values" in lines[0] and all(len(line) <= table.WIDTH for line in lines)
        assert " ".join(lines[1].split()).startswith(first)
        assert "alpha=10 data.a=10 60" in " ".join(table.text(shown).split())


def test_data_sets_are_named_once():
    rows = [row(data=name, outcome="ok") | {"data.name": name} for name in ("iris", "wine")]
    assert table.text(rows).splitlines()[0].split()[:5] == ["loss", "lr", "epochs", "seed", "data"]
    assert "data.name" not in table.text(rows)
    files = [each | {"data": "table"} for each in rows]
    assert [line.split()[4] for line in table.text(files).splitlines()] == [
        "data.name", "iris", "wine",
    ]  # fmt: skip


def test_the_mean_of_each_loss_is_that_of_its_best_settings():
    def rows(loss, lr, scores, **own):
        return [
            {"loss": loss, "lr": lr, "epochs": 2, "seed": seed, "outcome": "ok", **own}
            | {"val acc": score, "test acc": score - 0.1}
            for seed, score in enumerate(scores)
        ]

    means = table.means(
        [
            *rows("ce", "0.1", [0.5, 0.7]),
            *rows("ce", "0.2", [0.65, 0.4]),
            *rows("focal", "0.1", [0.3, 0.5], **{"loss.gamma": 2.0}),
            *rows("focal", "0.1", [0.2, 0.4], **{"loss.gamma": 3.0}),
            row(loss="mse", lr="0.1", epochs=2, outcome="failed"),
        ]
    )
    assert means == pytest.approx({"ce": 0.5, "focal": 0.3})
    assert table.means([row(loss="mse", outcome="failed")]) == {}
    longer = [each | {"epochs": 3} for each in rows("ce", "0.1", [0.9])]
    assert table.means([*rows("ce", "0.1", [0.5]), *longer]) == pytest.approx({"ce": 0.8})
    noisy = [each | {"data.label_noise": 0.4} for each in rows("ce", "0.1", [0.5])]
    clean = [each | {"data.label_noise": 0.0} for each in rows("ce", "0.1", [0.9])]
    assert table.means([*noisy, *clean]) == {}  # there is no mean over settings


def test_a_diverged_run_counts_as_a_constant_answer():
    """One seed of rate 1 is the best of all, but nine diverge: the report chooses 0.1, too."""
    rows = [
        row(loss="ce", lr=lr, seed=seed, outcome="ok") | {"val acc": score, "test acc": score}
        for lr, score in (("0.1", 0.8), ("0.3", 0.7), ("1", 0.9))
        for seed in range(10)
    ]
    for each in rows[21:]:
        each |= {"outcome": "diverged", "val acc": None, "test acc": None, "constant": 0.1}
    lines = table.text(rows).splitlines()
    assert next(line.split()[:3] for line in lines if line.startswith("*")) == ["*", "ce", "0.1"]
    assert lines[3].endswith("90.00 %        90.00 % 9 diverged, 1 ok")
    assert lines[5] == "  to choose, a diverged run counts as a constant answer"
    assert table.means(rows) == pytest.approx({"ce": 0.8})
    assert table.means(rows[20:]) == pytest.approx({"ce": 0.18})
    # As in reports: the rate with the most results, and of equal rates the smaller.
    for each in rows[1:10]:
        each |= {"outcome": "failed"}  # after its test accuracy was written
    assert table.means(rows) == pytest.approx({"ce": 0.7})
    equal = [each | {"lr": lr} for lr in ("1", "0.3", "0.01") for each in rows[10:20]]
    starred = [line for line in table.text(equal).splitlines() if line.startswith("* ")]
    assert [line.split()[2] for line in starred if "ce" in line.split()] == ["0.01"]


def test_a_loss_without_a_good_run_keeps_its_row_and_gets_no_star():
    rows = [
        row(loss=f"loss{number}", lr=lr, seed=0, outcome="diverged", constant=0.1)
        for number in range(30)
        for lr in ("0.1", "1")
    ]
    for each in rows[2:]:
        each |= {"outcome": "ok", "val acc": 0.9, "test acc": 0.9}
    rows[-2:] = [each | {"outcome": "failed"} for each in rows[-2:]]
    lines = table.text(rows[:-2]).splitlines()
    assert not any("loss0 " in line for line in lines if line.startswith("*"))
    few = table.text([each for each in rows if each["loss"] in ("loss0", "loss1", "loss29")] * 9)
    assert [line.split()[-2:] for line in few.splitlines()[1:7] if "*" not in line] == [
        ["9", "diverged"], ["9", "diverged"], ["9", "ok"], ["9", "failed"], ["9", "failed"],
    ]  # fmt: skip


def test_tuning_seeds_choose_the_settings_and_the_others_give_the_mean():
    def rows(lr, *scores):
        return [
            row(loss="ce", lr=lr, seed=seed, outcome="ok", **{"val acc": score, "test acc": score})
            for seed, score in enumerate(scores)
        ]

    tried = [*rows("0.01", 0.6, 0.6), *rows("0.1", 0.7, 0.7, 0.5, 0.4)]
    assert table.means(tried, 2) == pytest.approx({"ce": 0.45})
    assert table.means(tried) == pytest.approx({"ce": 0.575})  # the rate with more results

    others = [each | {"loss": "mse"} for each in rows("0.001", 0.1, 0.1) * table.MOST_ROWS]
    tried[2]["val acc"] = 0.4  # now 0.01 is better with the tuning seeds
    many = [*tried, *others]
    lines = table.text(many, tuning_seeds=2).splitlines()
    assert next(line.split()[1:3] for line in lines if line.startswith("*")) == ["ce", "0.01"]
    assert lines[-1].startswith("* best validation accuracy of this loss with seeds 0 to 1; mean")
    lines = table.text(many).splitlines()
    assert next(line.split()[1:3] for line in lines if line.startswith("*")) == ["ce", "0.1"]
