"""What the machine has: which Paddle, and whether it could see a GPU, known without loading it."""

from __future__ import annotations

import importlib.metadata
from types import SimpleNamespace

import pytest

from experiments import machine


@pytest.mark.parametrize(
    ("installed", "taken", "for_cpu"),
    [
        ({"paddlepaddle": "3.3.1"}, "3.3.1", True),
        ({"paddlepaddle-gpu": "3.3.0"}, "3.3.0", False),
        ({"paddlepaddle": "3.3.1", "paddlepaddle-gpu": "3.3.0"}, "3.3.0", False),
        ({"paddlepaddle-xpu": "3.3.1"}, None, False),
    ],
)
def test_the_package_for_gpus_has_a_name_of_its_own(monkeypatch, installed, taken, for_cpu):
    def distribution(name: str) -> SimpleNamespace:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return SimpleNamespace(name=name, version=installed[name])

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    assert machine.built_for_cpu() == for_cpu
    if taken is None:
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            machine.paddle_package()
    else:
        assert machine.paddle_package().version == taken
