"""Settings: what decides a run's identity, what is refused.

How options are bound to their functions.
"""

from __future__ import annotations

import dataclasses
import itertools
import re

import paddle
import pytest
from helpers.commands import ROOT
from helpers.settings import BASE, settings

from experiments import contract, functions, machine, ranges, source_digest
from experiments.config import CommandError, Settings

OPTIONS = sorted(
    (path.parent.name, path.stem)
    for group in contract.GROUPS
    for path in (ROOT / "conf" / group).glob("*.yaml")
)


def test_the_defaults_are_the_tutorials():
    defaults = settings()
    assert defaults.choices == {
        "loss": "ce", "model": "convnet", "data": "mnist", "optimizer": "sgd",
        "scheduler": "constant",
    }  # fmt: skip
    assert (defaults.lr, defaults.epochs, defaults.batch_size, defaults.seed) == (0.003, 10, 100, 0)
    assert ranges.problems(defaults) == []


@pytest.mark.parametrize(
    "override",
    [
        "lr=0.004", "epochs=11", "batch_size=50", "seed=1", "loss=mse", "model=mlp", "data=mnist",
        "optimizer=adam", "scheduler=cosine", "data.label_noise=0.1", "data.noise_kind=asymmetric",
        "data.train_size=100", "data.validation_size=100", "optimizer.weight_decay=0.1",
        "threads=2", "corruptions=true", "augment=shift", "stop.patience=3",
    ],
)  # fmt: skip
def test_what_changes_the_numbers_changes_the_identity(override):
    changed = settings(*(["data=digits"] if override != "data=mnist" else []), override)
    assert changed.identity("d") != BASE.identity("d")
    same = changed.configuration("d") == BASE.configuration("d")
    assert same == (override == "seed=1")


@pytest.mark.parametrize(
    "override",
    [
        *("tracking=server", "tracking.log_model=false", "experiment=x", "device=cpu", "threads=1"),
        *("force=true", "corruptions=false", "question.metric=test/nll"),
    ],
)
def test_what_does_not_change_the_numbers_does_not(override):
    assert settings("data=digits", override).identity("d") == BASE.identity("d")


def test_the_place_of_the_data_does_not_count_but_its_digest_does():
    assert settings("data.root=somewhere").identity("d") == settings().identity("d")
    assert settings().identity("d") != settings().identity("e")


def test_the_settings_digest_is_the_same_in_every_process():
    """A golden value: runs made before the code was part of the identity are known by it."""
    expected = "e139b7119727ca66efdd696090348ed848710c5e555bbeaafcb66748f1d4af04"
    assert BASE.settings_digest("d") == expected


def test_option_names_and_code_are_part_of_the_identity_and_not_of_the_settings_digest(monkeypatch):
    copied = dataclasses.replace(BASE, choices=BASE.choices | {"loss": "my_ce"})
    assert copied.identity("d") != BASE.identity("d")
    assert copied.settings_digest("d") == BASE.settings_digest("d")
    before = BASE.identity("d"), BASE.configuration("d"), BASE.settings_digest("d")
    code = source_digest.Code({"loss": {"mine.py": "0" * 12}}, "", {})
    monkeypatch.setattr(source_digest, "of_options", lambda options: code)
    after = BASE.identity("d"), BASE.configuration("d"), BASE.settings_digest("d")
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]


def test_the_device_counts_where_it_is_not_the_cpu(monkeypatch):
    monkeypatch.setattr(machine, "built_for_cpu", lambda: False)
    monkeypatch.setattr("paddle.is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr("paddle.device.cuda.device_count", lambda: 1)
    machine.device.cache_clear()
    try:
        assert BASE.device == "auto" and BASE.params["device"] == "gpu"
        on_cpu = dataclasses.replace(BASE, device="cpu")
        assert BASE.identity("d") != on_cpu.identity("d")
        assert "device" not in on_cpu.params
    finally:
        machine.device.cache_clear()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "mnist"),
        (["data=mnist", "data.root=/elsewhere/files"], "mnist"),
        (["data=letter"], "letter"),
        (["data=wine", "data.name=splice"], "splice"),
        (["data=csv", "data.path=/a/flowers.csv", "data.label=kind"], "flowers"),
        (["data=npz", "data.path=null"], "npz"),
        (["data=folder", "data.root=/a/birds"], "birds"),
        (["experiment=mine"], "mine"),
    ],
)
def test_an_experiment_has_the_name_of_its_data_unless_it_has_one(words, name):
    assert settings(*words).experiment == name


def test_params_are_names_scalars_and_dotted_values():
    params = settings("loss=focal", "loss.gamma=3").params
    expected = {"loss": "focal", "loss.gamma": 3, "lr": 0.003, "data.label_noise": 0.0}
    assert expected.items() <= params.items()
    assert not any("_target_" in name or "_partial_" in name for name in params)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seed", -1, "seed: expected a whole number at least 0 and below 4294967296"),
        ("seed", 2**32, "got 4294967296"),
        ("stop", {"patience": 0}, "stop.patience: expected a whole number at least 1"),
        ("reuse", "none", "reuse: expected one of same, any, got 'none'"),
        ("checkpoint", 1, "checkpoint: expected one of true, running, false, got 1"),
        ("experiment", " ", "experiment: expected a name"),
    ],
)
def test_ranges(name, value, words):
    (problem,) = ranges.problems(dataclasses.replace(BASE, **{name: value}))
    assert words in problem


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("epoch", "; did you mean epochs? There are loss"),
        ("weird", ". There are loss, model, data, optimizer"),
    ],
)
def test_a_value_that_does_not_exist_is_refused_though_hydra_lets_one_add_it(key, hint):
    with pytest.raises(CommandError) as error:
        settings(f"+{key}=3")
    assert str(error.value).startswith(f"{key}: there is no such value{hint}")


def test_a_label_tells_losses_of_one_name_apart():
    focal = settings("loss=focal", "loss.gamma=3")
    assert focal.label == "loss=focal gamma=3 lr=0.003 epochs=10 seed=0"


def test_a_label_tells_options_apart_that_were_asked_for():
    words = (
        "data=digits", "data.label_noise=0.2", "+model.extra=1", "loss=mse", "lr=0.1",
        "batch_size=50", "tracking=server", "hydra.run.dir=x", "++data.root=/somewhere",
        "threads=2", "batch_size=20",
    )  # fmt: skip
    job = dataclasses.replace(BASE, words=words)
    assert job.label == (
        "loss=ce lr=0.003 epochs=10 seed=0 data=digits data.label_noise=0.2 model.extra=1 "
        "batch_size=20 threads=2"
    )
    assert job.identity("d") == BASE.identity("d")
    assert job.params == BASE.params


OF_GROUPS = [[option for option in OPTIONS if option[0] == group] for group in contract.GROUPS]


@pytest.mark.parametrize("options", [*itertools.zip_longest(*OF_GROUPS)], ids=str)
def test_every_option_loads_and_sets_only_what_its_function_takes(options):
    """One of each group at once, as long as it has more."""
    options = [option for option in options if option]
    values = {"_target_": "paddle.optimizer.Adam"}
    words = []
    for group, option in options:
        text = (ROOT / "conf" / group / f"{option}.yaml").read_text(encoding="utf-8")
        names = re.findall(r"(?m)^(\w+): \?\?\?", text)
        words += [
            f"{group}={option}",
            *(f"{group}.{name}={values.get(name, 'x')}" for name in names),
        ]
    job = settings(*words)
    for group, option in options:
        assert job.choices[group] == option
        assert callable(functions.function(job, group))
        assert job.options[group]["_partial_"] is True


def test_an_optimizer_of_paddle_is_chosen_by_its_class_and_named_in_the_params():
    rms = settings("optimizer=paddle", "optimizer._target_=paddle.optimizer.RMSProp")
    tuned = settings(
        "optimizer=paddle", "optimizer._target_=paddle.optimizer.RMSProp", "+optimizer.rho=0.9"
    )
    lamb = settings("optimizer=paddle", "optimizer._target_=paddle.optimizer.Lamb")
    assert lamb.params["optimizer._target_"] == "paddle.optimizer.Lamb"
    assert tuned.params["optimizer.rho"] == 0.9
    assert len({each.identity("d") for each in (rms, tuned, lamb)}) == 3
    bound = functions.function(tuned, "optimizer")
    assert (bound.func, bound.keywords) == (paddle.optimizer.RMSProp, {"rho": 0.9})


def changed(group: str, **values) -> Settings:
    return dataclasses.replace(BASE, options=BASE.options | {group: BASE.options[group] | values})


def test_an_argument_the_function_does_not_take_is_refused_with_those_it_does():
    words = "unexpected keyword argument 'widht'; .* are init_scale, got init_scale, widht"
    with pytest.raises(CommandError, match=f"model=convnet: .*{words}"):
        functions.function(changed("model", widht=3), "model")


def test_a_function_that_does_not_exist_is_refused():
    with pytest.raises(CommandError, match=r"loss=ce: cannot load experiments.losses.nope"):
        functions.function(changed("loss", _target_="experiments.losses.nope"), "loss")


def test_an_option_without_partial_is_refused():
    (problem,) = ranges.problems(changed("scheduler", _partial_=False))
    assert problem.startswith("scheduler=constant: expected `_partial_: true`")


@pytest.mark.parametrize(
    ("value", "seeds"),
    [
        *((None, ()), ([3, 1, 1], (1, 3)), ("range(3)", (0, 1, 2)), ("range(4,10,3)", (4, 7))),
        *(("2,0", (0, 2)), ("range(5000)", tuple(range(5000)))),
    ],
)
def test_the_seeds_of_a_question(value, seeds):
    assert ranges.question_seeds(value) == seeds


@pytest.mark.parametrize(
    "value",
    [
        *(3, True, [], [-1], [0.5], [True], ["1"], [2**32], {"a": 1}, "", "3", "a,b", "range(a)"),
        *("glob(*)", "range(0,1,0.5)", "range(5001)", "range(10**9)", "(", list(range(0, 4000, 2))),
    ],
)
def test_seeds_of_a_question_that_are_refused(value):
    with pytest.raises(CommandError, match=r"question\.seeds: expected"):
        ranges.question_seeds(value)


def test_a_share_of_the_last_class_is_refused_where_no_classes_are_unequal():
    ratio = "data.imbalance_ratio=0.02"
    equal, unequal = settings(ratio), settings("data.imbalance=step", ratio)
    with pytest.raises(CommandError, match=r"data\.imbalance_ratio: expected .*has no effect"):
        ranges.check_values([equal, equal], ["lr=0.1", ratio])
    ranges.check_values([equal, unequal], ["data.imbalance=null", "data.imbalance=step", ratio])
    ranges.check_values([equal], ["lr=0.1"])


def test_a_question_is_declared_where_any_value_is_set():
    assert not settings().asks
    assert settings("question.margin=0").asks
    assert settings("question.seeds=[0,1]").asks


def test_what_a_question_leaves_open_is_that_of_the_report():
    from experiments.sweep import question

    def declared(*losses, epochs=(3,), **values):
        runs = [settings(f"loss={loss}", f"epochs={each}") for loss in losses for each in epochs]
        empty = dict.fromkeys(("metric", "margin", "reference", "epochs", "seeds"))
        return question([dataclasses.replace(run, question=empty | values) for run in runs], [1, 0])

    assert declared("ce", "mse") is None
    assert declared("mse", "ce", epochs=(2, 5), margin=0.2) == {
        "metric": "test/accuracy", "margin": 0.2, "reference": "ce", "epochs": 5, "seeds": "0-1",
    }  # fmt: skip
    # as the report has it:
    assert declared("mse", "focal", metric="test/nll")["reference"] == "focal"
    assert declared("mse", "ce", reference="mse")["reference"] == "mse"


def test_the_report_asks_the_same_unless_told_otherwise():
    from omegaconf import OmegaConf

    report = OmegaConf.load(ROOT / "conf" / "report.yaml")
    assert (report.metric, report.reference) == (contract.METRIC, contract.REFERENCE)
