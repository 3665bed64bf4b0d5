"""Chooses each loss's learning rate with an equal budget, then evaluates it with other seeds.

Each stage is a sweep like any other, so that the same command continues where it was. The last one
has all runs, and its last line is the command for their report.
"""

from __future__ import annotations

import dataclasses
import logging
import statistics
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra_plugins.fairloss.sweeper import GridSweeper, Job

from experiments import config, errors, trials
from experiments.config import Settings
from experiments.guards import check_number

log = logging.getLogger(__name__)

Trials = dict[float, list[float]]  # of each rate its accuracies


class _Tuner(GridSweeper):
    """Chooses rates on the first `tuning_seeds` seeds; the next ones are the evaluation seeds."""

    def __init__(self, params: dict[str, Any] | None, tuning_seeds: int, evaluation_seeds: int):
        super().__init__(params)
        self.tuning_seeds = _whole_number("tuning_seeds", tuning_seeds, 1)
        self.evaluation_seeds = _whole_number("evaluation_seeds", evaluation_seeds, 1)
        self.seeds = range(self.tuning_seeds + self.evaluation_seeds)

    def tuning_grid(self, arguments: list[str]) -> list[Job]:
        """The runs of the grid on the tuning seeds."""
        if any(word.split("=", 1)[0] == "seed" for word in arguments):
            raise config.CommandError(
                "seed: tuning chooses the seeds itself; hydra.sweeper.tuning_seeds and "
                "hydra.sweeper.evaluation_seeds say how many"
            )
        if any(word.startswith(trials.PREFIX) for word in [*arguments, *self.params]):
            raise config.CommandError(
                "tune: expected hydra/sweeper=grid, where every seed runs every trial; this "
                "sweeper chooses learning rates alone"
            )
        return self.jobs([*arguments, f"seed=range({self.tuning_seeds})"])

    def trials(self, jobs: list[Job]) -> dict[str, Trials]:
        """Run the jobs; of each family, by rate, the accuracies of its runs."""
        from experiments import tuning

        trials: dict[str, Trials] = {}
        for (_, job), run in zip(jobs, self.run(jobs, stage="rates"), strict=True):
            trials.setdefault(_family(job), {}).setdefault(job.lr, []).append(tuning.score(run))
        return trials

    def evaluate(self, jobs: list[Job], trials: dict[str, Trials]) -> Any:
        """Run each family at its best rate on the evaluation seeds, with the tuning jobs.

        Where all trials of a family diverged, that is the smallest rate, with a warning.
        """
        from experiments import tuning

        evaluated = []
        for family, job in {_family(job[1]): job for job in jobs}.items():
            rate = tuning.choose(trials[family])
            name = f"loss={job[1].choices['loss']}"
            if tuning.all_diverged(trials[family]):
                log.warning("%s: every trial diverged; the smallest rate is evaluated", name)
            log.info("%s: chosen lr=%g", name, rate)
            seeds = range(self.tuning_seeds, self.tuning_seeds + self.evaluation_seeds)
            evaluated += [_with_scalars(job, lr=rate, seed=seed) for seed in seeds]
        return self.run([*jobs, *evaluated], tuning_seeds=self.tuning_seeds)


class TuningSweeper(_Tuner):
    """Chooses among the rates of a grid (`lr=...`), the same for all.

    Where a chosen rate is the first or the last of the grid, the grid grows by half a decade on
    that side, for all alike, `extensions` times at most.
    """

    def __init__(
        self,
        params: dict[str, Any] | None,
        tuning_seeds: int,
        evaluation_seeds: int,
        extensions: int,
    ):
        super().__init__(params, tuning_seeds, evaluation_seeds)
        self.extensions = _whole_number("extensions", extensions, 0)

    @errors.errors_without_credentials()
    def sweep(self, arguments: list[str]) -> Any:
        """Choose a rate of the grid for each loss, then run the evaluation seeds at it."""
        jobs = self.tuning_grid(arguments)
        rates = sorted({job.lr for _, job in jobs})
        if len(rates) < 2:
            raise config.CommandError(
                f"lr: expected a grid of learning rates to choose from, got {rates[0]:g} alone"
            )
        families = len({_family(job) for _, job in jobs})
        if jobs[0][1].plan:
            self.run(jobs)
            print(
                f"That is the choice of rates. After it, {families * self.evaluation_seeds} runs "
                "evaluate the chosen ones, and for each rate by which the grid grows there are "
                f"{families * self.tuning_seeds} more."
            )
            return []

        from experiments import tuning

        for extensions_left in range(self.extensions, -1, -1):
            trials = self.trials(jobs)
            wider = tuning.extended(rates, map(tuning.choose, trials.values()))
            if wider == rates or not extensions_left:
                break
            added = ", ".join(f"{rate:g}" for rate in wider if rate not in rates)
            log.info("a best rate lies on the edge of the grid: it grows by %s", added)
            rates = wider
            one_rate = {(_family(job[1]), job[1].seed): job for job in jobs}.values()
            jobs = [_with_scalars(job, lr=rate) for job in one_rate for rate in rates]
        return self.evaluate(jobs, trials)


class OptunaSweeper(_Tuner):
    """Chooses from `lr=interval(low,high)` with Optuna's TPE, `trials` rates for each loss.

    What it asks for depends on the results alone, so the same command asks for the same rates and
    finds them finished. Bergstra, Bardenet, Bengio and Kegl, 2011.
    """

    def __init__(
        self, params: dict[str, Any] | None, tuning_seeds: int, evaluation_seeds: int, trials: int
    ):
        super().__init__(params, tuning_seeds, evaluation_seeds)
        self.budget = _whole_number("trials", trials, 1)

    @errors.errors_without_credentials()
    def sweep(self, arguments: list[str]) -> Any:
        """Choose rates from an interval with Optuna, then run the evaluation seeds at them."""
        try:
            import optuna
        except ImportError as error:
            raise config.CommandError(
                'hydra/sweeper=optuna needs Optuna: pip install -e ".[optuna]"'
            ) from error

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        rate_overrides = [word for word in arguments if word.split("=", 1)[0] == "lr"] or [
            f"lr={self.params.pop('lr', '')}"
        ]
        low, high = _interval(rate_overrides[-1])
        others = [word for word in arguments if word not in rate_overrides]
        templates = self.tuning_grid([*others, f"lr={low}"])
        if templates[0][1].plan:
            raise config.CommandError(
                "plan: the rates that Optuna will ask for are not known before the runs"
            )

        studies = {
            family: optuna.create_study(
                direction="maximize", sampler=optuna.samplers.TPESampler(seed=0)
            )
            for family in {_family(job): None for _, job in templates}
        }
        jobs: list[Job] = []
        trials: dict[str, Trials] = {family: {} for family in studies}
        for _ in range(self.budget):
            suggestions = {family: study.ask() for family, study in studies.items()}
            rates = {
                family: float(f"{trial.suggest_float('lr', low, high, log=True):.3g}")
                for family, trial in suggestions.items()
            }
            jobs_of_round = [_with_scalars(job, lr=rates[_family(job[1])]) for job in templates]
            for family, scores in self.trials(jobs_of_round).items():
                trials[family] |= scores
                mean = statistics.fmean(scores[rates[family]])
                studies[family].tell(suggestions[family], mean)
            jobs += jobs_of_round
        return self.evaluate(jobs, trials)


def _whole_number(name: str, value: Any, least: int) -> int:
    try:
        check_number(f"hydra.sweeper.{name}", value, at_least=least, whole=True)
    except (TypeError, ValueError) as error:
        raise config.CommandError(str(error)) from error
    return int(value)


def _interval(word: str) -> tuple[float, float]:
    """The ends of `lr=interval(low,high)`."""
    override = OverridesParser.create().parse_override(word if word != "lr=" else "lr=null")
    interval = override.value()
    if not isinstance(interval, IntervalSweep) or not 0 < interval.start < interval.end:  # type: ignore[operator]
        raise config.CommandError(f"expected lr=interval(low,high) with 0 < low < high, got {word}")
    return float(interval.start), float(interval.end)  # type: ignore[arg-type]


def _family(job: Settings) -> str:
    """What the runs share that differ in rate and seed alone."""
    return dataclasses.replace(job, lr=1.0, seed=0).identity("")


def _with_scalars(job: Job, **values: Any) -> Job:
    """The run with other scalars."""
    overrides, settings = job
    kept = [word for word in overrides if word.split("=", 1)[0] not in values]
    return [*kept, *(f"{key}={value}" for key, value in values.items())], dataclasses.replace(
        settings, **values
    )
