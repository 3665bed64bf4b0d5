"""The page in a real browser: its first screen, and what pointing, clicking and typing do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.browser import CHROMIUM, Browser
from helpers.commands import wait_for
from helpers.pages import make_page
from helpers.synthetic_runs import over, runs

from experiments.contract import LOSS_NAMES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]
SIZES = [(1280, 900), (390, 844)]


def noisy(summary: pd.DataFrame, curves: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.003, len(summary))
    columns = ["test_accuracy", "val_accuracy"]
    return summary.assign(**{name: summary[name] + noise for name in columns}), curves


STORES: dict[str, Any] = {
    "two": lambda: runs(("ce", "mse"), rates=(0.03,), seeds=[0], epochs=(5,), advantage=-0.4),
    "four": lambda: noisy(*runs(("ce", "brier", "focal gamma=3", "mse"), seeds=range(8))),
    "noise": lambda: over("data.label_noise", [0, 0.2, 0.4], losses=("ce", "mae"), seeds=range(4)),
    "many": lambda: noisy(*runs(list(LOSS_NAMES), rates=(0.03,), seeds=range(3), epochs=(4,))),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("pages")
    paths = {}
    for name, store in STORES.items():
        summary, curves = store()
        html = make_page(summary, curves, read_predictions=lambda run_id: None, drawn=True)[2]
        paths[name] = directory / f"{name}.html"
        paths[name].write_text(html, encoding="utf-8")
    return paths


@pytest.mark.parametrize("size", SIZES, ids=["desktop", "phone"])
@pytest.mark.parametrize("name", STORES)
def test_the_first_screen_answers_and_nothing_scrolls_sideways(
    pages: dict[str, Path], chromium: Browser, name: str, size: tuple[int, int]
) -> None:
    chromium.requests.clear()
    chromium.open(pages[name], *size)
    width, height = size
    assert chromium.js("document.querySelector('h1').textContent === document.title")
    bottoms = chromium.js(
        "[...document.querySelectorAll('#table-1 tbody tr')].slice(0, 2)"
        ".map(row => row.getBoundingClientRect().bottom)"
    )
    assert len(bottoms) == 2 and max(bottoms) < height  # two rows of the answer at least
    chromium.js("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert chromium.js("document.documentElement.scrollWidth") <= width
    too_small = chromium.js(
        """[...document.querySelectorAll('.drawing text')].filter(text => {
             const box = text.getBoundingClientRect();
             return box.width > 0 && (box.left < 0 || box.right > innerWidth + 1);
           }).map(text => text.textContent)"""
    )
    assert too_small == []
    assert [url for url in chromium.requests if not url.startswith("file:")] == []


def test_pointing_at_a_figure_and_arrow_keys_read_the_nearest_value(
    pages: dict[str, Path], chromium: Browser
) -> None:
    chromium.open(pages["four"], 1280, 900)
    drawing = "document.querySelector('#figure-1 .drawing')"
    chromium.js(f"{drawing}.scrollIntoView()")
    box = chromium.js(
        f"""(() => {{ const svg = {drawing}.querySelector('svg');
          const mark = JSON.parse(svg.dataset.points)[0].marks[2];
          const at = new DOMPoint(mark[1], mark[2]).matrixTransform(svg.getScreenCTM());
          return [at.x, at.y, mark[4]]; }})()"""
    )
    chromium.mouse("mouseMoved", box[0] + 3, box[1] - 2)
    reading = "document.querySelector('#figure-1 .reading').textContent"
    said = chromium.js(reading)
    assert "validation accuracy (%)" in said and f"{box[2]:.4g}" in said and "epoch" in said
    chromium.js(f"{drawing}.focus()")
    chromium.press("ArrowRight")
    first = chromium.js(reading)
    chromium.press("ArrowRight")
    assert chromium.js(reading) != first


def test_the_key_hides_a_loss_in_all_figures(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.open(pages["four"], 1280, 900)
    shown = (
        "[...document.querySelectorAll('.wide svg [data-loss=\"1\"]')]"
        ".filter(each => getComputedStyle(each).display !== 'none').length"
    )
    before = chromium.js(shown)
    chromium.js("document.querySelector('.side .key li[data-key=\"1\"] button').click()")
    assert before > 4 and chromium.js(shown) == 0
    chromium.js("document.querySelector('.side .key li[data-key=\"1\"] button').click()")
    assert chromium.js(shown) == before


def test_tables_sort_and_filter_and_a_rectangle_filters_the_runs(
    pages: dict[str, Path], chromium: Browser
) -> None:
    chromium.open(pages["many"], 1280, 900)
    cells = "[...document.querySelectorAll('#table-1 tbody tr')].filter(row => !row.hidden)"
    values = f"{cells}.map(row => Number(row.cells[1].dataset.value))"
    best_first = chromium.js(values)
    assert best_first == sorted(best_first, reverse=True) and len(best_first) == len(LOSS_NAMES)
    chromium.js("document.querySelectorAll('#table-1 th button')[1].click()")
    assert chromium.js(values) == sorted(best_first)
    chromium.js(
        "(() => { const words = document.querySelector('#table-1 input'); words.value = 'hinge';"
        "words.dispatchEvent(new Event('input')); })()"
    )
    named = [loss for loss, name in LOSS_NAMES.items() if "hinge" in f"{name} {loss}"]
    assert chromium.js(f"{cells}.length") == len(named) >= 2
    chromium.js("document.getElementById('all-runs').open = true")
    chromium.js("document.querySelector('.scatter').scrollIntoView()")
    left, top, width, height = chromium.js(
        "(({left, top, width, height}) => [left, top, width, height])"
        "(document.querySelector('.scatter svg').getBoundingClientRect())"
    )
    rows = "[...document.querySelectorAll('.runs tbody tr')].filter(row => !row.hidden).length"
    every = chromium.js(rows)
    chromium.mouse("mousePressed", left + 2, top + 2)
    chromium.mouse("mouseMoved", left + width - 2, top + height / 3)
    chromium.mouse("mouseReleased", left + width - 2, top + height / 3)
    assert 0 < chromium.js(rows) < every == 3 * len(LOSS_NAMES)


def test_a_link_opens_what_is_folded_and_commands_have_a_button(
    pages: dict[str, Path], chromium: Browser
) -> None:
    chromium.open(pages["four"], 1280, 900)
    assert not chromium.js("document.getElementById('methods').open")
    chromium.js("document.querySelector('.side a[href=\"#methods\"]').click()")
    wait_for(lambda: chromium.js("document.getElementById('methods').open"))
    assert chromium.js(
        "[...document.querySelectorAll('pre')].every(b => b.parentElement.querySelector('.copy'))"
    )


def test_without_the_script_everything_is_there(pages: dict[str, Path], chromium: Browser) -> None:
    scatter = "[...document.querySelectorAll('main .scatter')].map(each => each.textContent)"
    words = f"{scatter}.reduce((text, made) => text.replace(made, ''), " + (
        "document.querySelector('main').textContent).replace(/copy|show all runs/g, '')"
    )
    chromium.open(pages["four"], 1280, 900)
    with_script = chromium.js(f"({words}).length")
    chromium.call("Emulation.setScriptExecutionDisabled", value=True)
    chromium.open(pages["four"], 1280, 900)
    chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    without = chromium.js(f"({words}).length")
    assert without > 0.9 * with_script
    assert chromium.js("document.querySelectorAll('.side a').length") > 8


def test_the_page_of_all_losses_is_small(pages: dict[str, Path]) -> None:
    assert pages["many"].stat().st_size < 3_000_000
