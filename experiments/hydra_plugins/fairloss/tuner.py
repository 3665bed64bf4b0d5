"""Hydra's side of tuning.

Choose each loss's learning rate with an equal budget, then evaluate it with other seeds, in one
command.

Each stage is a sweep like any other, so the same command again goes on wherever it was. The last
one has all runs, and is what a report is made on, with the option tuning_seeds that its last line
names.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra_plugins.fairloss.sweeper import Cell, CellSweeper

from experiments import config
from experiments.config import Settings

log = logging.getLogger(__name__)

Trials = dict[float, list[float | None]]  # of each rate its accuracies


class _Tuner(CellSweeper):
    """Chooses rates on the tuning seeds 0 ..

    tuning_seeds - 1; the next judging_seeds are the evaluation seeds.
    """

    def __init__(self, params: dict[str, Any] | None, tuning_seeds: int, judging_seeds: int):
        super().__init__(params)
        self.tuning_seeds = _whole("tuning_seeds", tuning_seeds, 1)
        self.judging_seeds = _whole("judging_seeds", judging_seeds, 1)

    def tuning_cells(self, arguments: list[str]) -> list[Cell]:
        """The cells of the grid on the tuning seeds."""
        if any(word.split("=", 1)[0] == "seed" for word in arguments):
            raise config.CommandError(
                "seed: tuning chooses the seeds itself; hydra.sweeper.tuning_seeds and "
                "hydra.sweeper.judging_seeds say how many"
            )
        return self.cells([*arguments, f"seed=range({self.tuning_seeds})"])

    def trials(self, cells: list[Cell]) -> dict[str, Trials]:
        """Run the cells; of each family, by rate, the validation accuracies.

        None for a run that diverged.
        """
        trials: dict[str, Trials] = {}
        for (_, cell), run in zip(cells, self.run(cells, stage="rates"), strict=True):
            ok = run.data.tags.get("outcome") == "ok"
            scores = trials.setdefault(_family(cell), {}).setdefault(cell.lr, [])
            scores.append(run.data.metrics["val/accuracy"] if ok else None)
        return trials

    def choose(self, cells: list[Cell], trials: dict[str, Trials]) -> dict[str, float]:
        """Of each family its best rate.

        Of one that diverged at every rate the smallest, and a warning.
        """
        from experiments import tuning

        names = {_family(cell): cell.choices["loss"] for _, cell in cells}
        chosen = {family: tuning.choose(by_rate) for family, by_rate in trials.items()}
        for family, by_rate in trials.items():
            if all(score is None for scores in by_rate.values() for score in scores):
                tried = ", ".join(f"{rate:g}" for rate in sorted(by_rate))
                log.warning(
                    "loss=%s: every trial diverged, at each of the rates %s; the smallest is "
                    "evaluated",
                    names[family],
                    tried,
                )
        log.info(
            "chosen: %s",
            ", ".join(f"lr={rate:g} for {names[family]}" for family, rate in chosen.items()),
        )
        return chosen

    def judge(self, cells: list[Cell], chosen: dict[str, float]) -> Any:
        """Run each family at its chosen rate on the evaluation seeds.

        The sweep has the tuning `cells`, too.
        """
        judged = [
            _at(cell, lr=chosen[_family(cell[1])], seed=seed)
            for cell in {_family(cell[1]): cell for cell in cells}.values()
            for seed in range(self.tuning_seeds, self.tuning_seeds + self.judging_seeds)
        ]
        return self.run([*cells, *judged], tuning_seeds=self.tuning_seeds)


class TuningSweeper(_Tuner):
    """Chooses among the rates of a grid (`lr=...`), the same for all.

    Where a chosen rate is the first or the last of the grid, the grid grows by half a decade on
    that side, for all alike, `extensions` times at most.
    """

    def __init__(
        self, params: dict[str, Any] | None, tuning_seeds: int, judging_seeds: int, extensions: int
    ):
        super().__init__(params, tuning_seeds, judging_seeds)
        self.extensions = _whole("extensions", extensions, 0)

    @config.errors_without_credentials()
    def sweep(self, arguments: list[str]) -> Any:
        """Choose a rate of the grid for each loss, then run the evaluation seeds at it."""
        cells = self.tuning_cells(arguments)
        rates = sorted({cell.lr for _, cell in cells})
        if len(rates) < 2:
            raise config.CommandError(
                f"lr: expected a grid of learning rates to choose from, got {rates[0]:g} alone"
            )
        families = len({_family(cell) for _, cell in cells})
        if cells[0][1].plan:
            self.run(cells)
            print(
                f"That is the choice of rates. After it, {families * self.judging_seeds} runs "
                "evaluate the chosen ones, and for each rate by "
                f"which the grid grows there are {families * self.tuning_seeds} more."
            )
            return []

        from experiments import tuning

        for extension in range(self.extensions + 1):
            chosen = self.choose(cells, self.trials(cells))
            wider = tuning.extended(rates, chosen.values())
            if wider == rates or extension == self.extensions:
                break
            new = ", ".join(f"{rate:g}" for rate in wider if rate not in rates)
            log.info("a best rate lies on the edge of the grid: it grows by %s", new)
            rates = wider
            cells = [_at(cell, lr=rate) for cell in _one_rate(cells) for rate in rates]
        return self.judge(cells, chosen)


class OptunaSweeper(_Tuner):
    """Chooses from an interval (`lr=interval(low,high)`) with Optuna's TPE, on a log scale.

    `trials` rates for each loss.

    What it asks for depends on the results alone, so the same command again asks for the same and
    finds it finished: the store is its memory. Bergstra, Bardenet, Bengio and Kegl, 2011.
    """

    def __init__(
        self, params: dict[str, Any] | None, tuning_seeds: int, judging_seeds: int, trials: int
    ):
        super().__init__(params, tuning_seeds, judging_seeds)
        self.budget = _whole("trials", trials, 1)

    @config.errors_without_credentials()
    def sweep(self, arguments: list[str]) -> Any:
        """Choose rates from an interval with Optuna, then run the evaluation seeds at them."""
        try:
            import optuna
        except ImportError as error:
            raise config.CommandError(
                'hydra/sweeper=optuna needs Optuna: pip install -e ".[optuna]"'
            ) from error
        from experiments import tuning

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        words = [word for word in arguments if word.split("=", 1)[0] == "lr"] or [
            f"lr={self.params.pop('lr', '')}"
        ]
        low, high = _interval(words[-1])
        others = [word for word in arguments if word not in words]
        one = self.tuning_cells([*others, f"lr={low}"])
        if one[0][1].plan:
            raise config.CommandError(
                "plan: the rates that Optuna will ask for are not known before the runs"
            )

        studies = {
            family: optuna.create_study(
                direction="maximize", sampler=optuna.samplers.TPESampler(seed=0)
            )
            for family in {_family(cell): None for _, cell in one}
        }
        cells: list[Cell] = []
        trials: dict[str, Trials] = {family: {} for family in studies}
        for _ in range(self.budget):
            asked = {family: study.ask() for family, study in studies.items()}
            rates = {
                family: float(f"{trial.suggest_float('lr', low, high, log=True):.3g}")
                for family, trial in asked.items()
            }
            now = [_at(cell, lr=rates[_family(cell[1])]) for cell in one]
            for family, found in self.trials(now).items():
                trials[family] |= found
                studies[family].tell(asked[family], tuning.mean(found[rates[family]]))
            cells += now
        return self.judge(cells, self.choose(cells, trials))


def _whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise config.CommandError(
            f"hydra.sweeper.{name}: expected a whole number of at least {least}, got {value!r}"
        )
    return value


def _interval(word: str) -> tuple[float, float]:
    """The ends of `lr=interval(low,high)`."""
    override = OverridesParser.create().parse_override(word if word != "lr=" else "lr=null")
    interval = override.value()
    if not isinstance(interval, IntervalSweep) or not 0 < interval.start < interval.end:  # type: ignore[operator]
        raise config.CommandError(f"expected lr=interval(low,high) with 0 < low < high, got {word}")
    return float(interval.start), float(interval.end)  # type: ignore[arg-type]


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


def _one_rate(cells: list[Cell]) -> list[Cell]:
    """One of the cells for each family and seed."""
    return list({(_family(cell[1]), cell[1].seed): cell for cell in cells}.values())
