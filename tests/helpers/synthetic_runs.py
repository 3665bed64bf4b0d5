"""Runs that never ran: frames in the form of `reports.runs.Runs`, for the tests of the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

HOSTILE = (
    "</svg><script>alert('x')</script> $\\frac{a}{b}$ [l](javascript:x) \"q\" & `c` | _u_ %\n#"
    + "x" * 3000
)
TEST_SIZE = 500


def runs(
    losses: Sequence[str] = ("ce", "focal gamma=3", "mse"),
    *,
    rates: Sequence[float] = (0.01, 0.03, 0.1),
    seeds: Sequence[int] = range(10),
    epochs: Sequence[int] = (3,),
    advantage: float = 0.004,
    setting: str = "digits, mlp",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`summary` and `curves`.

    Each loss is better than the one before by `advantage`; the middle rate is the best.

    A loss whose name begins with "mse" has no probabilities.
    """
    rng = np.random.default_rng(0)
    rows, points = [], []
    for place, loss in enumerate(losses):
        for length in epochs:
            for lr in rates:
                for seed in seeds:
                    run_id = f"run{len(rows):04d}"
                    best = rates[len(rates) // 2]
                    accuracy = (
                        0.9 + advantage * place - 0.02 * abs(np.log(lr / best)) + 0.005 * length
                    )
                    accuracy += 0.002 * (seed % 5) + rng.normal(0, 0.0005)
                    head = loss.startswith("mse")
                    rows.append(
                        {
                            "run_id": run_id,
                            "name": f"{loss} {seed}",
                            "loss": loss,
                            "loss_option": loss.split()[0] if loss else loss,
                            "loss.gamma": 3.0 if "gamma" in loss else np.nan,
                            "model": "mlp",
                            "data": "digits",
                            "optimizer": "sgd",
                            "scheduler": "constant",
                            "lr": lr,
                            "epochs": length,
                            "batch_size": 100,
                            "seed": seed,
                            "outcome": "ok",
                            "status": "FINISHED",
                            "identity": f"identity{len(rows)}",
                            "setting": setting,
                            "setting_text": setting,
                            "init_hash": f"init{seed}",
                            "order_hash": f"order{seed}",
                            "git_commit": "0123456789abcdef",
                            "git_dirty": False,
                            "code": str(place + 1) * 32,
                            "code_parts": json.dumps(
                                {"loss": {"experiments/losses/true_class.py": f"{place + 1:012x}"}}
                            ),
                            "paddle_version": "3.3.1",
                            "parent_run_id": "parent",
                            "baseline": False,
                            "declared_missing": 0,
                            "classes": None,
                            "folds": None,
                            "warnings": None,
                            "seconds": 2.0,
                            "val_accuracy": accuracy,
                            "test_accuracy": accuracy - 0.005,
                            "test_nll": np.nan if head else 0.3,
                            "test_brier": np.nan if head else 0.1,
                            "test_ece": np.nan if head else 0.02,
                            "test_ece_scaled": np.nan if head else 0.01,
                            "test_mean_absolute_error": 0.4 if head else np.nan,
                            "test_off_by_one": 0.95 if head else np.nan,
                            "train_seconds": 1.5,
                            "epoch_seconds": 0.5,
                        }
                    )
                    for epoch in range(length + 1):
                        points.append(
                            {
                                "run_id": run_id,
                                "loss": loss,
                                "lr": lr,
                                "epochs": length,
                                "seed": seed,
                                "setting": setting,
                                "epoch": epoch,
                                "train_loss": np.nan if epoch == 0 else 2.0 / epoch,
                                "train_accuracy": np.nan if epoch == 0 else accuracy,
                                "val_loss": 2.2 / (epoch + 1),
                                "val_accuracy": 0.1
                                if epoch == 0
                                else accuracy - 0.1 * (length - epoch),
                                "val_nll": np.nan,
                                "train_seconds": 0.5,
                                "elapsed_seconds": 0.5 * epoch,
                                "lr_now": lr,
                            }
                        )
    return pd.DataFrame(rows), pd.DataFrame(points)


def predictions(run_id: str) -> dict[str, np.ndarray]:
    """Answers on a test set of `TEST_SIZE` images.

    The first image is always got wrong, some others by some runs.
    """
    labels = np.arange(TEST_SIZE) % 10
    predicted = labels.copy()
    predicted[0] = 6
    wrong = np.random.default_rng(int(run_id[3:])).choice(np.arange(1, TEST_SIZE), 4, replace=False)
    predicted[wrong] = (predicted[wrong] + 1) % 10
    outputs = np.eye(10, dtype=np.float32)[predicted]
    return {"outputs": outputs, "predicted": predicted, "label": labels}


def measured(summary: pd.DataFrame, curves: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same runs with labels flipped and everything measured.

    A loss that begins with "mse" has no probabilities.
    """
    head = summary["loss"].str.startswith("mse")
    place = summary["loss"].map({loss: i for i, loss in enumerate(dict.fromkeys(summary["loss"]))})
    summary = summary.assign(
        test_balanced_accuracy=summary["test_accuracy"] - 0.01,
        test_macro_f1=summary["test_accuracy"] - 0.01,
        test_top5_accuracy=np.where(head, np.nan, 0.999),
        test_margin=np.where(head, np.nan, 0.5),
        test_aurc=np.where(head, np.nan, 0.03),
        test_nll_scaled=np.where(head, np.nan, 0.25),
        test_brier_scaled=np.where(head, np.nan, 0.08),
        corrupted_accuracy=0.6 - 0.1 * place,
        corrupted_accuracy_fog=0.5 - 0.1 * place,
        corrupted_accuracy_shot_noise=0.7 - 0.1 * place,
    )
    trained = curves["epoch"].where(curves["epoch"] > 0)
    curves = curves.assign(
        train_accuracy_flipped=0.1 * trained + 0.001 * curves["seed"],
        train_accuracy_recovered=0.2 * trained,
        train_accuracy_untouched=0.3 * trained,
        train_gradient_norm=2.0 / trained,
        train_update_ratio=0.01 / trained,
    )
    return summary, curves


def over(
    name: str, values: Sequence[object], *, drop: float = 0.1, **how: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs in a setting for each value of a param; each is worse than the one before by `drop`."""
    summaries, histories = [], []
    for place, value in enumerate(values):
        summary, curves = runs(setting=f"digits, mlp, {name}={value}", **how)
        summary[name], summary["run_id"] = [value] * len(summary), f"{place}" + summary["run_id"]
        summary[["val_accuracy", "test_accuracy"]] -= drop * place
        summaries.append(summary)
        histories.append(curves.assign(run_id=f"{place}" + curves["run_id"]))
    return pd.concat(summaries, ignore_index=True), pd.concat(histories, ignore_index=True)


def tuned(
    gammas: Sequence[float] = (1, 2, 3), *, best: float = 2, drop: float = 0.01, **how: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs of ce at six rates, and of focal at two rates and these values of gamma.

    Focal is better than ce by .02 at the `best` gamma, and worse by `drop` for each step from it.
    """
    ce, curves = runs(("ce",), rates=(0.01, 0.0158, 0.0251, 0.0398, 0.0631, 0.1), **how)
    summaries, histories = [ce.assign(tuned="", **{"loss.gamma": np.nan})], [curves]
    for place, gamma in enumerate(gammas, start=1):
        summary, curves = runs(("focal",), rates=(0.01, 0.1), **how)
        run_ids = {own: f"run{place}{own[3:]}" for own in summary["run_id"]}
        summary[["val_accuracy", "test_accuracy"]] += 0.02 - drop * abs(gamma - best)
        summary["loss.gamma"], summary["tuned"] = float(gamma), f"gamma={gamma:g}"
        summaries.append(summary.assign(run_id=summary["run_id"].map(run_ids)))
        histories.append(curves.assign(run_id=curves["run_id"].map(run_ids)))
    return pd.concat(summaries, ignore_index=True), pd.concat(histories, ignore_index=True)
