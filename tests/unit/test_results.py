"""The gallery of results: its pages and index, and the texts that state a result."""

from __future__ import annotations

import runpy
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import ROOT
from omegaconf import OmegaConf

GALLERY = ROOT / "docs" / "results"
MAKE = runpy.run_path(str(GALLERY / "make.py"))
RESULTS = {facts["preset"]: facts for facts in MAKE["kept"]()}
FACTS: dict[str, Any] = {
    "preset": "answer",
    "contrasts": [
        {"a": "mse", "difference": -3.154, "low": -4.006, "high": -2.3, "verdict": "worse"}
    ],
    "spread": [{"loss": "ce", "lr": 0.3, "mean": 98.656}],
    "across": {},
    "tables": {"losses": [{"loss": "ce", "value": 97.52, "value_low": 97.1, "value_high": 97.9}]},
}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("mse is worse by 3.15 points [2.30, 4.01], p < 0.001, ce 97.52 % [97.1, 97.9]", []),
        ("−3.15 points [−4.01, −2.30], with Paddle 3.3.1; Published: 12.34 %", []),
        ("ce has 98.65 %", ["98.65 is no result"]),
        ("+3.15 points [2.30, 97.9]", ["+3.15 [2.30, 97.9] is no result with its interval"]),
        ("mse is better", ["mse is worse, not better"]),
    ],
)
def test_a_text_is_compared_with_the_results(text: str, wrong: list[str]) -> None:
    assert MAKE["differences"](text, FACTS) == wrong


def test_the_parts_that_state_results_of_a_preset_are_found() -> None:
    places = [place for place, _ in MAKE["texts"]("datasets")]
    assert places[0] == "conf/preset/datasets.yaml"
    names = ("options.md", "statistics.md")
    assert set(places[1:]) == {f"docs/{part}{name}" for part in ("", "zh-CN/") for name in names}
    (readme,) = (text for place, text in MAKE["texts"]("answer") if place == "README.md")
    assert "46.76 %" in readme and "## Two commands" not in readme


def test_the_report_of_a_tuned_preset_leaves_out_the_seeds_that_only_chose() -> None:
    excluded = {}
    for path in (ROOT / "conf" / "preset").glob("*.yaml"):
        count = OmegaConf.select(OmegaConf.load(path), "hydra.sweeper.tuning_seeds", default=0)
        seeds = f"'tuning_seeds={list(range(count))}'".replace(" ", "")
        excluded[path.stem] = count == 0 or seeds in MAKE["comment"](path.stem, "Command")
    assert len(excluded) >= 16 and all(excluded.values())


@pytest.mark.parametrize("preset", RESULTS)
def test_every_text_agrees_with_the_kept_results(preset: str) -> None:
    for place, text in MAKE["texts"](preset):
        assert MAKE["differences"](text, RESULTS[preset]) == [], place


@pytest.mark.parametrize("path", sorted(GALLERY.glob("*.html")), ids=lambda path: path.stem)
def test_every_page_is_small_and_shows_the_kept_results(path: Path) -> None:
    facts = RESULTS[path.stem]
    html = unescape(path.read_text(encoding="utf-8"))
    assert path.stat().st_size <= MAKE["LARGEST"] and facts["command"] in html
    for each in facts["contrasts"]:
        assert f"{each['difference']:+.2f}".replace("-", "−") in html and each["verdict"] in html


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_index_has_every_verdict(name: str) -> None:
    text = (GALLERY / name).read_text(encoding="utf-8")
    assert MAKE["index"](text, list(RESULTS.values())) == text
    every = [each for facts in RESULTS.values() for each in facts["contrasts"]]
    assert text.count("\n| [") == sum(each.get("reason") != "one seed" for each in every)
