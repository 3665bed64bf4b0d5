"""Drawings: looks, fonts, names, inline SVG and what a page reads of them."""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from helpers.figures import builder, losses_in, size_in_points
from helpers.synthetic_runs import HOSTILE, predictions, runs
from matplotlib.figure import Figure
from matplotlib.text import Text

from reports import analysis
from reports.analysis import Section
from reports.figures import curves, drawing, fonts, palette
from reports.names import plain, short_names
from reports.question import Question
from reports.texts import TEMPLATES

pytestmark = pytest.mark.usefixtures("house_style")


def test_a_loss_looks_the_same_in_every_figure_and_unlike_the_others() -> None:
    looks = palette.looks([f"loss {i}" for i in range(56)])
    assert len({(look.color, look.marker, str(look.dash)) for look in looks.values()}) == 56
    first = list(looks.values())[:8]
    assert len({look.color for look in first}) == len({look.marker for look in first}) == 8


def test_the_same_figure_gives_the_same_bytes(section: Section) -> None:
    draw = builder(section)
    one, other = draw.overview().draw(), draw.overview().draw()
    assert palette.svg(one) == palette.svg(other)
    assert palette.png(one) == palette.png(other)


@pytest.mark.slow
def test_figures_do_not_depend_on_the_settings_of_a_notebook(section: Section) -> None:
    def drawings() -> list[str | bytes]:
        draw = builder(section)
        with palette.style():
            figures = [
                picture.draw() for picture in (draw.overview(), draw.rates(), draw.heat_map())
            ]
        return [form(figure) for figure in figures for form in (palette.svg, palette.png)]

    expected = drawings()
    with mpl.rc_context():
        mpl.style.use("ggplot")
        mpl.rcParams.update({"savefig.bbox": "tight", "text.usetex": True, "legend.loc": "right"})
        mpl.rcParams.update({"axes.xmargin": 0.4, "svg.fonttype": "path", "savefig.dpi": 30})
        assert drawings() == expected


ARMENIAN = "Հայերեն"  # in DejaVu Sans, which comes with matplotlib, and not in STIX


def test_a_font_that_has_the_characters_draws_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fonts, palette):
        monkeypatch.setattr(module, "USUAL", ("STIXGeneral",))
    families, lacking = fonts.fallback(["ce", ARMENIAN])
    assert families and not lacking
    (section,) = analysis.sections(*runs(["ce", ARMENIAN], seeds=range(2)), Question(), predictions)

    def drawings(fallback: list[str]) -> tuple[str, bytes]:
        with mpl.rc_context({"font.family": ["serif"]}), palette.style(fallback):
            figure = builder(section).heat_map().draw()
            return palette.svg(figure), palette.png(figure)  # each begins from the house style

    with pytest.warns(UserWarning, match="missing from font"):
        boxes = drawings([])
    assert all(one != other for one, other in zip(boxes, drawings(families), strict=True))


def test_fonts_are_taken_by_the_characters_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"latin": "abc", "cyrillic": "д", "han": "交叉", "more han": "交叉熵"}
    pairs = [(family, [ord(c) for c in text]) for family, text in installed.items()]
    monkeypatch.setattr(fonts, "_installed", lambda: iter(pairs))
    assert fonts.fallback(["ce, λ=0.1", "é"]) == ([], [])  # the usual fonts have these
    assert fonts.fallback(["交叉"]) == (["han"], [])
    assert fonts.fallback(["交叉熵 한"]) == (["han", "more han"], ["한"])
    (section,) = analysis.sections(*(frames := runs(["ce", "甲"])), Question(), predictions)
    named = replace(section, errors=replace(section.errors, names=("猫", "狗")))
    assert fonts.names(frames[0], [named]) == {"ce", "甲", "digits, mlp", "猫", "狗"}
    assert "for example Noto Sans CJK" in fonts.note(["한"])
    assert "CJK" not in fonts.note(["\U00011103"])
    assert "U+4E09) and 2 more. The" in fonts.note([chr(0x4E00 + place) for place in range(12)])


def test_names_cannot_get_out_of_a_drawing() -> None:
    (section,) = analysis.sections(*runs(["ce", HOSTILE], seeds=range(2)), Question(), predictions)
    picture = builder(section).overview()
    drawing = palette.svg(picture.draw())
    ElementTree.fromstring(drawing)
    inline = palette.inline(drawing, "f1")
    for text in (drawing, inline):
        assert "<script" not in text and "<!--" not in text and "&lt;/svg&gt;" in text
    assert len(plain(HOSTILE, 40)) == 40
    assert inline.count("</svg>") == 1 and inline.endswith("</svg>")


def test_numbers_of_an_inline_drawing_stay_whole() -> None:
    figure = Figure()
    axis = figure.add_subplot()
    axis.plot([0.0034], [0.12345], "o", gid="mean|0")
    axis.set_title("gamma 0.125")
    inline = palette.inline(palette.svg(figure), "f1", figure)
    assert "gamma 0.125" in inline and not re.search(r'd="[^"]*\d\.\d\d\d', inline)
    points = re.search(r'data-points="([^"]+)"', inline)
    assert points and json.loads(html.unescape(points[1]))[0]["marks"][0][3:] == [0.0034, 0.12345]


def test_an_inline_drawing_is_tinted_and_its_ids_are_its_own(section: Section) -> None:
    drawing = palette.svg(builder(section).overview().draw())
    inline = palette.inline(drawing, "f7")
    assert "http" not in inline and "xlink" not in inline
    ids = re.findall(r'\bid="([^"]+)"', inline)
    assert len(ids) == len(set(ids)) and all(name.startswith("f7-") for name in ids)
    pointed = re.findall(r'(?:href="#|url\(#)([^")]+)', inline)
    assert pointed and set(pointed) <= set(ids)
    for color, variable in palette.CSS_VARIABLES.items():
        assert color not in inline
        assert (color in drawing) == (f"var({variable})" in inline)


def test_short_names_stay_different() -> None:
    long = ["x" * 100 + str(i) + "y" * 100 for i in range(3)]
    names = short_names(long)
    assert len(set(names.values())) == 3 and all(len(name) <= 26 for name in names.values())
    assert (
        plain("a\x1b[31m\nb\u202e") == "a\N{REPLACEMENT CHARACTER}[31m b\N{REPLACEMENT CHARACTER}"
    )


def test_without_other_fonts_than_matplotlibs_own_a_character_is_called_lacking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its font "Last Resort High-Efficiency" has a box for each, and a hyphen in its name."""
    manager = fonts.font_manager.fontManager
    own = [font for font in manager.ttflist if font.fname.startswith(mpl.get_data_path())]
    monkeypatch.setattr(manager, "ttflist", own)
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", list)
    assert fonts.fallback(["\u4e00 ce"]) == ([], ["\u4e00"])


def test_every_mark_of_a_mean_can_be_read_where_it_is_drawn(section: Section) -> None:
    figure = curves.accuracy_curves(section.curves, section.bands, losses_in(section), x=["epoch"])
    drawing = palette.svg(figure)
    width, height = size_in_points(drawing)
    panels = palette.readings(figure)
    assert panels[0]["axes"] == ["epoch", "validation accuracy (%)"]
    marks = [mark for panel in panels for mark in panel["marks"]]
    assert all(0 <= mark[1] <= width and 0 <= mark[2] <= height for mark in marks)
    for place, loss in enumerate(section.losses):
        band = section.bands[section.bands["loss"] == loss]
        own = [mark for mark in panels[0]["marks"] if mark[0] == place]
        np.testing.assert_allclose([mark[3] for mark in own], band["epoch"])
        np.testing.assert_allclose([mark[4] for mark in own], 100 * band["mean"], rtol=1e-5)
    # Of two marks of a line the later one is further right, and the better one higher up.
    first, last = (m for m in (panels[0]["marks"][0], panels[0]["marks"][3]))
    assert first[1] < last[1] and first[2] > last[2]


def test_a_line_without_values_has_no_marks() -> None:
    figure, axes = drawing.canvas(1, 1, 2)
    axes.flat[0].plot([], [], gid="trials|0")  # of a loss whose runs all diverged
    assert palette.readings(figure) == []


@pytest.mark.parametrize("width", ["page", "column"])
def test_type_has_8_points_at_the_width_of_a_paper(section: Section, width: str) -> None:
    with palette.style(width=width):
        draw = builder(section)
        for picture in (draw.overview(), draw.final(), draw.forest(), draw.rates()):
            assert picture is not None
            figure = picture.draw()
            drawing = palette.svg(figure)
            assert size_in_points(drawing)[0] == pytest.approx(72 * palette.WIDTHS[width])
            texts = [each for each in figure.findobj(Text) if each.get_text()]
            assert texts and all(each.get_fontsize() >= 8 for each in texts)
            assert "<text" in drawing  # which can be searched for


def luminance(color: str) -> float:
    parts = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
             for value in mpl.colors.to_rgb(color)]  # fmt: skip
    return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))


def test_every_text_has_enough_contrast_in_light_in_the_dark_and_on_paper() -> None:
    css = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    light, dark, paper = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    texts = ["--ink", "--muted", "--alarm", *dict.fromkeys(map(variable_of_text, range(8)))]
    for block in (light, dark, paper):
        values = dict(re.findall(r"(--[\w-]+): (#\w+)", block))
        for ground in ("--paper", "--wash"):
            for name in texts:
                one, other = (luminance(values[each]) for each in (name, ground))
                ratio = (max(one, other) + 0.05) / (min(one, other) + 0.05)
                assert ratio >= 4.5, (name, ground, ratio)


def variable_of_text(place: int) -> str:
    look = list(palette.looks([str(i) for i in range(8)]).values())[place]
    return palette.CSS_VARIABLES[look.text]
