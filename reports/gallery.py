"""The gradient weight and the value of each loss over how right the network is.

Every loss is imported from where the run imported it, a user's own too if it can be imported here.
Paddle computes the gradients and is loaded for the first loss, not before.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from experiments import context
from experiments.contract import changed_files
from reports.runs.versions import parts_of

CLASSES = 10
MARGINS = np.linspace(
    -10, 10, 200
)  # of the true class's logit over all others, which are 0; no direction at 0 itself
ERRORS = np.linspace(-5, 5, 201)  # f - y, around the label 5
SHOWN = (0.001, 0.999)  # the probabilities p_y between which weights are shown
COUNTS = np.geomspace(5000, 50, CLASSES).round()  # training examples, where a loss looks at them
CHANGES = {"epoch", "epochs", "step", "steps", "class_counts", "classes"}  # what is drawn
DIGITS = 6  # kept of every value: the last bits are the machine's

Configuration = Callable[[str], Mapping[str, Any] | None]


class LossError(ValueError):
    """A loss that cannot be had here; the message says why."""


@dataclass(frozen=True)
class Gallery:
    """The curves of the losses.

    weights: loss, when, p (of the true class, the rest spread evenly), weight: w in dL/dz =
    w (p - e), for the true class.
    margins: loss, when, margin (z_y minus the largest other logit, all others 0), value. errors:
    loss, when, error (f - y), value, for losses of one number. `when` is empty, or in which epoch
    and for which of the classes of `COUNTS`. missing: why a loss is in none of them, by loss.
    """

    weights: pd.DataFrame
    margins: pd.DataFrame
    errors: pd.DataFrame
    missing: Mapping[str, str] = field(default_factory=dict)


def gallery(summary: pd.DataFrame, configuration: Configuration) -> Gallery:
    """The curves of every loss in a summary of `reports.runs`.

    configuration: that of a run, by its id, from its config.yaml; None without the file: then the
    loss is the suite's of that name, with the values in the params.
    """
    frames: dict[str, list[pd.DataFrame]] = {"weights": [], "margins": [], "errors": []}
    missing: dict[str, str] = {}
    for _, run in summary.drop_duplicates("loss").iterrows():
        name = str(run["loss"])
        try:
            configured = configuration(str(run["run_id"]))
            _check_code(run, configured)
            function, head = _loss(run, configured)
            for when, seen, label in _contexts(function, run):
                which = {"loss": name, "when": when}
                bound = functools.partial(function, **seen)
                if head == "prediction":
                    values = _of_number(bound)
                    frames["errors"].append(
                        pd.DataFrame(which | {"error": ERRORS, "value": values})
                    )
                    continue
                values, weights = _of_logits(bound, label)
                p = 1 / (1 + (CLASSES - 1) * np.exp(-MARGINS))
                shown = (p >= SHOWN[0]) & (p <= SHOWN[1])
                frames["weights"].append(pd.DataFrame(which | {"p": p, "weight": weights})[shown])
                frames["margins"].append(pd.DataFrame(which | {"margin": MARGINS, "value": values}))
        except LossError as error:
            missing[name] = str(error)
    columns = {
        "weights": ["loss", "when", "p", "weight"],
        "margins": ["loss", "when", "margin", "value"],
        "errors": ["loss", "when", "error", "value"],
    }
    made = {
        kind: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns[kind])
        for kind, parts in frames.items()
    }
    return Gallery(**made, missing=missing)


def load_paddle() -> None:
    """Import Paddle, which takes longer than all curves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tools that are not used here
        importlib.import_module("paddle")


def _contexts(function: Callable[..., Any], run: pd.Series) -> list[tuple[str, Any, int]]:
    """What a loss is given besides outputs and labels: words, the values, and the true class."""
    names = context.needed(function)
    if not names:
        return [("", {}, 0)]
    import paddle

    epochs = int(run.get("epochs", 100))
    seen = context.Context(epochs, epochs, CLASSES, paddle.to_tensor(COUNTS, dtype="float32"))
    epoch_words = {1: "start", epochs: "end"} if epochs > 1 else {1: "start"}
    if not {"epoch", "step"} & {*names}:
        epoch_words = {epochs: ""}
    class_words = {0: "frequent", CLASSES - 1: "rare"}
    if "class_counts" not in names:
        class_words = {0: ""}
    contexts = []
    for epoch, at in epoch_words.items():
        seen.after(epoch)
        for label, of in class_words.items():
            words = ", ".join(filter(None, (at, of)))
            contexts.append((words, seen.of(names), label))
    return contexts


def _check_code(run: pd.Series, configuration: Mapping[str, Any] | None) -> None:
    """Raise LossError where the loss's code is another here than the one that computed the run."""
    from experiments import source_digest

    then = parts_of(run.get("code_parts")).get("loss")
    node = (configuration or {}).get("loss")
    if then is None or not isinstance(node, Mapping):
        return
    now = source_digest.of_options({"loss": node}).parts["loss"]
    if then and not now:
        raise LossError(
            f"its code is not found here ({', '.join(then)}): set PYTHONPATH as for its runs"
        )
    if files := changed_files({"loss": then}, {"loss": now}):
        raise LossError(
            f"its code is not the code of its runs any more ({', '.join(files)} changed)"
        )


def _loss(
    run: pd.Series, configuration: Mapping[str, Any] | None
) -> tuple[Callable[..., Any], str]:
    """The loss of a run with its own values, and its head.

    Raises:
        LossError: it cannot be imported here, or is no loss: nothing else that a store may name is
            ever called.
    """
    node = (configuration or {}).get("loss")
    if isinstance(node, Mapping) and isinstance(node.get("_target_"), str):
        target = node["_target_"]
        own = {str(key): value for key, value in node.items() if not str(key).startswith("_")}
    else:
        target = f"experiments.losses.{run.get('loss_option', run['loss'])}"
        params = {str(key): run[key] for key in run.index if str(key).startswith("loss.")}
        own = {
            key.removeprefix("loss."): value for key, value in params.items() if not pd.isna(value)
        }
    from experiments import heads

    module, _, name = target.rpartition(".")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Paddle, of tools that are not used here
            function = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # whatever importing someone's module raises
        raise LossError(f"{target} cannot be imported here") from error
    try:
        if hasattr(function, "needs"):
            raise LossError("it is a mixture of other losses")
        head = next(iter(context.signature(function).parameters), "")
        names = context.needed(function)
    except (AttributeError, TypeError, ValueError):
        head, names = "", ()
    if (more := {*names} - CHANGES) or (context.class_of(function) and head):
        raise LossError(f"its weight also depends on {', '.join(sorted(more)) or 'a state'}")
    if head not in heads.NAMES:
        raise LossError(f"the first parameter of {target} is none of {', '.join(heads.NAMES)}")
    bound = functools.partial(function, **own)
    if head == "cosines":
        argument = heads.head_of(bound, CLASSES).argument

        @functools.wraps(function)
        def of_logits(outputs: Any, labels: Any, **seen: Any) -> Any:
            return bound(argument(outputs), labels, **seen)

        return of_logits, head
    return bound, head


def _of_logits(loss: Callable[..., Any], label: int) -> tuple[np.ndarray, np.ndarray]:
    """Value and weight at each of MARGINS, for the true class; the other logits are 0."""
    logits = np.zeros((len(MARGINS), CLASSES))
    logits[:, label] = MARGINS
    values, gradient = _evaluate(loss, logits, np.full(len(MARGINS), label))
    miss = (CLASSES - 1) / (np.exp(MARGINS) + CLASSES - 1)  # 1 - p_y
    return values, _rounded(-gradient[:, label] / miss)


def _of_number(loss: Callable[..., Any]) -> np.ndarray:
    """Value at each of ERRORS."""
    return _evaluate(loss, 5 + ERRORS, np.full(len(ERRORS), 5))[0]


def _evaluate(
    loss: Callable[..., Any], outputs: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values [n] and the gradient of each by its outputs, in float64 or, if the loss cannot that.

    As it was trained.
    """
    import paddle

    paddle.disable_signal_handler()
    for dtype in ("float64", "float32"):
        tensor = paddle.to_tensor(outputs.astype(dtype), stop_gradient=False)
        try:
            values = loss(tensor, paddle.to_tensor(labels))
            (gradient,) = paddle.grad(values.sum(), tensor)
            curves = values.numpy().astype(np.float64), gradient.numpy().astype(np.float64)
        except Exception as error:  # whatever someone's loss raises
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            continue
        if curves[0].shape == labels.shape:
            return _rounded(curves[0]), curves[1]
        reason = f"its values have shape {list(curves[0].shape)}, not {list(labels.shape)}"
    raise LossError(f"it cannot be evaluated: {reason[:120]}")


def _rounded(values: np.ndarray) -> np.ndarray:
    """The values to so many significant digits: the same on every machine."""
    return np.array([float(f"{value:.{DIGITS}g}") + 0.0 for value in values])  # 0 for -0
