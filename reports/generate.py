"""The command: from the runs in MLflow to a page with figures, tables and checkable verdicts.

    python reports/generate.py          the same program as
    generate report                     which the install provides

Load, summarise, plot, write. It imports nothing heavy before the options are known to be right.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

try:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from experiments import terminal
    from reports import options
    from reports.options import OptionError, Options
except KeyboardInterrupt:  # Importing Hydra takes long enough to be interrupted.
    sys.exit(130)

CONF = Path(__file__).resolve().parent.parent / "conf"

options.register()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="report")
def report(cfg: DictConfig) -> None:
    """Make a report, check an earlier one, or make an A/A comparison.

    An error ends the program with a message.
    """
    os.chdir(HydraConfig.get().runtime.cwd)  # whatever hydra.job.chdir says: a report is no job
    try:
        request = options.read(cfg, list(HydraConfig.get().overrides.task))
    except OptionError as error:
        sys.exit(str(error))
    print("reading the runs", file=sys.stderr, flush=True)  # what follows takes seconds to load

    from reports.files import OutputError
    from reports.question import QuestionError
    from reports.runs import ReadError
    from reports.verdicts import CheckError

    try:
        if request.compare is not None:
            from reports.compare import compare

            print(compare(request.uri, next(iter(request.experiments), None), request.compare))
        elif any(each is not None for each in (request.check, request.baselines_to, request.aa)):
            from reports import tasks

            tasks.perform(request)
        elif request.watch:
            from reports.watch import watch

            generate(watch(request))
        else:
            generate(request)
        sys.stdout.flush()  # here, where a reader that has gone is noticed
    except (ReadError, QuestionError, CheckError, OutputError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        if request.watch:
            print("stopped; the last page stays", file=sys.stderr)
        raise
    except BrokenPipeError:  # the reader of our words has gone, as in `generate report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def generate(request: Options) -> Path:
    """Write the report; the path of its page."""
    from reports import processes
    from reports.gallery import load_paddle

    shows_losses = not (request.csv or request.mapping)  # imported runs name no function
    with processes.forks(int(shows_losses)) as fork:
        if fork:
            fork.submit(load_paddle)  # while this process loads the rest and reads the runs
        from reports.making import make

        return make(request, fork)


def main() -> None:
    """The entry point. Ctrl-C ends the command quietly, also while modules are imported."""
    terminal.accept_any_character()
    gc.set_threshold(100_000)  # imported modules stay: the default looks at them again and again
    os.environ["MPLBACKEND"] = "agg"  # one that a notebook sets may not be installed here
    try:
        sys.argv[1:] = _overrides(sys.argv[1:])
        report()
    except OptionError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)  # what shells expect


def _overrides(words: list[str]) -> list[str]:
    """The command line for Hydra, which takes no bare words such as `report`.

    Raises:
        OptionError: The words are no command, or name no option of a report.
    """
    if words[:1] == ["report"]:
        del words[0]
    elif words[:1] == ["compare"]:
        words = options.of_compare(words[1:])
    if words and words[0].isalpha():
        raise OptionError(
            f"generate: there is no {words[0]!r} to generate; expected: generate report "
            "[key=value ...], or generate compare RUN_A RUN_B"
        )
    if {"-m", "--multirun"} & set(words):
        raise OptionError(
            "generate report makes one report at a time; -m is for experiments/run.py"
        )
    options.check_names(words)
    return options.lengthen(words)


if __name__ == "__main__":
    main()
