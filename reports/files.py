"""The directory and the files of a report, and its copy with the sweep's parent run in MLflow."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import places
from experiments.credentials import redacted, shown
from reports.names import one_line
from reports.page import table as page_table

if TYPE_CHECKING:
    from reports.page.collector import Report
    from reports.runs import Runs

_FILES = ("index.html", "report.md", "checklist.md", "verdicts.json", ".writable")
_OWN = {"figures": (".svg", ".png", ".pdf"), "tables": (".csv", ".tex")}
_NOTE_LENGTH = 7500  # of a description; MLflow keeps 8000 characters of a tag


class OutputError(RuntimeError):
    """The report cannot be written; the message says where, why, and what to do."""


def report_name(runs: Runs, where: Mapping[str, Any], unusual: Mapping[str, Any]) -> str:
    """The name of a report's directory: safe in every file system, and different for other reports.

    It names the experiments or the imported file, the sweeps with the beginning of their run's id,
    and whatever is not as usual. The name for a store or file elsewhere than `mlflow.db` or a file
    in the current directory ends with a hash.

    Args:
        runs: what is reported.
        where: the filter, by param.
        unusual: the options that are not as usual.
    """
    sweeps = (f"{name}-{run_id[:8]}" for run_id, name in runs.sweeps.items())
    name = "-".join([*runs.experiments, *sweeps])
    words = [name, *(f"{key}-{value}" for key, value in sorted(where.items()))]
    text = " ".join([*words, *(f"{key}={value}" for key, value in sorted(unusual.items()))])
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:60]
    if runs.uri not in (places.sqlite_uri(Path.cwd() / "mlflow.db"), *runs.experiments):
        text = f"{shown(runs.uri)} {text}"
    if safe == text:
        return safe
    return f"{safe or 'report'}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:6]}"


def prepare(output: str | None, name: str) -> Path:
    """The directory of a report, checked to be writable.

    It is not created and nothing in it changes, since the report may still be refused.

    Raises:
        OutputError: it cannot be written, or holds something that is not a report.
    """
    directory = Path(output) if output is not None else Path("outputs") / "reports" / name
    absent: list[Path] = []
    try:
        absent += [
            path for path in (directory, *directory.parents) if not path.exists()
        ]  # the deepest first
        if directory.exists() and not directory.is_dir():
            raise OutputError(
                f"output: {directory} is a file; choose a directory with output=DIRECTORY"
            )
        if directory.is_dir() and any(
            entry.name not in (*_FILES, *_OWN) for entry in directory.iterdir()
        ):
            raise OutputError(
                f"output: {directory} holds something that is not a report; choose a new or empty "
                "directory with output=DIRECTORY"
            )
        places.probe(directory)
    except OSError as error:
        raise OutputError(
            f"output: cannot write to {directory}: {error.strerror or error}; choose another "
            "directory with output=DIRECTORY"
        ) from error
    finally:
        for path in absent:
            with contextlib.suppress(OSError):  # never made, or someone else's by now
                path.rmdir()
    return directory


def write(directory: Path, *, html: str, markdown: str, verdicts: str, result: Report) -> Path:
    """Write all files of a report; the path of its page. Call inside `palette.style()`.

    Figures and tables that an earlier report left are taken away when all that is new exists.

    Raises:
        OutputError: a file cannot be written.
    """
    contents: dict[str, str | bytes] = {
        "index.html": html,
        "report.md": markdown,
        "checklist.md": result.checklist,
        "verdicts.json": verdicts,
    }
    for name, table in result.tables.items():
        contents |= {
            f"tables/{name}.csv": page_table.to_csv(table),
            f"tables/{name}.tex": page_table.to_latex(table),
        }
    for name, figure in result.figures.items():
        contents |= {f"figures/{name}.{kind}": data for kind, data in figure.drawn.files.items()}
    try:
        for part in _OWN:
            (directory / part).mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            data = (
                content.encode("utf-8", errors="replace") if isinstance(content, str) else content
            )
            (directory / name).write_bytes(data)
        for part, suffixes in _OWN.items():
            for left in (directory / part).iterdir():
                if left.suffix in suffixes and f"{part}/{left.name}" not in contents:
                    left.unlink()
    except OSError as error:
        raise OutputError(
            f"output: cannot write to {directory}: {error.strerror or error}"
        ) from error
    return directory / "index.html"


def save(path: Path, data: bytes) -> None:
    """Write a single file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    aside = path.with_name(f"{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def store_with_parent(
    directory: Path, runs: Runs, *, beside: bool = False, description: str = ""
) -> str:
    """Store the report as artifacts of the sweep's parent run; a sentence that says so, or why not.

    A report on some of the runs only, or with options that are not the defaults, goes `beside` the
    default one, under its own name. The default one's `description`, in Markdown, becomes that of
    the run, with the place of the report.
    """
    if runs.imported:
        return f"not stored in MLflow: the runs are imported from {one_line(shown(runs.uri))}"
    parent = next(iter(runs.sweeps)) if len(runs.sweeps) == 1 else _only_parent(runs)
    if parent is None:
        return (
            "not stored in MLflow: these runs come from several commands (sweep=NAME_OR_ID chooses "
            "those of one)"
        )
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow loads
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracking import MlflowClient

    path = f"report-{directory.resolve().name}" if beside else "report"
    client = MlflowClient(tracking_uri=runs.uri)
    try:
        database = places.database(runs.uri)
        recorded = client.get_run(parent).info.artifact_uri
        now = places.current(recorded, database) if database else recorded
        get_artifact_repository(now, tracking_uri=runs.uri).log_artifacts(str(directory), path)
        if description and not beside:
            where = f"Report: `{directory / 'index.html'}`, and the artifact `{path}/index.html`"
            text = f"{description[:_NOTE_LENGTH]}\n\n{where}"
            client.set_tag(parent, "mlflow.note.content", text)
    except (MlflowException, OSError) as error:
        return f"not stored in MLflow: {one_line(redacted(str(error)))}"
    return f"stored with the sweep's run {parent} in MLflow, artifact path {path}"


def _only_parent(runs: Runs) -> str | None:
    own_runs = runs.summary[~runs.summary["baseline"].astype(bool)]
    parents = own_runs["parent_run_id"].fillna("").unique()  # empty where a run is of no sweep
    return str(parents[0]) if len(parents) == 1 and str(parents[0]) else None
