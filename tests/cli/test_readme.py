"""The README and docs/ tell the truth.

Commands run, tables name every option, links lead somewhere.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections import Counter

import pytest
from helpers.commands import ROOT
from helpers.doc_tables import BASH, COMMANDS, README, lines_of_bash
from helpers.docs import EVERYTHING, blocks, write_examples
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from reports import options as report_options

# Lines of bash that are not run here, since they need a network, a server, a cluster or a terminal.
NOT_RUN = """\
pip install -e ".[test]" && pytest
pip install -e ".[ray,server]"
pip install -e ".[slurm]"
mlflow ui
python tests/benchmarks/train_speed.py --cpu-time --rounds 5 --seconds .5
python tests/benchmarks/train_speed.py --cpu-time --rounds 5 --seconds .5 \
--networks lenet5 --batch 32
mlflow server --host 127.0.0.1
mlflow server --host 127.0.0.1 --backend-store-uri postgresql+psycopg2://USER@HOST/DATABASE \
--artifacts-destination DIRECTORY
mlflow server --app-name basic-auth --host 0.0.0.0 --allowed-hosts HEAD:5000
ssh -fN -L 5000:127.0.0.1:5000 MACHINE
ssh -fN -L 5000:127.0.0.1:5000 HEAD
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=SECRET
export MLFLOW_AUTH_ADMIN_PASSWORD=SECRET MLFLOW_FLASK_SERVER_SECRET_KEY=ANOTHER
export MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=SECRET
ray start --head --port=6379
ray start --address=HEAD:6379
python tests/benchmarks/inference.py --trials 2000
""".splitlines()


# the one package that a command of a page needs besides
SLURM = "hydra_plugins.hydra_submitit_launcher"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command, run_command, tmp_path):
    """By `--cfg job`, which composes everything and trains nothing; a report's options are read."""
    if "hydra/launcher=slurm" in command:
        pytest.importorskip(SLURM)
    line = command.partition("&& ")[2] or command
    words = shlex.split(re.sub(r"^eval \"\$\((.*)\)\"$", r"\1", line))
    write_examples(tmp_path)
    if "compare" in words:
        words = ["report", *report_options.of_compare(words[words.index("compare") + 1 :])]
    if "experiments/run.py" not in words:
        program = "report" if "report" in words else "reports/generate.py"
        arguments = words[words.index(program) + 1 :]
        report_options.register()
        report_options.check_names(arguments)
        overrides = report_options.lengthen(arguments)
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("report", overrides)
        report_options.read(cfg, overrides)  # raises for a wrong value
        return
    arguments = words[words.index("experiments/run.py") + 1 :]
    arguments = [re.sub(r",.*|range\((\d+)\)", r"\1", word) for word in arguments if word != "-m"]
    # what a sweep alone has
    arguments = [word for word in arguments if not word.startswith("tune.")]
    shown = [] if {"--help", "-sc"} & set(arguments) else ["--cfg", "job"]
    done = run_command(tmp_path, *arguments, *shown, loaded="light", PYTHONPATH=".")
    assert done.returncode == 0, done.stderr


def test_there_are_commands_to_test():
    assert "pip install -e . && python experiments/run.py -m loss=mse,ce" in lines_of_bash(README)
    assert 'pip install -e ".[test]" && pytest' in lines_of_bash(README)
    assert len(COMMANDS) >= 25


def test_what_is_not_run_is_listed():
    assert sorted(set(BASH) - set(COMMANDS)) == sorted(NOT_RUN)


def test_extras_that_are_installed_are_there():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = project.partition("[project.optional-dependencies]")[2]
    there = re.findall(r"^(\w+) = \[$", extras, re.M)
    named = set(",".join(re.findall(r'"\.\[([\w,]+)\]"', EVERYTHING)).split(","))
    assert named <= set(there) and {"test", "ray", "slurm", "server", "optuna"} <= named


def test_other_code_blocks_can_be_read():
    counts = Counter()
    for language, content in blocks(EVERYTHING):
        counts[language] += 1
        if language == "python":
            ast.parse(content)
        elif language == "yaml":
            assert OmegaConf.create(content)
    assert set(counts) == {"bash", "python", "yaml", ""}
    assert counts["python"] >= 3 and counts["yaml"] >= 3
