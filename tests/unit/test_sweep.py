"""The parts of a sweep that need no training: the refusals."""

from __future__ import annotations

import dataclasses

import pytest
from helpers.settings import BASE, settings

from experiments import config, option_checks, ranges
from experiments.config import CommandError


def test_every_wrong_value_of_every_run_is_named_at_once():
    jobs = [dataclasses.replace(BASE, lr=-1.0), dataclasses.replace(BASE, epochs=-2), BASE]
    with pytest.raises(
        CommandError,
        match=r"(?s)epochs: expected.*got -2.*lr: expected.*got -1.0.*Nothing was trained",
    ):
        ranges.check_values(jobs)


def test_what_a_rehearsal_finds_names_the_options():
    broken = dataclasses.replace(
        BASE, options=BASE.options | {"loss": BASE.options["loss"] | {"_target_": "operator_.add"}}
    )
    with pytest.raises(CommandError, match=r"loss=ce: cannot load operator_.add"):
        option_checks.check([broken])


def test_the_digest_of_each_runs_data():
    from experiments.data import digits

    jobs = [settings("data=digits", "model=softmax", f"seed={seed}") for seed in (0, 1)]
    digest = digits(seed=0).digest
    assert option_checks.data_digests(jobs) == [digest, digest]


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot write to"):
        config.require_writable(tmp_path / "file" / "below")
    config.require_writable(tmp_path / "new" / "below")
    assert list((tmp_path / "new" / "below").iterdir()) == []
