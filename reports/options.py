"""What a report is asked for: the typed options, and their checks.

Importing this costs Hydra alone, so that a wrong value is answered at once.
"""

from __future__ import annotations

import difflib
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import MISSING, AnyNode, DictConfig, OmegaConf, open_dict

from experiments import contract, credentials
from reports import metrics

FORMATS = ("svg", "png", "pdf")
WIDTHS = ("page", "column")
ACROSS = ("data", "model")


class OptionError(ValueError):
    """A wrong option; the message says what was expected, what got and what the choices are."""


@dataclass
class Tracking:
    """Which store."""

    uri: str | None = None


@dataclass
class ReportConfig:
    """The schema of conf/report.yaml. Hydra checks types against it, `read` the values."""

    experiment: Any = None  # a name, or a list of several
    sweep: Any = None
    tracking: Tracking = field(default_factory=Tracking)
    where: dict[str, Any] = field(default_factory=dict)
    versions: bool = MISSING
    reference: str = MISSING
    all_pairs: bool = MISSING
    across: str | None = None
    metric: str = MISSING
    target: float | None = None
    margin: float | None = None
    tuning_seeds: list[int] | None = None
    seed: int = MISSING
    formats: list[str] = MISSING
    width: str = MISSING
    output: str | None = None
    check: str | None = None
    aa: str | None = None
    compare: list[str] | None = None
    watch: bool = MISSING
    baselines: str | None = None
    baselines_to: str | None = None


_FIELDS = (each.name for each in fields(ReportConfig))
NAMES = (*("tracking.uri" if name == "tracking" else name for name in _FIELDS), "from")
"""All options. No field of a dataclass can be called from, which is a word of Python."""


@dataclass(kw_only=True)
class Options(ReportConfig):
    """The options of one report, checked.

    metric: the column, e.g. test_accuracy. where: flat, by a param's name in MLflow. baselines:
    "true" for the file that comes with the project. csv, mapping: the option from, a file or
    from.KEY=VALUE. overrides: as typed.
    """

    csv: str | None
    mapping: dict[str, Any] | None
    overrides: tuple[str, ...]

    @property
    def uri(self) -> str | None:
        """The store's address."""
        return self.tracking.uri

    @property
    def experiments(self) -> tuple[str, ...]:
        """The names of experiments: none, one or several."""
        return _listed(self.experiment)

    @property
    def sweeps(self) -> tuple[str, ...]:
        """The names and ids of sweeps: none, one or several."""
        return _listed(self.sweep)

    @property
    def reference_is_set(self) -> bool:
        """Whether the user named the reference."""
        return any(text.lstrip("+").startswith("reference=") for text in self.overrides)


def register() -> None:
    """Make the schema known to Hydra, and to its --help what the metrics are."""
    schema = OmegaConf.structured(ReportConfig)
    with open_dict(schema):
        schema["from"] = AnyNode(None)  # a file, or a mapping from.KEY=VALUE
    ConfigStore.instance().store(name="report_config", node=schema)
    OmegaConf.register_new_resolver(
        "report_metrics", lambda: textwrap.indent(metrics.described(), "  "), replace=True
    )


def check_names(words: Sequence[str]) -> None:
    """Refuse a word such as `baselin=mse`, of which Hydra's own answer names no choices.

    Raises:
        OptionError: no option has this name; the message says which there are.
    """
    for name in (word.partition("=")[0] for word in words if "=" in word):
        if name.isidentifier() and name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            meant = f"; did you mean {near[0]}?" if near else "."
            raise OptionError(
                f"{name}: a report has no such option{meant} There are {', '.join(NAMES)}"
            )


def read(cfg: DictConfig, overrides: list[str]) -> Options:
    """The options in a composed config.

    Raises:
        OptionError: values that no report can have, all of them in one message.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    wrong = _problems(values) + _wrong_import(values, overrides)
    if wrong:
        raise OptionError("\n".join(wrong))
    source = values.pop("from")
    mapping = _flat(source) if isinstance(source, dict) else None
    baselines = values["baselines"]  # true is a text here, like any file's name
    if str(baselines).lower() in ("true", "false"):
        baselines = {"true": "true"}.get(baselines.lower())
    read = {
        "baselines": baselines,
        "tracking": Tracking(**values["tracking"]),
        "where": _flat(values["where"]),
        "metric": metrics.column(values["metric"]),
        "formats": list(dict.fromkeys(values["formats"])),
    }
    return Options(
        **values | read,
        csv=None if source is None or mapping else str(source),
        mapping=mapping,
        overrides=tuple(shorten(overrides)),
    )


def of_compare(words: Sequence[str]) -> list[str]:
    """The command line of a report for `generate compare` with these words.

    Raises:
        OptionError: They are not two run ids and, if at all, the experiment and the store.
    """
    flags = [word for word in words if word.startswith("-")]
    places = [word for word in words if word.startswith(("experiment=", "tracking.uri="))]
    run_ids = [word for word in words if word not in flags and word not in places]
    if (len(run_ids) != 2 and not flags) or any("=" in word for word in run_ids):
        raise OptionError(
            "generate compare: expected RUN_A RUN_B [experiment=NAME] [tracking.uri=URI], "
            f"got {' '.join(words) or 'nothing'}"
        )
    return [*flags, *places, *([contract.override("compare", run_ids)] if run_ids else [])]


_LONG = {"where.": "++where.", "from.": "++from."}
_SEVERAL = ("experiment=", "sweep=")


def lengthen(arguments: list[str]) -> list[str]:
    """A command line as Hydra has to read it.

    `where.KEY=X` and `from.KEY=X` add a key. `sweep=A,B`, which Hydra refuses without -m, is a
    list.
    """
    return [_as_list(_replaced(text, _LONG)) for text in arguments]


def shorten(overrides: list[str]) -> list[str]:
    """The overrides as a user types them: the reverse of `lengthen`."""
    short = {long: short for short, long in _LONG.items()}
    return [
        f"{text[: text.index('[')]}{text[text.index('[') + 1 : -1]}"
        if text.startswith(tuple(f"{key}[" for key in _SEVERAL)) and text != "sweep=[]"
        else _replaced(text, short)
        for text in overrides
    ]


def _as_list(text: str) -> str:
    """The override with a list, where it is several values."""
    if not text.startswith(_SEVERAL) or "," not in text:
        return text
    try:
        several = OverridesParser.create().parse_override(text).is_choice_sweep()
    except HydraException:  # Hydra's own message follows
        return text
    key, _, value = text.partition("=")
    return f"{key}=[{value}]" if several and not value.startswith("choice(") else text


def _listed(value: Any) -> tuple[str, ...]:
    """The names in an option that is null, one name, or a list of them."""
    if value is None:
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)


def _replaced(text: str, beginnings: Mapping[str, str]) -> str:
    for old, new in beginnings.items():
        if text.startswith(old):
            return new + text[len(old) :]
    return text


def _problems(values: Mapping[Any, Any]) -> list[str]:
    margin, target, across, formats = (
        values[key] for key in ("margin", "target", "across", "formats")
    )
    beside = ("check", "aa", "compare", "baselines", "baselines_to")
    others = [key for key in beside if across is not None and values[key] is not None]
    commands = ("check", "aa", "compare", "watch", "baselines_to")
    given = [key for key in commands if values[key] not in (None, False)]
    checks = [
        (
            margin is not None and not 0 <= margin < math.inf,
            f"margin={margin}: expected a number of at least 0, in the metric's unit (points for "
            "shares in %), or null",
        ),
        (
            target is not None and not 0 < target < 1,
            f"target={target}: expected a validation accuracy between 0 and 1, e.g. target=0.95, "
            "or null",
        ),
        (
            across is not None and across not in ACROSS,
            f"across={across}: expected one of {', '.join(ACROSS)}, or null",
        ),
        (others, f"across and {' and '.join(others)}: expected one of them, got both"),
        (values["seed"] < 0, f"seed={values['seed']}: expected a whole number of at least 0"),
        (
            not formats or not set(formats) <= set(FORMATS),
            f"formats={formats}: expected a list of some of {', '.join(FORMATS)}, e.g. "
            "formats=[svg]",
        ),
        (
            values["width"] not in WIDTHS,
            f"width={values['width']}: expected one of {', '.join(WIDTHS)}",
        ),
        (
            values["tuning_seeds"] == [],
            "tuning_seeds=[]: expected some seeds, e.g. tuning_seeds=[0,1], or null",
        ),
        (
            len(given) > 1,
            f"{' and '.join(given)}: expected one of them, got "
            f"{'both' if len(given) == 2 else 'all'}",
        ),
        (
            values["versions"] and values["baselines_to"] is not None,
            "versions and baselines_to: expected one of them, got both; a file of baselines has "
            "one version of each loss",
        ),
        (
            values["compare"] is not None and len(values["compare"]) != 2,
            f"compare={values['compare']}: expected two run ids, compare=[A,B]",
        ),
    ]
    problems = [*_wrong_metric(values["metric"]), *(text for wrong, text in checks if wrong)]
    problems += _wrong_names(values)
    if refusal := credentials.refusal(values["tracking"]["uri"]):
        problems.append(refusal)
    for key in ("output", "check", "aa", "reference", "baselines", "baselines_to", "from"):
        if values[key] is not None and not str(values[key]).strip():
            default = "" if key == "reference" else f"; {key}=null is the default"
            problems.append(f"{key}: expected a name, got nothing{default}")
    return problems


def _wrong_metric(metric: str) -> list[str]:
    """What is wrong with the metric, if anything."""
    if "/" in metric and metrics.offered(metrics.column(metric)) is not None:
        return []
    part, _, name = metric.partition("/")
    refused = metrics.REFUSED.get(name) if part in ("train", "val", "test") else None
    why = f"{refused}; " if refused else ""
    return [f"metric={metric}: {why}expected one of {metrics.choices()}"]


def _wrong_import(values: Mapping[Any, Any], overrides: Sequence[str]) -> list[str]:
    """What does not go with results from elsewhere, a CSV file or a mapping."""
    given = values["from"]
    if given is None:
        return []
    mapped = isinstance(given, dict)
    beside = ["sweep", "versions", "compare", "watch", "baselines", "baselines_to"]
    beside += [] if mapped else ["experiment"]
    name = "from.KEY" if mapped else "from"
    problems = [
        f"{name} and {key}: expected one of them, got both" for key in beside if values[key]
    ]
    if not mapped and values["tracking"]["uri"] is not None:
        problems.append("from and tracking.uri: expected one of them, got both")
    if mapped and not values["experiment"]:
        problems.append("from.KEY: expected experiment=NAME, the experiment in MLflow to import")
    if mapped and any(text.startswith("from=") for text in overrides):
        problems.append("from=FILE and from.KEY: expected one of them, got both")
    return problems


def _wrong_names(values: Mapping[Any, Any]) -> list[str]:
    """What is wrong with the names of experiments and sweeps."""
    problems = []
    for key in ("experiment", "sweep"):
        each = values[key] if isinstance(values[key], list) else [values[key]]
        if values[key] is None:
            continue
        if any(isinstance(name, dict | list) for name in each):
            problems.append(f"{key}={values[key]}: expected a name, or several: {key}=A,B")
        elif not each or not all(str(name).strip() for name in each):
            problems.append(f"{key}: expected a name, got nothing; {key}=null is the default")
    for key, names in (("compare", "experiment"), ("watch", "sweep")):
        if values[key] and len(_listed(values[names])) > 1:
            problems.append(f"{key}: expected one {names}, got several")
    return problems


def _flat(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
