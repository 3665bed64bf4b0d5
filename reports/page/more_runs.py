"""The commands of a setting's page: which runs would decide, extend a grid or fill a gap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.analysis import Section
from reports.page import caveats, commands
from reports.page.commands import Source
from reports.sensitivity import setting_values
from reports.stats.runs import trials, with_tuned


@dataclass(frozen=True)
class MoreRuns:
    """The commands for one setting; none for imported runs, which were made elsewhere."""

    section: Section
    source: Source

    def deciding(self, row: Mapping[str, Any]) -> tuple[list[str], int]:
        """The commands for the seeds that would decide a contrast, and how many seeds these are."""
        needed = _seeds_needed(row)
        if needed is None:
            return [], 0
        return self._more_seeds([row], needed, row["epochs"])

    def deciding_many(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], int]:
        """One command for many undecided contrasts, and its number of seeds.

        These decide half of them, if the differences and spreads observed are the true ones.
        """
        wanted = [(row, seeds) for row in rows if (seeds := _seeds_needed(row)) is not None]
        if not wanted:
            return [], 0
        needed = math.ceil(np.median([seeds for _, seeds in wanted]))
        return self._more_seeds([row for row, _ in wanted], needed, self.section.epochs)

    def wider(self) -> list[str]:
        """The commands that extend the grid beyond the edges at which best rates are."""
        section = self.section
        seeds = sorted(set(section.split.tuning) | set(section.split.evaluation))
        edges = set(caveats.edge_rates(section)["edge"])
        most = max(section.tuned.values(), default=1)
        rates: dict[int, list[str]] = {}  # losses by the number of rates that are as many trials
        for loss in section.without_baselines:
            rates.setdefault(-(-most // section.tuned.get(loss, 1)), []).append(loss)
        return [
            line
            for edge in ("low", "high")
            if edge in edges
            for count, losses in rates.items()
            for line in self._run(
                losses,
                commands.wider_rates(self._rates(section.epochs), edge, count),
                seeds,
                section.epochs,
            )
        ]

    def unfinished(self) -> list[str]:
        """The commands for the runs without a result."""
        open_runs = self.section.unfinished
        open_runs = open_runs[open_runs["loss"].isin(self.section.without_baselines)]
        runs = self.section.runs
        return [
            line
            for (loss, lr, tuned, epochs), subset in open_runs.groupby(
                ["loss", "lr", "tuned", "epochs"], sort=True
            )
            for line in self._run(
                [loss], [lr], list(subset["seed"]), epochs, runs[runs["tuned"] == tuned]
            )
        ]

    def again(self) -> list[str]:
        """The commands that run everything of this setting again.

        No other run, but that tuned own values are taken in all combinations.

        Seeds of a loss that have the same trials go together, and then losses with the same of
        both.
        """
        runs = with_tuned(self.section.runs)
        runs = runs[runs["loss"].isin(self.section.without_baselines)]
        of_trials: dict[tuple[Any, ...], list[int]] = {}
        for (epochs, loss, seed), own in runs.groupby(["epochs", "loss", "seed"], sort=True):
            key = epochs, loss, tuple(sorted(set(trials(own))))
            of_trials.setdefault(key, []).append(int(seed))
        blocks: dict[tuple[Any, ...], list[str]] = {}
        for (epochs, loss, tried), seeds in of_trials.items():
            blocks.setdefault((epochs, tuple(seeds), tried), []).append(loss)
        return [
            line
            for (epochs, seeds, tried), losses in sorted(blocks.items())
            for line in self._run(
                [loss for loss in self.section.without_baselines if loss in losses],
                sorted({trial.lr for trial in tried}),
                seeds,
                epochs,
                runs[(runs["epochs"] == epochs) & runs["seed"].isin(seeds)],
            )
        ]

    def lacking(self, losses: Sequence[str], every: pd.DataFrame) -> list[str]:
        """The commands for losses that have runs in another setting only.

        every: the runs of all settings, of which such a loss has its values.
        """
        runs = self.section.runs
        return self._run(
            losses,
            sorted(runs["lr"].unique()),
            sorted(runs["seed"].unique()),
            self.section.epochs,
            every.assign(**setting_values(runs)),
        )

    def _rates(self, epochs: int, loss: str | None = None) -> list[float]:
        """The rates of a loss, or of all; where no own value is tuned, these are the same."""
        rates = self.section.rates[self.section.rates["epochs"] == epochs]
        own = rates[rates["loss"] == loss]
        return sorted((own if len(own) else rates)["lr"].unique())

    def _more_seeds(
        self, rows: Sequence[Mapping[str, Any]], needed: float, epochs: int
    ) -> tuple[list[str], int]:
        """Every new seed also chooses among the rates, so it needs the whole grid.

        In a two-stage sweep it needs the chosen rates. Runs that are finished are not run again.
        """
        split = self.section.split
        tuning = sorted(set(split.tuning) - set(split.evaluation))
        seeds = commands.seeds_to_reach(split.evaluation, needed, tuning)
        if not split.two_stage:
            wanted = dict.fromkeys(row[side] for row in rows for side in ("a", "b"))
            return self._run(list(wanted), None, seeds, epochs), len(seeds)
        by_rate: dict[float, dict[str, None]] = {}
        for row in rows:
            for loss, lr in ((row["a"], row["lr_a"]), (row["b"], row["lr_b"])):
                if math.isfinite(lr):
                    by_rate.setdefault(lr, {})[loss] = None
        lines = [
            line
            for lr, together in by_rate.items()
            for line in self._run(list(together), [lr], seeds, epochs)
        ]
        return lines, len(seeds)

    def _run(
        self,
        losses: Sequence[str],
        rates: Sequence[float] | None,
        seeds: Sequence[int],
        epochs: int,
        runs: pd.DataFrame | None = None,
    ) -> list[str]:
        """The commands; rates None: those that each loss has.

        Of several experiments each loss goes on in that of its newest run.
        """
        if self.source.imported:
            return []
        runs = self.section.runs if runs is None else runs
        places = dict.fromkeys(losses, self.source.experiments[-1])
        if len(self.source.experiments) > 1:
            by_loss = runs[runs["experiment"] != ""].groupby("loss")["experiment"]
            places |= {loss: name for loss, name in by_loss.last().items() if loss in places}
        together: dict[tuple[str, tuple[float, ...]], list[str]] = {}
        for loss, place in places.items():
            own = self._rates(epochs, loss) if rates is None else rates
            together.setdefault((place, tuple(own)), []).append(loss)
        return [
            line
            for (place, own), group in together.items()
            for line in commands.run_command(
                group, own, seeds, runs, epochs=int(epochs), experiment=place, uri=self.source.uri
            )
        ]


def _seeds_needed(row: Mapping[str, Any]) -> float | None:
    """The seeds that an undecided contrast needs; None where more may not help."""
    if row["verdict"] != "undecided" or math.isinf(row["seeds_needed"]):
        return None
    if row["reason"] == "rates":
        return None  # at the best rates there are enough, and at the others more may not help
    if row["n"] == 0 and any(lost.reason == "no value" for lost in row["dropped"]):
        return None  # this head has no such number, however many seeds there are
    wanted = row["seeds_needed"]
    return float(wanted if math.isfinite(wanted) else max(10, row["n"] + 1))
