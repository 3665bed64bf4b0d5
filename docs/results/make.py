"""Make the gallery of results, and check every text that states one of them.

    python docs/results/make.py DIRECTORY ...   from the stores in these directories
    python docs/results/make.py                 only check the texts

In each directory's mlflow.db, the newest sweep of each preset is reported by the command that the
preset's file names. NAME.json keeps its verdicts and tables, NAME.html its page (those of `PAGES`),
and README.md lists all. Then the preset's `# Showed:` and the parts of the documentation that have
the preset's command are compared with NAME.json. The exit code is 1 if a number or a verdict
differs; the differences are printed.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

PAGES = ("answer", "noise_sgd", "calibration", "datasets", "imbalance")
LARGEST = 1_500_000
"""Bytes of a page. A larger one is kept without the drawings for phones."""

DOCUMENTS = [*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/zh-CN/*.md")]
LEFT_OUT = ("runs", "curves", "classes", "rates", "contrasts-equal-rate")
"""Tables that texts do not quote."""

KEPT = (
    "a", "b", "metric", "epochs", "lr_a", "lr_b", "n", "difference", "low", "high", "p_decides",
    "p_holm", "verdict", "reason", "standing", "margin", "seeds_needed", "won", "tied", "lost", "p",
)  # fmt: skip
NUMBER = re.compile(r"(?<![\w./])([-+−]?\d+\.\d+)(?!\.?\w|/)")
INTERVAL = re.compile(r"([-+−]?\d+\.\d+)[^\[\]\d]{0,30}\[([-+−]?[\d.]+), ([-+−]?[\d.]+)\]")
VERDICT = re.compile(r"\b(\w+) (?:is|are) (better|worse|equivalent|undecided)\b")

# ---- what a sweep showed -------------------------------------------------------------------------


def sweeps(directory: Path) -> Iterator[tuple[str, str]]:
    """The presets of which a store has a sweep, with the run id of the newest."""
    from reports import runs

    stored = runs.sweeps(f"sqlite:///{directory.resolve() / 'mlflow.db'}")
    for path in sorted((ROOT / "conf" / "preset").glob("*.yaml")):
        own = stored[stored["name"].str.startswith(f"{path.stem} (")]
        if len(own):
            yield path.stem, str(own["run_id"].iloc[0])


def report(preset: str, directory: Path, sweep: str) -> tuple[str, dict[str, Any]]:
    """The page of a sweep, and what is kept of its report."""
    options = comment(preset, "Command").partition("generate report sweep=ID")[2]
    command = ["generate", "report", f"sweep={sweep}", *shlex.split(options)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "reports" / "generate.py"), *command[1:]],
        cwd=directory, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    (place,) = re.findall(r"^report: (.+)$", done.stdout, flags=re.MULTILINE)
    page = directory / place
    facts = {"preset": preset, "command": shlex.join(command), **runs_of(directory, sweep)}
    return page.read_text(encoding="utf-8"), facts | results(page.parent)


def runs_of(directory: Path, sweep: str) -> dict[str, Any]:
    """How many runs a sweep has, what computed them, and their test accuracies."""
    from reports import runs

    summary = runs.load(f"sqlite:///{directory.resolve() / 'mlflow.db'}", None, sweep).summary
    groups = summary.groupby(["setting", "loss", "lr"])["test_accuracy"]
    spread = (100 * groups.agg(["mean", "std", "min", "max"])).reset_index()
    origin = {
        key: sorted(map(str, summary[key].dropna().unique()))
        for key in ("git_commit", "paddle_version", "python_version", "processor")
    }
    few = len(spread) <= 60
    return {"runs": len(summary)} | origin | {"spread": rows(spread.to_csv()) if few else []}


def results(directory: Path) -> dict[str, Any]:
    """The verdicts and tables of a report."""
    verdicts = json.loads((directory / "verdicts.json").read_text(encoding="utf-8"))
    tables = {
        path.stem: rows(path.read_text(encoding="utf-8"))
        for path in sorted((directory / "tables").glob("*.csv"))
        if not path.stem.endswith(LEFT_OUT)
    }
    names = [row["setting"] for row in tables.pop("verdicts", [])] or [""]
    settings = dict(zip([each["setting"] for each in verdicts["settings"]], names, strict=False))
    across = verdicts.get("across", {})
    longest = max((each["epochs"] for each in verdicts["contrasts"]), default=0)
    headline = [
        each
        for each in verdicts["contrasts"]
        if each["view"] == "best" and each["epochs"] == longest
    ]
    return {
        "contrasts": [
            {"setting": settings.get(each.get("setting"), "")}
            | {key: each[key] for key in KEPT if key in each}
            for each in across.get("contrasts", headline)
        ],
        "across": {key: across[key] for key in ("average_ranks", "friedman") if key in across},
        "tables": tables,
    }


def rows(text: str) -> list[dict[str, Any]]:
    """The rows of CSV, with numbers of six digits."""
    return [
        {key: short(value) for key, value in row.items() if key}
        for row in csv.DictReader(io.StringIO(text))
    ]


def short(value: Any) -> Any:
    """A number with six digits; anything else as it is."""
    try:
        return float(f"{float(value):.6g}")
    except (TypeError, ValueError):
        return value


# ---- texts about it ------------------------------------------------------------------------------


def comment(preset: str, word: str) -> str:
    """What a preset's file says after a word such as Showed."""
    text = (ROOT / "conf" / "preset" / f"{preset}.yaml").read_text(encoding="utf-8")
    lines = re.search(rf"^# {word}: +(.*\n(?:# {{5,}}.*\n)*)", text, flags=re.MULTILINE)
    return re.sub(r"\s*\n# +", " ", lines[1]).strip() if lines else ""


def texts(preset: str) -> Iterator[tuple[str, str]]:
    """Each text that states a result of a preset, with its place.

    Parts of the documentation that have the preset's command, and its rows in tables.
    """
    yield f"conf/preset/{preset}.yaml", comment(preset, "Showed")
    command, row = rf"^python experiments/run\.py preset={preset}$", rf"^\| `{preset}` \|.*$"
    for path in DOCUMENTS:
        text, place = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        yield from ((place, each) for each in re.findall(row, text, flags=re.MULTILINE))
        for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE):
            if re.search(command, part, flags=re.MULTILINE):
                yield place, part


def differences(text: str, facts: Mapping[str, Any]) -> list[str]:
    """What a text states otherwise than the results: numbers with a decimal point, and verdicts.

    A number holds if one of the results rounds to it, whatever its sign. An interval holds only
    with its own value, as it is or with the two losses exchanged. What follows "Published:" is
    from elsewhere.
    """
    text = text.replace("−", "-").partition("Published:")[0]
    own = [*facts["contrasts"], *facts["spread"], facts["across"].get("average_ranks", {})]
    own += [facts["across"].get("friedman", {}), *(r for t in facts["tables"].values() for r in t)]
    values = [value for row in own for value in row.values() if isinstance(value, float | int)]
    elsewhere = set(NUMBER.findall(comment(facts["preset"], "Showed").partition("Published:")[2]))
    wrong = [
        f"{number} is no result"
        for number in NUMBER.findall(re.sub(r"p < 0\.001", "", text))
        if number not in elsewhere and not any(agree(number, value) for value in values)
    ]
    triples = [triple for row in own for triple in with_intervals(row)]
    for middle, low, high in INTERVAL.findall(text):
        if not any(
            agree(middle, value)
            and ((same(low, ends[0]) and same(high, ends[1])) or
                 (same(low, -ends[1]) and same(high, -ends[0])))
            for value, *ends in triples
        ):  # fmt: skip
            wrong.append(f"{middle} [{low}, {high}] is no result with its interval")
    for loss, verdict in VERDICT.findall(text):
        given = {each["verdict"] for each in facts["contrasts"] if each["a"].split()[0] == loss}
        if given and verdict not in given:
            wrong.append(f"{loss} is {' or '.join(sorted(given))}, not {verdict}")
    return wrong


def with_intervals(row: Mapping[str, Any]) -> Iterator[tuple[float, float, float]]:
    """Each value of a row that has an interval, with it."""
    for name in row:
        ends = ("low", "high") if name == "difference" else (f"{name}_low", f"{name}_high")
        value, low, high = (row.get(key) for key in (name, *ends))
        if isinstance(value, float) and isinstance(low, float) and isinstance(high, float):
            yield value, low, high


def same(text: str, value: float) -> bool:
    """Whether a value rounds to the number that stands in a text."""
    digits = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5001 * 10.0**-digits


def agree(text: str, value: float) -> bool:
    """The same whatever the sign."""
    return same(text.lstrip("+-"), abs(value))


# ---- the gallery ---------------------------------------------------------------------------------


def index(text: str, results: Sequence[Mapping[str, Any]]) -> str:
    """The text of a README up to the head of its last table, and the verdicts on losses."""
    head = text.rpartition("\n| --- ")[0]
    lines = [head, "|" + " --- |" * (head.splitlines()[-1].count("|") - 1)]
    for facts in results:
        preset = facts["preset"]
        page = HERE / f"{preset}.html"
        file = page.name if page.exists() else f"{preset}.json"
        for each in facts["contrasts"]:
            if each.get("reason") == "one seed":
                continue
            interval = isinstance(each["low"], float)
            value = "{difference:+.2f} [{low:.2f}, {high:.2f}]" if interval else ""
            cells = [f"[{preset}]({file})", each["setting"], f"`{each['a']}`", f"`{each['b']}`"]
            cells += [f"`{each.get('metric', 'test/accuracy')}`", value.format(**each)]
            lines.append(f"| {' | '.join([*cells, each['verdict']])} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def kept() -> list[dict[str, Any]]:
    """The results that stand beside this file."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(HERE.glob("*.json"))]


def write(directory: Path) -> None:
    """The pages and results of all presets in a store."""
    for preset, sweep in sweeps(directory):
        page, facts = report(preset, directory, sweep)
        text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        (HERE / f"{preset}.json").write_text(text, encoding="utf-8")
        if preset not in PAGES:
            continue
        if len(page.encode()) > LARGEST:
            page = re.sub(r'<div class="narrow">.*?</div>', "", page, flags=re.DOTALL)
        (HERE / f"{preset}.html").write_text(page, encoding="utf-8")
        print(f"{preset}: {len(page.encode()) / 1e6:.2f} MB")


def main() -> None:
    """Make what the arguments name, and check all texts."""
    for name in sys.argv[1:]:
        write(Path(name))
    for path in HERE.glob("README*.md"):
        path.write_text(index(path.read_text(encoding="utf-8"), kept()), encoding="utf-8")
    wrong = [
        f"{place}: {problem}"
        for facts in kept()
        for place, text in texts(facts["preset"])
        for problem in differences(text, facts)
    ]
    large = [path for path in HERE.glob("*.html") if path.stat().st_size > LARGEST]
    wrong += [f"{path.name}: expected at most {LARGEST:,} bytes" for path in large]
    print("\n".join(wrong) or f"all texts agree with the results of {len(kept())} presets")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
