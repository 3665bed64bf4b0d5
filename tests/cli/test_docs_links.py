"""Links of the pages of docs/, and their translations."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from helpers.commands import ROOT
from helpers.doc_tables import README
from helpers.docs import FENCED, PAGES, write_examples

TRANSLATIONS = {
    "README.md": "README.zh-CN.md",
    "docs/results/README.md": "docs/results/README.zh-CN.md",
    **{
        f"docs/{path.name}": path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "docs" / "zh-CN").glob("*.md"))
    },
}
OTHER_PAGES = ["CONTRIBUTING.md", "CHANGELOG.md", "docs/results/README.md", *TRANSLATIONS.values()]


def headings(text: str) -> list[tuple[str, str]]:
    """(level, anchor) of every heading."""
    matches = re.findall(r"^(#+) (.+)", FENCED.sub("", text), flags=re.MULTILINE)
    return [
        (level, re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")) for level, title in matches
    ]


def links(name: str, text: str) -> list[tuple[str, str, str]]:
    """("!" or "", path from the root or address, anchor) of every link of the page `name`."""
    triples = []
    for image, target in re.findall(r"(!?)\[[^]]*\]\(([^)\s]+)\)", FENCED.sub("", text)):
        path, _, anchor = target.partition("#")
        if "://" not in target:
            path = os.path.normpath((Path(name).parent / path).as_posix()) if path else name
        triples.append((image, path, anchor))
    return triples


@pytest.mark.slow
def test_the_examples_of_data_and_of_a_network_of_ones_own_run(tmp_path, run_command):
    write_examples(tmp_path)
    options = ["--config-dir", "options", "loss=ce", "data=rings", "model=deep"]
    done = run_command(tmp_path, *options, "epochs=30", "lr=0.1", PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"\bce +0\.1 +30 +0 +([\d.]+)%", done.stdout)
    assert accuracy and float(accuracy[1]) > 60, done.stdout  # of three classes


@pytest.mark.parametrize("name", [*PAGES, *OTHER_PAGES])
def test_links_lead_somewhere(name):
    for _, path, anchor in links(name, (ROOT / name).read_text(encoding="utf-8")):
        if "://" in path:
            continue
        assert (ROOT / path).exists(), f"{name}: {path}"
        if anchor:
            there = [each for _, each in headings((ROOT / path).read_text(encoding="utf-8"))]
            assert anchor in there, f"{name}: {path}#{anchor}"


def of_original(path: str, anchor: str) -> str:
    """A link's target without what a translation changes: language, and words of a heading."""
    number = ""
    if anchor:
        there = [each for _, each in headings((ROOT / path).read_text(encoding="utf-8"))]
        number = f", heading {there.index(anchor) + 1 if anchor in there else anchor}"
    originals = {translation: name for name, translation in TRANSLATIONS.items()}
    return originals.get(path, path.replace(".zh-CN.ipynb", ".ipynb")) + number


def what_no_translation_changes(name: str, text: str) -> dict[str, object]:
    """Code without comments, shape, code and numbers of tables, headings, links: by their place."""
    parts: dict[str, object] = {}
    for number, (language, code) in enumerate(FENCED.findall(text), 1):
        parts[f"the language of code block {number}"] = language
        lines = [re.sub(r"(^\s*|\s{2,})#.*", "", line).rstrip() for line in code.splitlines()]
        for at, line in enumerate(filter(None, lines), 1):
            parts[f"code block {number}, line {at} without comments"] = line
    prose = FENCED.sub("", text)
    for number, table in enumerate(re.findall(r"(?:^\|.*\n)+", prose, flags=re.MULTILINE), 1):
        for at, row in enumerate(table.splitlines(), 1):
            place = f"table {number}, row {at}"
            parts[f"{place}, columns"] = len(re.findall(r"(?<!\\)\|", row)) - 1
            parts[f"{place}, code"] = sorted(re.findall(r"`[^`]+`", row))
            plain = re.sub(r"\]\([^)]+\)", "]", row)
            parts[f"{place}, numbers"] = sorted(re.findall(r"-?\d+(?:[.,]\d+)*", plain))
    for number, (level, _) in enumerate(headings(text), 1):
        parts[f"heading {number}"] = level
    targets = Counter(
        f"{'images' if image else 'links'} of {of_original(path, anchor)}"
        for image, path, anchor in links(name, text)
    )
    return {**parts, **targets}


@pytest.mark.parametrize(("english", "chinese"), TRANSLATIONS.items())
def test_a_translation_has_the_same_commands_and_tables(english, chinese):
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in (english, chinese)}
    to_english = f"[English]({os.path.relpath(english, Path(chinese).parent.as_posix())})\n"
    assert to_english in texts[chinese][:400]
    texts[chinese] = texts[chinese].replace(to_english, "", 1)
    to_chinese = f"[简体中文]({os.path.relpath(chinese, Path(english).parent.as_posix())})\n"
    if english == "README.md":
        assert to_chinese in README.partition("**")[0]
    texts[english] = texts[english].replace(to_chinese, "", 1)
    ours, theirs = (what_no_translation_changes(name, text) for name, text in texts.items())
    for place in {**ours, **theirs}:
        ours_here, theirs_here = ours.get(place, "nothing"), theirs.get(place, "nothing")
        assert theirs_here == ours_here, (
            f"{place}: {english} {ours_here!r}, {chinese} {theirs_here!r}"
        )
