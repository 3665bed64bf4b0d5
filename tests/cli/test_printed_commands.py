"""Every command that programs, page and report.md print can be pasted into a shell as it is."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.commands import SMALL, but, clean_environment
from helpers.settings import BASE
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from experiments import places, table
from experiments.contract import mlflow_for, override
from reports.page import commands

NAMES = [
    *("my exp", "it's", "a/b: 50%", "x$HOME", "x${HOME}", "实验 1", "1e3", "true", "null", "a,b"),
    *(" blanks ", 'a "b"', "a\\b", "a=b", "(a)", "[a]", "{a}", "`id`", "!!", "#a", "~", "*"),
]
PROGRAMS = ("python", "generate", "mlflow")


@pytest.fixture
def run_line(tmp_path: Path):
    """A line in a shell in which the programs only say what they get: themselves, words, store."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        stub = f'#!/bin/sh\nprintf "%s\\0" {name} "$@" "${{MLFLOW_TRACKING_URI-unset}}"\n'
        (programs / name).write_text(stub)
        (programs / name).chmod(0o755)

    def run(line: str) -> list[Any]:
        path = f"{programs}:{os.environ['PATH']}"
        environment = clean_environment() | {"PATH": path, "HOME": "/nobody"}
        said = subprocess.check_output(["sh", "-c", line], env=environment, text=True)
        *words, uri, _ = said.split("\0")
        return [*words, None if uri == "unset" else uri]

    return run


def values(words: list[str]) -> dict[str, Any]:
    """What the words of a command set, as the program gets it."""
    parsed = OverridesParser.create().parse_overrides([word for word in words if "=" in word])
    config = OmegaConf.create({})
    for each in parsed:
        OmegaConf.update(config, each.key_or_group, each.value(), force_add=True)
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    return settings


@pytest.mark.parametrize("name", NAMES)
def test_the_next_commands(name, tmp_path, monkeypatch, run_line):
    monkeypatch.chdir(tmp_path)
    store = f"sqlite:///{name.strip()}/s.db"
    for monkeypatched in (False, True):
        if monkeypatched:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        given = None if monkeypatched else store
        run = replace(BASE, experiment=name, tracking=BASE.tracking | {"uri": given})
        text = table.next_commands(run)
        browse, report = (line[7:] for line in text.splitlines())
        *_, option, uri, _ = run_line(browse)
        expected = places.store_uri(store, tmp_path)
        assert (option, uri) == ("--backend-store-uri", expected)
        program, word, *words, _ = run_line(report)
        assert (program, word) == ("generate", "report")
        assert values(words) == {"tracking": {"uri": expected}, "experiment": name}


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_a_page(name, run_line):
    """A value is a string on purpose where its default is one, else what its text says."""
    row = {
        **{"loss": "mine", "loss_option": name, "model": "mlp", "data": "digits"},
        "loss.text": name if name not in ("null", "[a]") else "other",
        **{"loss.weights": "[0.1, 2]", "loss.by_class": "{'a': 1.0}", "data.noise_kind": name},
        **{"data.extra": "1", "data.validation_size": "360"},
    }
    grid = ["mine"], [0.1, 1 / 3], [0, 1], pd.DataFrame([row])
    (line,) = commands.run_command(*grid, epochs=2, experiment=name, uri=name)
    *words, _ = run_line(line)
    assert words[:3] == ["python", "experiments/run.py", "-m"]
    assert "+data.extra=1" in words  # in no file of conf/
    assert "lr=0.1,0.3333333333333333" in words
    got = values([word for word in words if not word.startswith(("lr=", "seed="))])
    assert (got["experiment"], got["tracking"]["uri"]) == (name, name)
    assert got["loss"]["weights"] == [0.1, 2]
    assert got["loss"]["by_class"] == {"a": 1.0}
    assert got["data"]["noise_kind"] == name


@pytest.mark.parametrize("name", NAMES)
def test_mlflows_own_commands(name, tmp_path, run_line):
    store = f"sqlite:////{name}/s.db"
    words = run_line(f"{mlflow_for(store)} runs restore --run-id 1")
    assert words == ["mlflow", "runs", "restore", "--run-id", "1", store]
    assert mlflow_for(f"sqlite:///{Path.cwd()}/mlflow.db") == "mlflow"


def printed(text: str) -> list[str]:
    """The commands among lines of text."""
    lines = (re.sub(r"^next: ", "", line).strip() for line in text.splitlines())
    return [line for line in lines if re.match(rf"(MLFLOW\S+ )?({'|'.join(PROGRAMS)}) ", line)]


@pytest.mark.slow
def test_all_that_a_run_and_its_report_print(tmp_path, run_command, run_line, monkeypatch):
    name = 'it\'s a/b: 50% x$HOME "实验"'
    place = tmp_path / "a place it's"
    place.mkdir()
    uri = f"sqlite:///{place}/my store.db"
    exported: Mapping[str, str] = {"MLFLOW_TRACKING_URI": uri, "PYTHONUTF8": "1"}
    grid = ["-m", "loss=ce,brier", *but(SMALL, "lr=0.01,0.03", "epochs=1"), "seed=0,1,2"]
    done = run_command(tmp_path, *grid, override("experiment", name), **exported)
    assert done.returncode == 0, done.stderr
    browse, report = printed(done.stdout)
    assert run_line(browse)[-2] == uri

    # For real, in a shell that does not know the store.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    how = {"cwd": tmp_path, "env": clean_environment() | {"PATH": path, "PYTHONUTF8": "1"}}
    subprocess.check_output(["sh", "-c", report], **how)
    (page,) = (tmp_path / "outputs" / "reports").glob("*/index.html")
    block = r"<pre[^>]*>(?:<code>)?(.*?)(?:</code>)?</pre>"
    blocks = re.findall(block, page.read_text(), re.DOTALL)
    in_page = printed(html.unescape(re.sub(r"<[^>]+>", "", "\n".join(blocks))))
    in_markdown = printed((page.parent / "report.md").read_text())
    assert in_page == in_markdown
    assert len(in_page) >= 3
    for line in [report, *in_page]:
        program, *words, _ = run_line(line)
        ranges = ("lr=", "seed=", "loss=")
        got = values([word for word in words if not word.startswith(ranges)])
        assert got["tracking"]["uri"] == uri, line
        if program == "python" or not {"check", "sweep"} & got.keys():
            assert got["experiment"] == name, line
    check = next(line for line in in_page if "check=" in line)
    again = subprocess.check_output(["sh", "-c", check], text=True, **how)
    assert re.fullmatch(r"all \d+ verdicts of .* hold\n", again)
