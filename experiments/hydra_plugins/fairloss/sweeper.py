"""Expands the grid of a command, composes its runs, and hands them to `experiments.sweep`.

Hydra imports this file at every start, so it imports nothing heavy. A sweeper, and not a callback,
because errors pass through it and there is a `finally` round the launch.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import logging
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, ValidationError, open_dict

from experiments import config, contract, errors, ranges, source_digest, trials
from experiments.terminal import plural

log = logging.getLogger(__name__)

_SEVERAL_DATA_SETS = "datasets"  # the default experiment of a sweep over several

Job = tuple[list[str], config.Settings]  # its overrides and settings


class GridSweeper(Sweeper):
    """Every combination of the grid is one run; finished runs are not launched."""

    def __init__(self, params: dict[str, Any] | None):
        self.params: Any = params
        self.launcher: Any = None
        self.begun = 0
        self.seeds: Collection[int] = ()  # that the command will run, besides those of its grid

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what composing and launching need. Hydra calls it before `sweep`."""
        self.context, self.task_function, self.master = hydra_context, task_function, config
        self.loader = hydra_context.config_loader
        self.params = _as_mapping(self.params)  # not in __init__: Hydra would wrap its error

    @errors.errors_without_credentials()
    def sweep(self, arguments: list[str]) -> Any:
        """Run the grid that `arguments` describe; the run of each configuration, in order."""
        return self.run(self.jobs(arguments))

    def jobs(self, arguments: list[str]) -> list[Job]:
        """The runs of the grid. Raises CommandError when any is wrong."""
        parser = OverridesParser.create(config_loader=self.loader)
        words = [*_preset_overrides(self.params, parser), *parser.parse_overrides(arguments)]
        words = [_of_question(word, parser) for word in words]
        grids, tuned = trials.grids(words, parser, self._compose_all)
        grid = [job for each in grids for job in BasicSweeper.split_arguments(each, None)[0]]
        if not grid:
            raise config.CommandError(
                "expected at least one run, got none: a range or a glob of the command has no "
                "values"
            )
        if len({text for job in grid for text in job if text.startswith("preset=")}) > 1:
            raise config.CommandError(
                "preset: expected one preset at a time; run them one after the other"
            )
        log.info("%s: reading the options", plural(len(grid), "run"))
        jobs = [
            (overrides, dataclasses.replace(job, tuned=tuned))
            for overrides, job in self._compose_all(grid, parser)
        ]
        names = list(dict.fromkeys(job.experiment for _, job in jobs))
        if len(names) > 1 and not any(word.key_or_group == "experiment" for word in words):
            word = contract.override("experiment", _SEVERAL_DATA_SETS)
            jobs = [
                ([*overrides, word], dataclasses.replace(job, experiment=_SEVERAL_DATA_SETS))
                for overrides, job in jobs
            ]
        local = ("BasicLauncher", "JoblibLauncher", "ProcessLauncher")
        remote = not self.master.hydra.launcher._target_.endswith(local)
        typed = {word for overrides, _ in jobs for word in overrides}
        ranges.check_values([job for _, job in jobs], typed, remote=remote)
        if any(job.rerun is not None for _, job in jobs):
            raise config.CommandError("rerun: expected one run at a time, without -m")
        self._check_question([job for _, job in jobs])
        return jobs

    def run(self, jobs: list[Job], *, stage: str = "", tuning_seeds: int = 0) -> Any:
        """Show the plan of the jobs, or run those that are not finished.

        Returns:
            The run of each job, in order; `stage` and `tuning_seeds` as for `experiments.sweep`.
        """
        launcher_cfg = self.master.hydra.launcher
        if jobs[0][1].plan:
            from experiments import plan

            plan.show([job for _, job in jobs], slots=launcher_cfg.get("n_jobs", 1))
            return []
        if jobs[0][1].on_failure == "stop" and not launcher_cfg._target_.endswith(
            "ProcessLauncher"
        ):
            raise config.CommandError(
                "on_failure=stop: expected hydra/launcher=processes, the only launcher that can "
                "stop; choose continue or retry"
            )
        if launcher_cfg._target_.endswith("SlurmLauncher") and shutil.which("srun") is None:
            raise config.CommandError(
                "hydra/launcher=slurm: expected a machine of a Slurm cluster, got one without the "
                "command srun; start the sweep there, or choose hydra/launcher=processes"
            )
        if self.launcher is None:
            self.launcher = Plugins.instance().instantiate_launcher(
                hydra_context=self.context, task_function=self.task_function, config=self.master
            )
        # The code is read before any of it is loaded; what is edited later is refused.
        for _, job in jobs:
            source_digest.of_options(job.options)
        launcher = self.launcher
        if launcher_cfg._target_.endswith(("BasicLauncher", "JoblibLauncher")):
            log.info(
                "hydra/launcher=%s: its runs share a process, so a run can be affected by what "
                "another left; use it to debug, and hydra/launcher=processes for results",
                self.master.hydra.runtime.choices["hydra/launcher"],
            )

        from experiments import sweep

        return sweep.run(
            jobs,
            preset=self.master.hydra.runtime.choices.get("preset"),
            stage=stage,
            tuning_seeds=tuning_seeds,
            seeds=self.seeds,
            directory=Path(self.master.hydra.sweep.dir),
            launch=lambda job_overrides: launcher.launch(
                job_overrides, initial_job_idx=self._jobs(len(job_overrides))
            ),
        )

    def _check_question(self, jobs: list[config.Settings]) -> None:
        """Raise CommandError where the question of the jobs, one for all, does not fit them."""
        question, wrong = jobs[0].question, []
        if question["reference"] is not None:
            option = question["reference"].split()[0].partition("@")[0]
            losses = self.loader.get_group_options("loss")
            if option not in losses:
                wrong.append(
                    f"question.reference: expected one of {', '.join(losses)}, got {option!r}"
                )
        lengths = sorted({job.epochs for job in jobs})
        if question["epochs"] is not None and question["epochs"] not in lengths:
            wrong.append(
                "question.epochs: expected epochs of the sweep, one of "
                f"{', '.join(map(str, lengths))}, got {question['epochs']}"
            )
        own_seeds = {*self.seeds, *(job.seed for job in jobs)}
        seeds = (
            ranges.question_seeds(question["seeds"] or sorted(own_seeds)) if jobs[0].asks else ()
        )
        if seeds and (missing := own_seeds - set(seeds)):
            wrong.append(
                "question.seeds: expected all seeds of the sweep, and any others; without "
                f"{contract.ranges(missing)}, got {question['seeds']!r}"
            )
        errors.refuse(wrong)

    def _jobs(self, count: int) -> int:
        """The number of the first of `count` jobs: each number names a directory, once."""
        first, self.begun = self.begun, self.begun + count
        return first

    def _compose_all(self, grid: list[list[str]], parser: OverridesParser) -> list[Job]:
        """Each run's overrides and settings. Raises CommandError when any of them are refused.

        A composition takes a tenth of a second. So a config is composed once per combination of
        everything but plain scalars, which are set afterwards; in a copy of the config where
        anything in it may refer to them.
        """
        parsed = {
            word: parser.parse_override(word)
            for word in dict.fromkeys(itertools.chain.from_iterable(grid))
        }
        bases: dict[tuple[str, ...], _Base] = {}
        jobs = []
        wrong: dict[str, None] = {}
        for overrides in grid:
            scalars = {
                o.key_or_group: o.value() for o in map(parsed.get, overrides) if o and _is_scalar(o)
            }
            others = tuple(word for word in overrides if word.split("=", 1)[0] not in scalars)
            try:
                if others not in bases:
                    bases[others] = self._compose(others)
                jobs.append((overrides, bases[others].with_scalars(scalars)))
            except config.CommandError as error:
                wrong[str(error)] = None
            except ValidationError as error:
                wrong[errors.wrong_value(error)] = None
        errors.refuse(list(wrong))
        return jobs

    def _compose(self, overrides: tuple[str, ...]) -> _Base:
        """The program's own part of the composed config, and the option chosen in each group."""
        cfg = self.loader.load_sweep_config(self.master, list(overrides))
        choices = dict(cfg.hydra.runtime.choices)
        with open_dict(cfg):
            del cfg["hydra"]
        config.anchor(cfg, self.master.hydra.runtime.cwd)
        return _Base(cfg, choices)


class _Base:
    """A composed config in which only scalars are still to be set."""

    def __init__(self, task: DictConfig, choices: dict[str, str]):
        self.task, self.choices = task, choices
        self.refers = "${" in OmegaConf.to_yaml(task)
        self.settings = config.read(task, choices)
        self.types = OmegaConf.structured(config.RunConfig)

    def with_scalars(self, scalars: dict[str, Any]) -> config.Settings:
        """The settings with these scalars. Raises ValidationError when one is of another type."""
        if self.refers:
            task = copy.deepcopy(self.task)
            for name, value in scalars.items():
                OmegaConf.update(task, name, value)
            return config.read(task, self.choices)
        for name, value in scalars.items():
            self.types[name] = value
        return dataclasses.replace(self.settings, **{name: self.types[name] for name in scalars})


def _as_mapping(params: Any) -> dict[str, Any]:
    """`hydra.sweeper.params` as plain Python. Raises CommandError where it is no mapping."""
    if OmegaConf.is_config(params):
        params = OmegaConf.to_container(params, resolve=True)
    if not (params is None or isinstance(params, dict)):
        raise config.CommandError(
            f"hydra.sweeper.params: expected a mapping such as `lr: 0.1,0.2`, got {params!r}"
        )
    return params or {}


def _preset_overrides(params: dict[str, Any], parser: OverridesParser) -> list[Override]:
    """The overrides `key=choices` that a preset's `hydra.sweeper.params` stand for.

    A list has the choices; text is in Hydra's grammar already, as in `0.1,0.2` or `range(10)`.
    """
    words = []
    for key, value in params.items():
        typed = [
            choice if isinstance(choice, str) else contract.override("", choice)[1:]
            for choice in (value if isinstance(value, list) else [value])
        ]
        try:
            word = parser.parse_override(f"{key}={','.join(typed)}")
        except HydraException as error:
            raise config.CommandError(
                f"hydra.sweeper.params.{key}: expected choices such as `0.1,0.2` or `[0.1, 0.2]`, "
                f"got {value!r}: {str(error).splitlines()[0]}"
            ) from error
        word.config_loader = parser.config_loader  # for glob(*), which asks for a group's options
        words.append(word)
    return words


def _of_question(word: Override, parser: OverridesParser) -> Override:
    """The override; of `question.seeds` as a text, since they are not choices to run one by one.

    Raises CommandError where another value of the question has choices.
    """
    key = word.key_or_group
    if not (key.startswith("question.") and word.is_sweep_override()):
        return word
    text = str(word.input_line).partition("=")[2]
    if key != "question.seeds":
        raise config.CommandError(f"{key}: expected one value for the whole sweep, got {text}")
    return parser.parse_override(contract.override(key, text))


def _is_scalar(override: Override) -> bool:
    """Whether it sets one of the root's deciding scalars to a plain value."""
    plain = isinstance(override.value(), (int, float, str)) and "${" not in str(override.value())
    return (
        override.key_or_group in contract.SCALARS
        and plain
        and not override.is_add()
        and not override.is_delete()
    )
