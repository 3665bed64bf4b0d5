"""More than one machine: Ray, PostgreSQL and a tracking server, all of them real, on this one."""

from __future__ import annotations

import math
import operator
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.commands import ROOT, but, clean_environment, free_port, mlflow_server, wait_for
from mlflow.entities import Dataset, DatasetInput
from mlflow.tracking import MlflowClient
from sqlalchemy import create_engine

POSTGRESQL = max(
    Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None
)  # as Debian installs it
GRID = ["-m", "loss=mse,ce", "seed=0,1", "data=digits", "model=softmax"]

needs_cluster = pytest.mark.skipif(
    not (find_spec("ray") and find_spec("psycopg2") and POSTGRESQL),
    reason='needs pip install -e ".[ray,server]" and apt-get install postgresql',
)
needs_submitit = pytest.mark.skipif(
    not find_spec("submitit"), reason='needs pip install -e ".[slurm]"'
)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URI of a database on a free loopback port."""
    assert POSTGRESQL
    directory = Path(tempfile.mkdtemp())  # not pytest's own, which the user postgres may not enter
    who = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(directory, "postgres")
        who = {"user": "postgres", "group": "postgres", "extra_groups": []}
    port = free_port()

    def run(program: str, *arguments: str) -> None:
        command = [str(POSTGRESQL.with_name(program)), "-D", str(directory / "data"), *arguments]
        subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL, **who)

    run(
        "initdb",
        "--username=fairloss",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
    )
    run(
        "pg_ctl",
        "start",
        "--wait",
        f"--log={directory}/log",
        f"--options=-h 127.0.0.1 -p {port} -k {directory}",
    )
    try:
        yield f"postgresql+psycopg2://fairloss@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "stop", "--mode=immediate")
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def server(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URI of a tracking server on PostgreSQL, and the directory where it keeps artifacts."""
    directory = tmp_path_factory.mktemp("server")
    artifacts = directory / "artifacts"
    options = ["--backend-store-uri", postgresql, "--artifacts-destination", str(artifacts)]
    with mlflow_server(directory, *options) as uri:
        yield uri, artifacts


class Cluster:
    """Nodes of a Ray cluster, a core each, on this machine.

    Ray listens on all its interfaces, so it asks for a token.
    """

    def __init__(self, directory: Path):
        self.directory, self.port = directory, free_port()
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.environment = {
            "RAY_ADDRESS": f"127.0.0.1:{self.port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.add(
            "--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={directory}"
        )
        self.add(f"--address={self.environment['RAY_ADDRESS']}", "--include-log-monitor=false")

    def add(self, *options: str) -> None:
        """Start a node and wait until it is there."""
        log = self.directory / f"node{len(self.nodes)}.log"
        ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
        with log.open("w") as file:
            node = subprocess.Popen(
                [
                    *ray, "start", "--block", "--num-cpus=1", "--object-store-memory=80000000",
                    *options,
                ],
                env=clean_environment() | self.environment, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.nodes.append(node)
        wait_for(lambda: "Ray runtime started" in log.read_text() or node.poll() is not None)
        assert node.poll() is None, log.read_text()

    def runs_by_process(self) -> list[list[tuple[str, str]]]:
        """Loss and seed of the runs of each process of a job, in order.

        Ray keeps a file of what each prints; the driver may leave before it has shown it all.
        """
        logs = self.directory.glob("session_2*/logs/worker-*.out")
        lines = r"^\S+ loss=(\w+) .* seed=(\d+) .* took "
        runs = [re.findall(lines, log.read_text(), flags=re.MULTILINE) for log in logs]
        return sorted(filter(None, runs))

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """A node's processes, its workers among them, gone at once."""
        for process in [*psutil.Process(node.pid).children(recursive=True), node]:
            process.kill()
        node.wait()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    directory = Path(
        tempfile.mkdtemp(prefix="ray")
    )  # not pytest's own: its sockets need a short path
    cluster = Cluster(directory)
    try:
        yield cluster
    finally:
        for node in cluster.nodes:
            if node.poll() is None:
                cluster.kill(node)
        shutil.rmtree(directory, ignore_errors=True)


def runs_of(uri, experiment):
    """The runs in the store, runs and parents, with their status and what they were."""
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    jobs = [run for run in runs if run.data.tags["kind"] == "run"]
    return client, jobs, [run.info.status for run in runs if run.data.tags["kind"] == "sweep"]


def finished(jobs):
    """Loss and seed of every finished run, in order."""
    done = [run.data.params for run in jobs if run.info.status == "FINISHED"]
    return sorted((params["loss"], params["seed"]) for params in done)


EACH_ONCE = [("ce", "0"), ("ce", "1"), ("mse", "0"), ("mse", "1")]


@pytest.mark.slow
@pytest.mark.server
@needs_cluster
def test_a_report_reads_the_same_from_a_server_and_from_the_database_behind_it(postgresql, server):
    from reports.runs.store import Database, Server

    client = MlflowClient(server[0])
    experiment = client.create_experiment("read twice")
    for number in range(3):
        run_id = client.create_run(experiment, 1000 + number, {"kind": "run"}).info.run_id
        client.log_param(run_id, "lr", number)
        for step, value in enumerate((0.5, math.nan, math.inf)):
            client.log_metric(run_id, "val/loss", value, 2000 + step, step)
        dataset = Dataset("digits", f"{number}" * 32, "local", "{}")
        client.log_inputs(run_id, [DatasetInput(dataset)])
        client.set_terminated(run_id)
    client.create_run(experiment)  # of another program

    stores = Server(server[0]), Database(postgresql, create_engine(postgresql))
    served, read = (list(store.runs("run", [experiment])) for store in stores)
    key = operator.attrgetter("run_id")
    assert sorted(served, key=key) == sorted(read, key=key) and len(read) == 3
    ids = sorted(run.run_id for run in read)
    served, read = ([str(row) for part in store.histories(ids) for row in part] for store in stores)
    assert sorted(served) == [row.replace("None", "nan") for row in sorted(read)]
    assert len(read) == 9
    newest = [next(store.runs("run", [experiment], newest=True)).started for store in stores]
    assert newest == [1002, 1002]
    served, read = (sorted(store.experiments(), key=lambda each: each.id) for store in stores)
    assert served == read and len(read) >= 2


@pytest.mark.slow
@pytest.mark.server
@needs_cluster
def test_a_sweep_runs_on_two_nodes_into_a_server(cluster, server, run_command, tmp_path):
    uri, artifacts = server
    done = run_command(
        tmp_path, "hydra/launcher=ray", "hydra.launcher.ray.init.address=auto",
        f"tracking.uri={uri}", "experiment=calm", "epochs=2", *GRID, **cluster.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert cluster.runs_by_process() == [[run] for run in EACH_ONCE]
    client, jobs, parents = runs_of(uri, "calm")
    assert finished(jobs) == EACH_ONCE
    assert (len(jobs), parents) == (4, ["FINISHED"])
    for job in jobs:
        path = client.download_artifacts(job.info.run_id, "predictions.npz", str(tmp_path))
        with np.load(path) as predictions:
            assert predictions["label"].shape == (360,)
    assert len(list(artifacts.rglob("predictions.npz"))) == 4
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
@pytest.mark.server
@needs_cluster
def test_a_node_dies_in_the_middle_and_the_same_command_finishes(
    cluster, server, run_command, tmp_path
):
    uri, _ = server
    options = [
        "hydra/launcher=ray",
        f"tracking.uri={uri}",
        "experiment=disturbed",
        "epochs=400",
        "verbose=true",
        *GRID,
    ]
    log = tmp_path / "log"
    with log.open("w") as file:
        command = subprocess.Popen(
            [sys.executable, str(ROOT / "experiments" / "run.py"), *options],
            cwd=tmp_path, env=clean_environment() | cluster.environment,
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        busy = r"\(_work pid=(\d+)\).* epoch 50/"
        wait_for(lambda: len(set(re.findall(busy, log.read_text()))) >= 2)
        cluster.kill(cluster.nodes[1])
        assert command.wait(300) == 1
    finally:
        command.kill()
    said = log.read_text()
    assert (
        len(re.findall(r"FAILED .*loss=.*: RuntimeError: the job is lost: NodeDiedError", said))
        == 1
    )
    assert "1 of 4 runs failed" in said
    _, jobs, parents = runs_of(uri, "disturbed")
    assert len(finished(jobs)) == 3
    assert parents == ["FAILED"]

    cluster.add(f"--address={cluster.environment['RAY_ADDRESS']}", "--include-log-monitor=false")
    again = run_command(tmp_path, *options, **cluster.environment)
    assert again.returncode == 0, again.stderr
    assert "4 runs, 3 finished before, 1 to run" in again.stdout
    _, jobs, parents = runs_of(uri, "disturbed")
    assert finished(jobs) == EACH_ONCE
    assert {run.info.status for run in jobs} <= {"FINISHED", "FAILED", "KILLED"}
    assert parents == ["FINISHED"]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("raise ImportError", 'hydra/launcher=ray needs Ray: pip install -e ".[ray]"'),
        ("", "hydra/launcher=ray: expected a tracking server that every node reaches"),
    ],
)
def test_what_is_missing_for_ray_is_said_before_anything_is_stored(
    module, said, run_command, tmp_path
):
    (tmp_path / "ray.py").write_text(module)
    done = run_command(tmp_path, *GRID, "hydra/launcher=ray", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
@needs_submitit
def test_submitit_runs_jobs_here(run_command, tmp_path):
    done = run_command(tmp_path, *but(GRID, "seed=0"), "epochs=1", "hydra/launcher=submitit_local")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" ok ") == 2


@needs_submitit
def test_the_preset_for_slurm_composes(run_command, tmp_path):
    overrides = ["hydra/launcher=slurm", "hydra.launcher.partition=long"]
    done = run_command(tmp_path, "--cfg", "hydra", "--package", "hydra.launcher", *overrides)
    assert done.returncode == 0, done.stderr
    for line in (
        ".SlurmLauncher",
        "cpus_per_task: ${threads}",
        "partition: long",
        "timeout_min: 240",
    ):
        assert line in done.stdout


@needs_submitit
def test_without_slurm_nothing_is_started(run_command, tmp_path):
    done = run_command(tmp_path, *GRID, "hydra/launcher=slurm", PATH=f"{tmp_path}")
    assert done.returncode == 1
    assert "got one without the command srun; start the sweep there" in done.stderr
    assert "Traceback" not in done.stderr
