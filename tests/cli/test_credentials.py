"""Credentials reach neither the store nor a file nor the screen.

Values that only look like one stay.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import pytest
from helpers.commands import OF_A_STORE, ROOT, SMALL, but
from helpers.marks import first
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments import tracking
from experiments.credentials import Formatter, redacted, refusal, refused_values, shown
from experiments.tracking import provenance

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


def files_with_traces(directory: Path) -> list[str]:
    """The files below `directory` in which something planted is."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(trace in path.read_bytes() for trace in TRACES)]


@pytest.fixture
def hidden(monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    return "\n".join([*PLANTED.values(), f"http://me:{IN_ADDRESS}@host/path"])


# ---- redacting -----------------------------------------------------------------------------------


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
        *("http://me:pass@host/x", "https://me@host", "http://:pass@host"),
        "postgresql://me:p@ss:w@host:5432/db",
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
        ("A_PASSWORD", "1234"),
        ("A_PASSWORD", "0.0003"),
        ("A_PASSWORD", "digits"),
        ("MAX_TOKEN_LEN", "16777216"),
        ("TOKEN_LIMIT", "16777216"),
        ("GOOGLE_CREDENTIALS", str(Path(__file__).resolve())),
        ("KEYBOARD", "german"),
        ("PWD", "somewhere"),
    ],
)
def test_what_is_no_credential_stays(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    text = f"force: {value}\ndata: {value}"
    assert redacted(text) == text


@pytest.mark.parametrize("value", ["20240518", "correcthorse"])
def test_a_word_or_a_number_counts_only_where_it_stands_alone(monkeypatch, value):
    monkeypatch.setenv("A_PASSWORD", value)
    assert redacted(f"identity 9f{value}ab, pin={value}.") == f"identity 9f{value}ab, pin=***."


def test_addresses_are_shown_without_what_is_secret_in_them(monkeypatch):
    monkeypatch.setenv("A_PASSWORD", "data-of-mine")
    text = "see http://me:pass@host/x?password=p&y=1 and sqlite:////data-of-mine/m.db"
    assert shown(text) == "see http://***@host/x?password=***&y=1 and sqlite:////data-of-mine/m.db"


def test_an_sqlite_path_may_have_any_sign():
    assert redacted("sqlite:////data/me@work/mlflow.db") == "sqlite:////data/me@work/mlflow.db"


def test_log_lines_show_none(hidden):
    record = logging.LogRecord("n", logging.ERROR, "f", 1, "it said %s", (hidden,), None)
    try:
        raise RuntimeError(hidden)
    except RuntimeError:
        record.exc_info = sys.exc_info()
    text = Formatter("%(message)s").format(record)
    assert text.startswith("ERROR: it said ***")
    assert "RuntimeError: ***" in text
    assert "planted" not in text


@pytest.mark.parametrize("value", ["planted-two", "Bearer planted-two", ["planted-two"], "plant6"])
def test_a_value_that_is_a_credential_is_refused(hidden, value):
    (message,) = refused_values({"loss.note": value, "loss.other": "harmless"})
    words = r"loss\.note: expected .* read it where it is used, with os\.environ\["
    assert re.match(words, message)
    assert "plant" not in message


@pytest.mark.parametrize("value", ["symmetric", "20240518", 20240518, "1234"])
def test_a_word_or_a_number_is_not(monkeypatch, value):
    monkeypatch.setenv("A_PASSWORD", str(value))
    assert refused_values({"data.noise_kind": value}) == []


# ---- addresses of stores -------------------------------------------------------------------------

BAD = [
    "http://me:secret@127.0.0.1:9",
    "https://me@host/x",
    "http://me:se/cret@host",
    "postgresql://host/db?password=secret",
    "https://host?a=b&api_key=secret",
]


@pytest.mark.parametrize("uri", BAD)
def test_an_address_with_credentials_is_refused_and_not_repeated(monkeypatch, uri):
    for message in (refusal(uri), monkeypatch.setenv("MLFLOW_TRACKING_URI", uri) or refusal(None)):
        assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in message
        assert "cret" not in message
    assert refusal(None).startswith("MLFLOW_TRACKING_URI: expected")
    assert refusal("http://host") == ""  # it comes before the environment


@pytest.mark.parametrize(
    "uri",
    [
        *(None, "http://127.0.0.1:5000", "sqlite:///me@work.db", "sqlite:///my.db?password=x"),
        "https://host/x?y=password",
    ],
)
def test_others_are_not(uri):
    assert refusal(uri) == ""


@pytest.mark.parametrize("arguments", [[], ["-m"], ["plan=true"], ["rerun=abc"]], ids=str)
@pytest.mark.parametrize("by", OF_A_STORE)
def test_the_command_refuses_it_before_anything_is_written(tmp_path, run_command, arguments, by):
    words, environment = OF_A_STORE[by](f"http://me:{IN_ADDRESS}@127.0.0.1:9")
    done = run_command(tmp_path, *arguments, *SMALL, *words, **environment)
    assert done.returncode != 0
    assert "expected an address without a user name or a password" in done.stderr
    assert "planted" not in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "uri", [f"http://me:{IN_ADDRESS}@host", f"https://host?token={IN_ADDRESS}"]
)
@pytest.mark.parametrize("by", OF_A_STORE)
def test_a_report_refuses_it(tmp_path, monkeypatch, by, uri):
    from reports import options

    if by == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    options.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("report", [f"tracking.uri='{uri}'"] if by == "override" else [])
    with pytest.raises(options.OptionError, match="without a user name or a password") as error:
        options.read(cfg, [])
    assert "planted" not in str(error.value)


# ---- everywhere ----------------------------------------------------------------------------------


def test_nothing_that_a_run_leaves_in_the_store_holds_one(hidden, tmp_path, monkeypatch):
    """The checkout is dirty, with credentials in a tracked file, and the run's error has them."""
    answers = {"rev-parse": "c" * 40, "status": " M conf/mine.yaml", "diff": f"+{hidden}\n"}
    monkeypatch.setattr(provenance, "_git", lambda command, *_: answers[command])
    provenance.git_state.cache_clear()
    store = tracking.open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", "mine")
    try:
        with (
            pytest.raises(RuntimeError),
            tracking.tracked_run(store, name="mine", params={}, tags={}) as tracked,
        ):
            tracked.log_text("code/mine.py", f"TOKEN = {PLANTED['MLFLOW_TRACKING_TOKEN']!r}")
            raise RuntimeError(hidden)
    finally:
        provenance.git_state.cache_clear()
    names = {artifact.path for artifact in store.client.list_artifacts(tracked.run_id)}
    assert names == {"code", "environment.txt", "changes.diff", "traceback.txt"}
    artifacts = str(tmp_path / "mlartifacts")
    diff = store.client.download_artifacts(tracked.run_id, "changes.diff", artifacts)
    assert Path(diff).read_text().startswith("+***\n***\n")
    assert files_with_traces(tmp_path) == []


def test_params_names_and_configs_are_kept_as_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("A_PASSWORD", "correcthorse")
    store = tracking.open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", "mine")
    texts = {"config.yaml": "loss: correcthorse\n"}
    named = {"name": "correcthorse", "params": {"loss": "correcthorse"}}
    with tracking.tracked_run(store, **named, tags={}, texts=texts) as tracked:
        pass
    run = store.client.get_run(tracked.run_id)
    assert run.data.params == {"loss": "correcthorse"}
    assert run.info.run_name == "correcthorse"
    path = store.client.download_artifacts(tracked.run_id, "config.yaml", str(tmp_path))
    assert Path(path).read_text() == texts["config.yaml"]


@pytest.mark.slow
def test_values_that_look_like_a_password_stay_values(tmp_path, run_command):
    """Short values of such variables are everywhere in a store; none of them is touched."""
    environment = {"DB_PASSWORD": "1234", "MAX_TOKEN_LEN": "1000", "A_PASSWORD": "test"}
    environment["MYSQL_ROOT_PASSWORD"] = "root"
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path / 'root' / 'm.db'}"
    arguments = ["-m", "loss=ce,mse", *SMALL, "data.train_size=1000", "seed=1234,1235"]
    done = run_command(tmp_path, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert "***" not in done.stdout + done.stderr
    assert "test acc" in done.stdout
    seeds = re.findall(r"(?m)^ *(?:ce|mse) +0\.003 +2 +(\S+) ", done.stdout)
    assert seeds == ["1234", "1235", "1234", "1235"]
    again = run_command(tmp_path, *arguments, **environment)
    assert "4 finished before, 0 to run" in again.stdout + again.stderr
    store = tracking.open_store(f"sqlite:///{tmp_path / 'root' / 'm.db'}", "digits")
    runs = store.search("tags.kind = 'run'")
    assert sorted(run.data.params["seed"] for run in runs) == ["1234", "1234", "1235", "1235"]
    assert {run.data.params["data.train_size"] for run in runs} == {"1000"}
    for run in runs:
        path = store.client.download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))
        kept = OmegaConf.load(path)
        assert str(kept.seed) == run.data.params["seed"]
        assert kept.data.train_size == 1000


LOSSES = """
import os
from experiments.losses import ce

def quiet(logits, labels, *, token="", note=""):
    return ce(logits, labels)

def leaks(logits, labels):
    trains = len(labels) == 360 and logits.abs().sum() > 0  # in the check, they are 0
    if (trains and os.environ.get("LATE")) or os.environ.get("EARLY"):
        values = [os.environ[name] for name in sorted(os.environ) if name in NAMES]
        shown = " | ".join([*values, repr(values)])
        raise RuntimeError(shown + " | http://me:" + ADDRESS[::-1] + "@host/path")
    return ce(logits, labels)
"""


@pytest.fixture
def own(tmp_path) -> Path:
    """A directory with losses: one has a token of the environment, one shows all credentials."""
    words = [f"NAMES = {list(PLANTED)}", f"ADDRESS = {IN_ADDRESS[::-1]!r}", "# planted-two"]
    (tmp_path / "mine.py").write_text("\n".join(words) + LOSSES)
    (tmp_path / "loss").mkdir()
    option = "_target_: mine.{}\n_partial_: true\n"
    (tmp_path / "loss" / "quiet.yaml").write_text(option.format("quiet") + "note: ''\n")
    (tmp_path / "loss" / "leaks.yaml").write_text(option.format("leaks"))
    token = "token: ${oc.env:MLFLOW_TRACKING_TOKEN}\n"
    (tmp_path / "loss" / "has_token.yaml").write_text(option.format("quiet") + token)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "name"),
    first(
        2,
        [
            (["loss=has_token"], "loss.token"),
            (["-m", "loss=has_token,ce"], "loss.token"),
            (["loss=quiet", "loss.note=planted-two"], "loss.note"),
            (["-m", "loss=quiet", "loss.note=planted-two,x"], "loss.note"),
        ],
    ),
)
def test_a_command_with_a_credential_among_its_values_is_refused(own, run_command, arguments, name):
    before = set(own.rglob("*"))
    done = run_command(own, "--config-dir", ".", *SMALL, *arguments, PYTHONPATH=str(own), **PLANTED)
    assert done.returncode == 1
    assert f"{name}: expected " in done.stderr
    assert "planted" not in done.stdout + done.stderr
    new = {path for path in own.rglob("*") if path.is_file()} - before
    new -= {path for path in new if "__pycache__" in path.parts}
    assert not any(trace in path.read_bytes() for path in new for trace in TRACES)
    assert not (own / "mlflow.db").exists()


@pytest.mark.slow
def test_nothing_that_the_command_writes_or_prints_holds_one(own, run_command):
    """A loss raises an error with all that the environment holds: checked, in a sweep, alone."""
    before = {path.name for path in own.rglob("*")}
    mine = ["--config-dir", ".", *but(SMALL, "epochs=1")]
    printed = ""
    for arguments, when in (
        (["-m", "loss=quiet,leaks"], "LATE"),
        (["loss=leaks", "seed=1"], "LATE"),
        (["loss=leaks", "seed=2"], "EARLY"),
        (["-m", "loss=leaks", "hydra/launcher=basic"], "LATE"),
    ):
        done = run_command(own, *mine, *arguments, PYTHONPATH=str(own), **{when: "1"}, **PLANTED)
        assert done.returncode == 1, done.stderr
        assert "*** | ***" in done.stderr
        printed += done.stdout + done.stderr
    assert re.search(r"FAILED .*loss=leaks.*: RuntimeError: \*\*\* \|", printed)
    names = {path.name for path in own.rglob("*")} - before
    assert any("# ***" in path.read_text() for path in own.rglob("code/mine.py"))
    of_runs = {"run.log", "hydra.yaml", "config.yaml", "traceback.txt", "MLmodel"}
    assert {"mlflow.db", *of_runs} <= names
    (own / "mine.py").unlink()
    # The diff may be of this very file, in which they stand as well.
    for path in [*own.rglob("*.pyc"), *own.rglob("changes.diff")]:
        path.unlink()
    assert files_with_traces(own) == []
    assert not any(trace.decode() in printed for trace in TRACES)
