"""Credentials reach neither the store nor a file nor the screen: each is planted somewhere, and looked for everywhere."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SMALL
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments import tracking
from experiments.credentials import Formatter, Screen, clean, redacted, refusal
from experiments.tracking import circumstances

PLANTED = {
    "MLFLOW_TRACKING_PASSWORD": "planted' one",
    "MLFLOW_TRACKING_TOKEN": "planted-two",
    "AWS_SECRET_ACCESS_KEY": "planted/three+x=",
    "MYSQL_PWD": 'planted"four',
    "DEPLOY_PRIVATE_KEY": "-----BEGIN KEY-----\nplanted-five\n-----END KEY-----",
    "MY_API_KEY": "plant6",
}
IN_ADDRESS = "planted-in-an-address"
TRACES = (b"planted", b"plant6")


def found(directory: Path) -> list[str]:
    """The files below `directory` in which something planted is."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(trace in path.read_bytes() for trace in TRACES)]


@pytest.fixture
def hidden(monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    return "\n".join([*PLANTED.values(), f"http://me:{IN_ADDRESS}@host/path"])


# ---- redacting ----------------------------------------------------------------------------------------------------


def test_values_of_variables_named_like_a_credential_are_taken_out(hidden):
    assert redacted(f"+{hidden}") == "+***\n***\n***\n***\n***\n***\n***\n***\nhttp://***@host/path"


@pytest.mark.parametrize(
    "write", [repr, json.dumps, lambda text: OmegaConf.to_yaml({"note": text})]
)
def test_however_they_are_written(hidden, write):
    for value in PLANTED.values():
        for line in value.splitlines():
            text = write(line)
            assert not any(trace in redacted(text).encode() for trace in TRACES), text


@pytest.mark.parametrize(
    "address",
    [
        "http://me:pass@host/x",
        "https://me@host",
        "postgresql://me:p@ss:w@host:5432/db",
        "http://:pass@host",
    ],
)
def test_names_and_passwords_in_addresses_are_taken_out(address):
    text = redacted(f"see {address}, and me@example.org")
    assert text.startswith(f"see {address.split('://')[0]}://***@host")
    assert "pass" not in text
    assert "p@ss" not in text
    assert text.endswith(", and me@example.org")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("MAX_TOKENS", "4096"),
        ("USE_TOKEN", "true"),
        ("A_PASSWORD", "ce"),
        ("KEYBOARD", "german"),
        ("PWD", "somewhere"),
    ],
)
def test_what_is_no_credential_stays(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    text = f"force: {value}\ndata: {value}"
    assert redacted(text) == text


def test_a_short_one_is_not_seen_inside_a_hash(monkeypatch):
    monkeypatch.setenv("A_PASSWORD", "1234")
    assert redacted("identity 9f1234ab, pin=1234.") == "identity 9f1234ab, pin=***."


def test_an_sqlite_path_may_have_any_sign():
    assert redacted("sqlite:////data/me@work/mlflow.db") == "sqlite:////data/me@work/mlflow.db"


def test_log_lines_and_the_screen_show_none(hidden, capsys):
    record = logging.LogRecord("n", logging.ERROR, "f", 1, "it said %s", (hidden,), None)
    try:
        raise RuntimeError(hidden)
    except RuntimeError:
        record.exc_info = sys.exc_info()
    text = Formatter("%(message)s").format(record)
    assert text.startswith("it said ***")
    assert "RuntimeError: ***" in text
    print(hidden, file=Screen(sys.stdout))
    assert "planted" not in text + capsys.readouterr().out


def test_what_hydra_has_written_is_cleaned(hidden, tmp_path):
    (tmp_path / "overrides.yaml").write_text("- loss.token=planted-two\n- lr=0.1\n")
    (tmp_path / "other.txt").write_text("left alone")
    clean(tmp_path)
    assert (tmp_path / "overrides.yaml").read_text() == "- loss.token=***\n- lr=0.1\n"
    assert (tmp_path / "other.txt").read_text() == "left alone"


# ---- addresses of stores ------------------------------------------------------------------------------------------

BAD = [
    "http://me:secret@127.0.0.1:9",
    "https://me@host/x",
    "http://me:se/cret@host",
    "postgresql://host/db?password=secret",
]


@pytest.mark.parametrize("uri", BAD)
def test_an_address_with_credentials_is_refused_and_not_repeated(monkeypatch, uri):
    for message in (refusal(uri), monkeypatch.setenv("MLFLOW_TRACKING_URI", uri) or refusal(None)):
        assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in message
        assert "cret" not in message
    assert refusal(None).startswith("MLFLOW_TRACKING_URI: expected")
    assert refusal("http://host") == ""  # it comes before the environment


@pytest.mark.parametrize(
    "uri", [None, "http://127.0.0.1:5000", "sqlite:///me@work.db", "https://host/x?y=1"]
)
def test_others_are_not(uri):
    assert refusal(uri) == ""


@pytest.mark.parametrize("arguments", [[], ["-m"], ["plan=true"], ["rerun=abc"]], ids=str)
@pytest.mark.parametrize("by", ["override", "environment"])
def test_the_command_refuses_it_before_anything_is_written(tmp_path, run_command, arguments, by):
    uri = f"http://me:{IN_ADDRESS}@127.0.0.1:9"
    given = (
        ([f"tracking.uri={uri}"], {}) if by == "override" else ([], {"MLFLOW_TRACKING_URI": uri})
    )
    done = run_command(tmp_path, *arguments, *SMALL, *given[0], **given[1])
    assert done.returncode != 0
    assert "expected an address without a user name or a password" in done.stderr
    assert "planted" not in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("by", ["override", "environment"])
def test_a_report_refuses_it(tmp_path, monkeypatch, by):
    from reports import options

    uri = f"http://me:{IN_ADDRESS}@host"
    if by == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    options.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("report", [f"tracking.uri={uri}"] if by == "override" else [])
    with pytest.raises(options.OptionError, match="without a user name or a password") as error:
        options.read(cfg, [])
    assert "planted" not in str(error.value)


# ---- everywhere ---------------------------------------------------------------------------------------------------


def test_nothing_that_a_run_leaves_in_the_store_holds_one(hidden, tmp_path, monkeypatch):
    """The checkout is dirty, with a credential in a tracked file; so are the config, a param, the run's name and its error."""
    answers = {"rev-parse": "c" * 40, "status": " M conf/mine.yaml", "diff": f"+{hidden}\n"}
    monkeypatch.setattr(circumstances, "_git", lambda command, *_: answers[command])
    circumstances.git_state.cache_clear()
    store = tracking.open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", "mine")
    texts = {
        "config.yaml": OmegaConf.to_yaml({"token": hidden, "other": PLANTED}),
        "overrides.yaml": hidden,
    }
    params = {"loss.token": PLANTED["MLFLOW_TRACKING_TOKEN"], "lr": 0.1}
    name = f"loss=mine token={PLANTED['MLFLOW_TRACKING_TOKEN']}"
    try:
        with (
            pytest.raises(RuntimeError),
            tracking.tracked_run(store, name=name, params=params, tags={}, texts=texts) as tracked,
        ):
            raise RuntimeError(hidden)
    finally:
        circumstances.git_state.cache_clear()
    run = store.client.get_run(tracked.run_id)
    assert run.data.params == {"loss.token": "***", "lr": "0.1"}
    assert run.info.run_name == "loss=mine token=***"
    names = {artifact.path for artifact in store.client.list_artifacts(tracked.run_id)}
    assert names == {
        "config.yaml",
        "overrides.yaml",
        "environment.txt",
        "changes.diff",
        "traceback.txt",
    }
    diff = store.client.download_artifacts(
        tracked.run_id, "changes.diff", str(tmp_path / "mlartifacts")
    )
    assert Path(diff).read_text().startswith("+***\n***\n")
    assert found(tmp_path) == []


LOSSES = """
import os
from experiments.losses import ce

def quiet(logits, labels, *, token, note=""):
    return ce(logits, labels)

def leaks(logits, labels, *, token, note=""):
    if len(labels) > 2:
        values = [os.environ[name] for name in sorted(os.environ) if name in NAMES]
        raise RuntimeError(" | ".join([token, *values, repr(values)]) + " | http://me:" + "-".join(ADDRESS) + "@host/path")
    return ce(logits, labels)
"""


@pytest.mark.slow
def test_nothing_that_the_command_writes_or_prints_holds_one(tmp_path, run_command):
    """A loss has a token of its own from the environment, another is typed, and an error says all that the environment holds."""
    words = [f"NAMES = {list(PLANTED)}", f"ADDRESS = {IN_ADDRESS.split('-')}"]
    (tmp_path / "mine.py").write_text("\n".join(words) + LOSSES)
    (tmp_path / "loss").mkdir()
    for name in ("quiet", "leaks"):
        (tmp_path / "loss" / f"{name}.yaml").write_text(
            f"_target_: mine.{name}\n_partial_: true\ntoken: ${{oc.env:MLFLOW_TRACKING_TOKEN}}\nnote: ''\n"
        )
    before = {path.name for path in tmp_path.rglob("*")}
    mine = ["--config-dir", ".", *SMALL, "epochs=1"]
    typed = "+hydra.job.env_set.OTHER_PASSWORD=planted-typed"
    printed = ""
    for arguments, code in (
        (["-m", "loss=quiet,leaks", "loss.note=planted-two,x"], 1),
        (["loss=leaks", "loss.note=planted-two", "seed=1"], 1),
        (["loss=quiet", "loss.note=planted-two", "seed=1", typed], 0),
        (["loss=quiet", "--cfg", "job", "--resolve"], 0),
    ):
        done = run_command(tmp_path, *mine, *arguments, PYTHONPATH=str(tmp_path), **PLANTED)
        assert done.returncode == code, done.stderr
        printed += done.stdout + done.stderr
    assert (
        printed.count("RuntimeError: *** | ***") >= 3
    )  # as it happened, at the end, and of the run alone
    assert re.search(r"FAILED .*loss=leaks .*RuntimeError: \*\*\* \|", printed)
    names = {path.name for path in tmp_path.rglob("*")} - before
    assert {
        "mlflow.db",
        "run.log",
        "hydra.yaml",
        "config.yaml",
        "traceback.txt",
        "MLmodel",
    } <= names
    (tmp_path / "mine.py").unlink()
    for compiled in tmp_path.rglob("*.pyc"):
        compiled.unlink()
    assert found(tmp_path) == []
    assert not any(trace.decode() in printed for trace in TRACES)
