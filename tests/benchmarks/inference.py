"""What the verdicts are worth: simulated coverage, false verdicts and power, as tables.

    python tests/benchmarks/inference.py --trials 2000    the tables of docs/statistics.md
    python tests/benchmarks/inference.py                  ten times as many experiments
    python tests/benchmarks/inference.py --quick          a tenth of these

Every figure comes from the experiments of simulations.py, which go through the functions of
`reports.stats` that a report calls.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from simulations import (  # noqa: E402
    IMAGES,
    SHAPES,
    SIZES,
    after_advice,
    after_rates,
    coverage_of_bits,
    coverage_of_seeds,
    equivalence,
    families,
    normal,
    power,
    watched,
)

from reports.stats.significance import unseen_share  # noqa: E402


def tables(trials: int) -> Iterator[str]:
    """Every table, as Markdown, one after the other."""
    heads = [f"n = {n}" for n in SIZES]
    of_seeds = {
        name: [coverage_of_seeds(draw, n, trials) for n in SIZES] for name, draw in SHAPES.items()
    }
    yield table(
        "95 % intervals that contain the true difference, and (false verdicts), %",
        ["differences of seeds", *heads],
        [
            [name, *(f"{100 * covered:.1f} ({100 * wrong:.1f})" for covered, wrong, _ in cells)]
            for name, cells in of_seeds.items()
        ],
    )
    yield table(
        "false verdicts that are wrong about the seeds that are not rare, too, %",
        ["differences of seeds", *heads],
        [
            [name, *(f"{100 * of_most:.1f}" for *_, of_most in cells)]
            for name, cells in of_seeds.items()
        ]
        + [["share of seeds that may be rare", *(f"{100 * unseen_share(n):.0f}" for n in SIZES)]],
    )
    cases = {
        "images dominate": {"of_seeds": 0.0},
        "seeds dominate": {"of_seeds": 0.4},
        "ceiling: 99 % right": {"of_seeds": 0.0, "ceiling": True},
    }
    yield table(
        "95 % intervals that contain the true difference for new seeds and images, "
        f"{IMAGES} images, %: two-way (seeds only)",
        ["right or wrong of each image", *heads],
        [
            [name, *(f"{100 * both:.1f} ({100 * seeds:.1f})" for both, seeds in cells)]
            for name, case in cases.items()
            for cells in [[coverage_of_bits(n, max(trials // 8, 50), **case) for n in SIZES]]  # type: ignore[arg-type]
        ],
    )
    yield table(
        "families with a false verdict, %",
        ["equal losses against one", *heads],
        [
            [str(losses), *(f"{100 * families(n, losses, trials // losses):.1f}" for n in SIZES)]
            for losses in (1, 5, 22)
        ],
    )
    gaps = (0.0, 0.5, 1.0, 2.0)
    yield table(
        "false verdicts after choosing among rates, %: if a verdict has to hold at every such rate "
        "(if not)",
        ["rates of the two losses", "n", *(f"gap {gap:g} sd" for gap in gaps)],
        [
            [
                f"{a} and {b}",
                str(n),
                *(
                    " ".join(
                        text.format(
                            100 * after_rates(n, trials, gap=gap, rates=(a, b), guard=guard)
                        )
                        for guard, text in ((True, "{:.1f}"), (False, "({:.1f})"))
                    )
                    for gap in gaps
                ),
            ]
            for (a, b), n in itertools.product(((2, 2), (2, 1), (5, 1)), (8, 10, 20))
        ],
    )
    one_by_one = range(6, 61)
    yield table(
        "false verdicts when one looks after every added seed, %",
        [
            *("differences of seeds", "6 to 60, one by one", "wrong about most seeds, too"),
            *("plain t test", "5 rounds of advice"),
        ],
        [
            [
                name,
                *(f"{100 * each:.1f}" for each in watched(draw, trials // 2, one_by_one)),
                f"{100 * after_advice(draw, trials // 4):.1f}",
            ]
            for name, draw in SHAPES.items()
        ]
        + [
            [
                "normal, images as large as ten seeds",
                *(
                    f"{100 * each:.1f}"
                    for each in watched(normal, trials // 2, one_by_one, of_images=0.3)
                ),
                "",
            ]
        ],
    )
    yield table(
        "verdicts at the declared n, %, and (a plain t test at .05)",
        ["true difference", *heads],
        [
            [
                f"{effect:g} sd",
                *(
                    "{:.1f} ({:.1f})".format(*(100 * each for each in power(n, effect, trials)))
                    for n in SIZES
                ),
            ]
            for effect in (0.5, 1.0, 1.5, 2.0, 3.0)
        ],
    )
    yield table(
        "families in which a loss is called equivalent, %; spread 1, margin 3",
        ["case", *heads[1:]],
        [
            [
                name,
                *(
                    f"{100 * equivalence(n, trials // family, family=family, difference=d):.1f}"
                    for n in SIZES[1:]
                ),
            ]
            for name, family, d in (
                ("one loss on the margin", 1, 3.0),
                ("22 losses on the margin", 22, 3.0),
                ("one loss without a difference", 1, 0.0),
            )
        ]
        + [
            ["on the margin, seeds added one by one to 60"]
            + [
                f"{100 * equivalence(n, trials // 4, family=1, difference=3.0, looks=looks):.1f}"
                for n in SIZES[1:]
                for looks in [range(n, 61)]
            ]
        ],
    )


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown below its title."""
    lines = [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join([f"{title}:", "", *lines, ""])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the experiments")
    parser.add_argument("--trials", type=int, default=20_000, help="experiments per figure")
    arguments = parser.parse_args()
    trials = arguments.trials // (10 if arguments.quick else 1)
    if trials < 100:
        parser.error(f"expected at least 100 experiments per figure, got {trials}")
    start = time.perf_counter()
    for text in tables(trials):
        print(text, flush=True)
        print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)
        start = time.perf_counter()


if __name__ == "__main__":
    main()
