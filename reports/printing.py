"""What a report prints in the terminal: notes on its runs, and the verdicts in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from reports import across, sentences, source_code
from reports.across import Across
from reports.analysis import Section
from reports.names import counted, plain
from reports.page.answer import words_of
from reports.page.methods import basis
from reports.runs import Runs


def print_notes(runs: Runs) -> None:
    """Print what was left out of the runs, and what may make their numbers wrong."""
    for warning in runs.warnings:
        print(f"WARNING: {plain(warning, 1000)}")
    for note in runs.notes:
        print(f"note: {plain(note, 1000)}")


def print_verdicts(sections: Sequence[Section]) -> None:
    """Print the verdicts in plain sentences."""
    for section in sections:
        if len(sections) > 1:
            print(f"\n== {' · '.join(words_of(section))} ==")
        for note in section.notes:
            print(note)
        for warning in source_code.warnings(section.runs):
            print(f"WARNING: {warning}")
        if not len(section.headline):
            print(
                "nothing to compare: "
                + ("no run has a result" if not len(section.evaluated) else "there is one loss")
            )
            continue
        print(basis(section))
        for row in section.compared(section.epochs).to_dict("records"):
            print(f"  {sentences.sentence(row)} {sentences.needed(row)}".rstrip())
        for epochs in section.lengths[1:]:
            if tally := sentences.tally(section.compared(epochs).to_dict("records")):
                print(
                    f"After {counted(epochs, 'epoch')}: {tally}; where.epochs={epochs} makes a "
                    "report on them."
                )


def print_across(result: Across, sections: Sequence[Section]) -> None:
    """Print the verdicts across data sets or models, and how many each of these has alone."""
    print(across.basis(result))
    for row in result.comparison.contrasts.to_dict("records"):
        print(f"  {across.sentence(result, row)}")
    for advice in across.advice(result):
        print(f"note: {advice}")
    if result.units:
        ranks = result.comparison.average_ranks.items()
        print(f"Average ranks: {', '.join(f'{plain(loss)} {rank:.2f}' for loss, rank in ranks)}")
    for section in sections:
        tally = sentences.tally(section.compared(section.epochs).to_dict("records"))
        print(
            f"On {plain(section.runs[result.key].iloc[0])} alone: {tally or 'nothing to compare'}"
        )
