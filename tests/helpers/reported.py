"""What tests of `generate report` share."""

from __future__ import annotations

from pathlib import Path


def written_at(directory: Path) -> dict[Path, int]:
    """When each file was written."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
