"""One run, from its first param to its end."""

from __future__ import annotations

import contextlib
import getpass
import importlib.metadata
import io
import json
import logging
import math
import re
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow.utils.environment
import numpy as np
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from experiments import contract, machine, metrics
from experiments.credentials import redacted
from experiments.tracking import provenance
from experiments.tracking.locks import HOST
from experiments.tracking.store import Away, Store

log = logging.getLogger(__name__)

# MLflow would look among all installed packages whether a model's requirements are met, for half of
# the time that an export takes. Ours are what is installed.
mlflow.utils.environment.warn_dependency_requirement_mismatches = lambda model_requirements: None

_PARAM_LENGTH = 6000
_SENDING_SECONDS = 10.0  # from one writing of metrics to the next, whose time is constant
_BATCH = 1000  # metrics at once; MLflow's servers take no more


class TrackedRun:
    """A run that is under way in the store.

    Metrics are sent every ten seconds at most, in order, and those that the store does not take
    with the next; everything else waits for it.
    """

    def __init__(self, store: Store, run_id: str):
        self.store, self.run_id = store, run_id
        self.complete = False  # whether all but the status is written
        self._unsent: list[Metric] = []
        self._away_since = self._next_time = 0.0

    def log_metrics(
        self, metrics: Mapping[str, float], step: int, timestamp: int | None = None
    ) -> None:
        """Metrics of one moment, sent by the end of the run.

        Args:
            metrics: The values by name.
            step: The epoch.
            timestamp: Milliseconds since 1970; None: now.

        Raises:
            ValueError: A number is not finite, which no store keeps as it is.
            Away: The store has been away for longer than its patience.
        """
        not_finite = {name: value for name, value in metrics.items() if not math.isfinite(value)}
        if not_finite:
            raise ValueError(f"metrics must be finite, got {not_finite}")
        milliseconds = timestamp or int(time.time() * 1000)
        # Sent again with the same time, a value that did arrive is not doubled.
        self._unsent += [
            Metric(name, float(value), milliseconds, step) for name, value in metrics.items()
        ]
        if time.monotonic() < self._next_time:
            return
        try:
            self.send(wait=False)
        except Away as error:
            now = time.monotonic()
            if not self._away_since:
                self._away_since = now
                log.warning("%s; training goes on, its epochs are kept and sent later", error)
            elif now - self._away_since > self.store.patience:
                raise
        else:
            if self._away_since:
                log.info("the tracking store is back; the epochs that were kept are in it")
            self._away_since = 0.0
        self._next_time = time.monotonic() + _SENDING_SECONDS

    def send(self, *, wait: bool) -> None:
        """Send the metrics that were kept; without `wait`, Away is raised at once."""
        client = self.store.client if wait else self.store.impatient
        while self._unsent:
            batch = self._unsent[:_BATCH]
            client.log_batch(self.run_id, metrics=batch)
            del self._unsent[: len(batch)]

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run, without credentials, after its metrics.

        The tag `outcome` is the last thing that is written: with it the run is complete.
        """
        self.send(wait=True)
        self.store.client.log_batch(self.run_id, tags=_tags(tags))
        self.complete = self.complete or "outcome" in tags

    def log_text(self, name: str, text: str) -> None:
        """Free text as an artifact, without credentials: a diff, a traceback, a source file."""
        self.store.client.log_text(self.run_id, redacted(text), name)

    def log_dataset(self, name: str, digest: str, shape: tuple[int, ...]) -> None:
        """The dataset as an MLflow input. MLflow keeps 36 characters of a digest at most."""
        dataset = Dataset(
            name=name,
            digest=digest[:32],
            source_type="local",
            source=json.dumps({"name": name, "sha256": digest}),
            profile=json.dumps({"train_shape": shape}),
        )
        tag = InputTag("mlflow.data.context", "training")
        self.store.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, [tag])])

    def log_predictions(
        self, outputs: np.ndarray, predicted: np.ndarray, label: np.ndarray
    ) -> None:
        """Two files on the test set in file order, `contract.PREDICTIONS` and `contract.CORRECT`.

        The first has the raw outputs [n, outputs] float32, the classes [n] and the labels [n]. The
        second has for each example whether it was predicted right. It takes a kilobyte or two, so
        that the runs of a whole report are read at once.
        """
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            np.savez_compressed(
                directory / contract.PREDICTIONS, outputs=outputs, predicted=predicted, label=label
            )
            np.savez_compressed(
                directory / contract.CORRECT, correct=metrics.correct(predicted, label)
            )
            self.store.client.log_artifacts(self.run_id, name)

    def log_model(self, network: Any, shape: tuple[int, ...], outputs: int, name: str) -> None:
        """The network as an MLflow model.

        Inputs [n, *shape] float32 as in training -> raw outputs [n, outputs] float32. Characters
        that MLflow refuses in the name of a model become `_`.

        Raises ExportError where the network cannot be exported; errors of the store are raised as
        they are.
        """
        import mlflow.paddle
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec
        from paddle.static import InputSpec

        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *shape))]),
            outputs=Schema([TensorSpec(np.dtype("float32"), (-1, outputs))]),
        )
        packages = [machine.paddle_package()]
        packages += map(importlib.metadata.distribution, ("numpy", "setuptools"))

        def export() -> None:
            # `mlflow.paddle.log_model` knows no run except the active one of its process.
            model, client = Model(run_id=self.run_id, signature=signature), self.store.client
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory, "model")
                with contextlib.redirect_stdout(io.StringIO()), _export_errors():
                    mlflow.paddle.save_model(
                        network,
                        path=str(path),
                        mlflow_model=model,
                        input_spec=[InputSpec([None, *shape], "float32", "inputs")],
                        pip_requirements=[f"{each.name}=={each.version}" for each in packages],
                    )
                logged = client.create_logged_model(
                    self.store.experiment_id,
                    name=re.sub(r"""[/:.%"']""", "_", name),
                    source_run_id=self.run_id,
                )
                model.model_id, model.artifact_path = logged.model_id, logged.artifact_location
                model.save(str(path / "MLmodel"))
                client.log_model_artifacts(logged.model_id, str(path))
            client.finalize_logged_model(logged.model_id, "READY")
            client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])

        self.store.patiently(export)


class ExportError(Exception):
    """The network cannot be exported, whatever the store does; the message says why."""


@contextlib.contextmanager
def _export_errors() -> Iterator[None]:
    """Make of an error in the block an ExportError; of files that cannot be written, OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if machine.interrupted():
            raise
        # Paddle puts its whole trace before the cause, and advice after it.
        kind, text = f"{type(error).__name__}: ", str(error).partition("Revise suggestion:")[0]
        before, _, cause = text.rpartition(f" {kind}")
        last = (cause if before else text.strip().rpartition("\n")[2]).removeprefix(kind)
        raise ExportError(redacted(kind + " ".join(last.split()))[:500]) from error


@contextlib.contextmanager
def tracked_run(
    store: Store,
    *,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, Any],
    parent: str | None = None,
    texts: Mapping[str, str] | None = None,
    dataset: tuple[str, str, tuple[int, ...]] | None = None,
) -> Iterator[TrackedRun]:
    """A new run of `store`, FINISHED at the end of the block.

    texts: artifacts by file name, kept as they are. dataset: its name, digest and the training
    inputs' shape.

    An exception makes it FAILED (`outcome=failed`, its traceback in traceback.txt), an interruption
    KILLED (`outcome=killed`), unless it is complete; all go on to the caller.
    """
    run = TrackedRun(store, create_run(store, name, {"kind": "run", **tags}, parent).info.run_id)
    try:
        entries = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in params.items()]
        store.client.log_batch(run.run_id, params=entries)
        files = {
            "environment.txt": provenance.environment(),
            "changes.diff": provenance.changes(),
        }
        for name, text in files.items():
            if text:
                run.log_text(name, text)
        for name, text in (texts or {}).items():
            store.client.log_text(run.run_id, text, name)
        if dataset:
            run.log_dataset(*dataset)
        yield run
        run.send(wait=True)
        store.client.set_terminated(run.run_id, "FINISHED")
    except Exception as error:
        if machine.interrupted():  # a library has turned the signal into another error
            _close(run, "killed")
            raise KeyboardInterrupt from error
        _close(run, "failed", traceback.format_exc())
        raise
    except BaseException:
        _close(run, "killed")
        raise


def _close(run: TrackedRun, how: str, trace: str = "") -> None:
    """End a run that is not finished: once, without waiting.

    If the store is away, the next command closes the run.
    """
    client = run.store.impatient
    try:
        if run.complete:
            client.set_terminated(run.run_id, "FINISHED")
            return
        run.send(wait=False)
        client.log_batch(run.run_id, tags=_tags({"outcome": how}))
        if trace:
            try:
                client.log_text(run.run_id, redacted(trace), "traceback.txt")
            except (OSError, MlflowException) as error:  # the trace may be of just this
                log.warning("the run has no traceback.txt: %s", redacted(str(error)))
                tags = {"mlflow.note.content": redacted(trace)[-_PARAM_LENGTH:]}
                client.log_batch(run.run_id, tags=_tags(tags))
        client.set_terminated(run.run_id, how.upper())
    except Away as error:
        log.warning("%s; the same command closes this run and starts it again", error)


def create_run(
    store: Store, name: str, tags: Mapping[str, Any], parent: str | None = None
) -> MlflowRun:
    """A new RUNNING run with what MLflow's pages show: user, source, commit, parent.

    The tag `host` says where its lock is.
    """
    standard = {"mlflow.source.name": "experiments/run.py", "mlflow.source.type": "LOCAL"}
    standard["host"] = HOST
    # A user may have no name in the system, e.g. in a container.
    with contextlib.suppress(OSError, KeyError, ImportError):
        standard["mlflow.user"] = getpass.getuser()
    if parent:
        standard["mlflow.parentRunId"] = parent
    commit, dirty = provenance.git_state()
    if commit:
        standard |= {
            "mlflow.source.git.commit": commit,
            "git_commit": commit,
            "git_dirty": str(dirty).lower(),
        }
    merged = {key: str(value) for key, value in (standard | dict(tags)).items()}
    return store.client.create_run(store.experiment_id, run_name=name, tags=merged)


def _tags(tags: Mapping[str, Any]) -> list[RunTag]:
    return [RunTag(key, str(value)) for key, value in tags.items()]
