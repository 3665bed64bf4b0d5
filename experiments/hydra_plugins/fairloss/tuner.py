"""Hydra's side of tuning: choose each loss's learning rate with an equal budget, then judge it with fresh seeds, in one command.

Each stage is a sweep like any other, so the same command again goes on wherever it was. The last one has all cells, and is
what a report is made on: it finds by itself which seeds chose and which judge.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from hydra_plugins.fairloss.sweeper import Cell, CellSweeper

from experiments import config
from experiments.config import Settings

log = logging.getLogger(__name__)


class TuningSweeper(CellSweeper):
    """A grid of learning rates (`lr=...`) on the seeds 0 .. tuning_seeds - 1, then the chosen rates on the next judging_seeds.

    Where a chosen rate is the first or the last of the grid, the grid grows by half a decade on that side, for all alike, `extensions`
    times at most.
    """

    def __init__(self, params: dict[str, Any] | None, tuning_seeds: int, judging_seeds: int, extensions: int):
        super().__init__(params)
        for name, value, least in (
            ("tuning_seeds", tuning_seeds, 1),
            ("judging_seeds", judging_seeds, 1),
            ("extensions", extensions, 0),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise config.CommandError(
                    f"hydra.sweeper.{name}: expected a whole number of at least {least}, came {value!r}"
                )
        self.tuning_seeds, self.judging_seeds, self.extensions = tuning_seeds, judging_seeds, extensions

    def sweep(self, arguments: list[str]) -> Any:
        if any(word.split("=", 1)[0] == "seed" for word in arguments):
            raise config.CommandError(
                "seed: tuning chooses the seeds itself; hydra.sweeper.tuning_seeds and hydra.sweeper.judging_seeds say how many"
            )
        cells = self.cells([*arguments, f"seed=range({self.tuning_seeds})"])
        rates = sorted({cell.lr for _, cell in cells})
        if len(rates) < 2:
            raise config.CommandError(
                f"lr: expected a grid of learning rates to choose from, came {rates[0]:g} alone"
            )
        if cells[0][1].plan:
            return self.run(cells)

        from experiments import tuning

        for extension in range(self.extensions + 1):
            chosen = self._chosen(cells)
            wider = tuning.extended(rates, chosen.values())
            if wider == rates or extension == self.extensions:
                break
            log.info(
                "a best rate lies on the edge of the grid: it grows by %s",
                ", ".join(f"{rate:g}" for rate in wider if rate not in rates),
            )
            cells, rates = _at_rates(cells, wider), wider
        judged = [
            _at(cell, lr=chosen[_family(cell[1])], seed=seed)
            for cell in {_family(cell[1]): cell for cell in cells}.values()
            for seed in range(self.tuning_seeds, self.tuning_seeds + self.judging_seeds)
        ]
        return self.run([*cells, *judged])

    def _chosen(self, cells: list[Cell]) -> dict[str, float]:
        """Run the cells; of each family its best rate."""
        from experiments import tuning

        runs = self.run(cells, stage="rates")
        trials: dict[str, dict[float, list[float | None]]] = {}
        names: dict[str, str] = {}
        for (_, cell), run in zip(cells, runs, strict=True):
            ok = run.data.tags.get("outcome") == "ok"
            scores = trials.setdefault(_family(cell), {}).setdefault(cell.lr, [])
            scores.append(run.data.metrics["val/accuracy"] if ok else None)
            names[_family(cell)] = cell.choices["loss"]
        try:
            chosen = {family: tuning.choose(by_rate) for family, by_rate in trials.items()}
        except ValueError as error:
            raise config.CommandError(str(error)) from error
        for family, rate in chosen.items():
            log.info("chosen for %s: lr=%g", names[family], rate)
        return chosen


def _family(cell: Settings) -> str:
    """What the cells share that differ in rate and seed alone."""
    return dataclasses.replace(cell, lr=1.0, seed=0).identity("")


def _at(cell: Cell, **values: Any) -> Cell:
    """The cell with other scalars."""
    overrides, settings = cell
    kept = [word for word in overrides if word.split("=", 1)[0] not in values]
    return [*kept, *(f"{key}={value}" for key, value in values.items())], dataclasses.replace(
        settings, **values
    )


def _at_rates(cells: list[Cell], rates: list[float]) -> list[Cell]:
    families = {(_family(settings), settings.seed): (words, settings) for words, settings in cells}
    return [_at(cell, lr=rate) for cell in families.values() for rate in rates]
