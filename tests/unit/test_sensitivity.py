"""The losses over a setting.

Each point is its section's, nothing is pooled, and all else is equal.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.pages import make_page, text
from helpers.synthetic_runs import over, runs

from reports import analysis
from reports.analysis import Section
from reports.figures import palette
from reports.page import cross_setting
from reports.page import table as page_table
from reports.page.figure import losses_of
from reports.question import Question
from reports.sensitivity import Sensitivity, sensitivities

pytestmark = pytest.mark.usefixtures("house_style")


def sections(summary: pd.DataFrame, curves: pd.DataFrame) -> list[Section]:
    return analysis.sections(summary, curves, Question(), lambda run_id: None)


def picture(sensitivity: Sensitivity, page_sections: list[Section]) -> cross_setting.PageFigure:
    order = page_sections[0].losses
    return cross_setting.sensitivity_picture(
        sensitivity, page_sections[0].metric, losses_of(order, palette.looks(order), order)
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("data.label_noise", [0.0, 0.2, 0.4]),
        ("batch_size", [32, 100, 500]),
        ("model.init_scale", [1.0, 10.0]),
    ],
)
def test_every_point_is_of_the_section_with_that_value(name: str, values: list[float]) -> None:
    section_list = sections(*over(name, values, seeds=range(4)))
    assert [
        float(section.runs[name].iloc[0]) for section in section_list
    ] == values  # 32, 100, 500: by size
    (sensitivity,) = sensitivities(section_list)
    assert sensitivity.setting == name and sensitivity.panels == [""] and sensitivity.elsewhere == 0
    assert sorted(set(sensitivity.means["value"])) == values
    by_value = {float(section.runs[name].iloc[0]): section for section in section_list}
    for row in sensitivity.means.to_dict("records"):
        section = by_value[row["value"]]
        (own,) = section.means[section.means["loss"] == row["loss"]].to_dict("records")
        assert all(row[key] == own[key] for key in ("epochs", "lr", "mean", "low", "high", "n"))
    assert len(sensitivity.means) == 3 * len(values)


def test_each_loss_stands_at_its_own_best_rate_of_each_value() -> None:
    summary, curves = over("data.label_noise", [0.0, 0.4], losses=("ce", "gce"), seeds=range(3))
    better = (
        (summary["data.label_noise"] == 0.4) & (summary["loss"] == "gce") & (summary["lr"] == 0.1)
    )
    summary.loc[better, ["val_accuracy", "test_accuracy"]] += 0.1
    (sensitivity,) = sensitivities(sections(summary, curves))
    rates = sensitivity.means.set_index(["value", "loss"])["lr"]
    assert rates.to_dict() == {
        (0.0, "ce"): 0.03,
        (0.0, "gce"): 0.03,
        (0.4, "ce"): 0.03,
        (0.4, "gce"): 0.1,
    }


@pytest.mark.slow
def test_what_is_no_number_or_not_alone_in_differing_has_no_sensitivity() -> None:
    assert sensitivities(sections(*runs(seeds=range(2)))) == []
    assert sensitivities(sections(*over("model", ["mlp", "softmax"], seeds=range(2)))) == []
    assert sensitivities(sections(*over("data.root", ["1", "2"], seeds=range(2)))) == []
    summary, curves = over("data.label_noise", [0.0, 0.2], seeds=range(2))
    summary["model"] = np.where(summary["data.label_noise"] == 0, "mlp", "softmax")
    assert sensitivities(sections(summary, curves)) == []
    twice, curves = over("data.label_noise", [0.0, 0.2, 0.2], seeds=range(2))
    twice["setting"] = twice["run_id"].str[
        0
    ]  # two of 0.2, which differ in something that is not known
    assert sensitivities(sections(twice, curves)) == []


def test_another_difference_makes_a_panel_each() -> None:
    one, curves = over("data.label_noise", [0.0, 0.4], seeds=range(2))
    other = one.assign(
        model="softmax",
        run_id="x" + one["run_id"],
        setting=one["setting"].str.replace("mlp", "softmax"),
    )
    other["test_accuracy"] -= 0.3
    both = pd.concat([one, other], ignore_index=True)
    section_list = sections(both, pd.concat([curves, curves.assign(run_id="x" + curves["run_id"])]))
    (sensitivity,) = sensitivities(section_list)
    assert sensitivity.panels == ["model=mlp", "model=softmax"]
    figure = picture(sensitivity, section_list).draw()
    assert [
        axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()
    ] == sensitivity.panels
    low, high = figure.axes[0].get_ylim()  # of all panels
    assert (
        low < 100 * sensitivity.means["mean"].min() and 100 * sensitivity.means["mean"].max() < high
    )
    table = cross_setting.sensitivity_table(
        sensitivity, section_list[0].metric, section_list[0].losses
    )
    assert len(table.rows) == 12 and [cell.value for cell in table.rows[0]][:3] == [
        "model=mlp",
        0.0,
        "ce",
    ]


def test_two_numbers_in_a_grid_have_a_sensitivity_each() -> None:
    grids = []
    for size in (100, 1000):
        frames = over("data.label_noise", [0.0, 0.4], seeds=range(2))
        grids.append(
            [
                frame.assign(
                    run_id=f"{size}" + frame["run_id"], setting=f"{size} " + frame["setting"]
                )
                for frame in frames
            ]
        )
        grids[-1][0]["data.train_size"] = size
    summary, curves = (pd.concat(frames, ignore_index=True) for frames in zip(*grids, strict=True))
    by_setting = {
        sensitivity.setting: sensitivity for sensitivity in sensitivities(sections(summary, curves))
    }
    assert set(by_setting) == {"data.label_noise", "data.train_size"}
    assert by_setting["data.label_noise"].panels == ["train size=100", "train size=1000"]
    assert by_setting["data.train_size"].panels == ["label noise=0", "label noise=0.4"]


def test_a_setting_without_a_number_is_counted() -> None:
    section_list = sections(*over("data.train_size", [100.0, 1000.0, np.nan], seeds=range(2)))
    (sensitivity,) = sensitivities(section_list)
    assert sensitivity.elsewhere == 1 and sorted(set(sensitivity.means["value"])) == [100, 1000]
    assert "Not shown: 1 setting" in picture(sensitivity, section_list).caption


def test_lengths_of_training_are_not_mixed() -> None:
    summary, curves = over("data.label_noise", [0.0, 0.2, 0.4], seeds=range(2), epochs=(2, 3))
    summary = summary[(summary["data.label_noise"] < 0.4) | (summary["epochs"] == 2)]
    (sensitivity,) = sensitivities(sections(summary, curves))
    assert set(sensitivity.means["epochs"]) == {2}  # which all three have


def test_the_figure_has_the_means_and_the_intervals() -> None:
    section_list = sections(*over("data.label_noise", [0.0, 0.2, 0.4], seeds=range(3)))
    (sensitivity,) = sensitivities(section_list)
    shown = picture(sensitivity, section_list)
    (axis,) = shown.draw().axes
    assert axis.get_xlabel() == "label noise" and axis.get_ylabel() == "test accuracy (%)"
    assert axis.get_xscale() == "linear"
    for container, loss in zip(axis.containers, section_list[0].losses, strict=True):
        of_loss = sensitivity.means[sensitivity.means["loss"] == loss]
        line, _, (bars,) = container.lines
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), 100 * of_loss["mean"])
        np.testing.assert_allclose(
            np.asarray(line.get_xdata(), dtype=float), of_loss["value"], atol=0.01
        )
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, 100 * of_loss[["low", "high"]])
    assert "Bars are 95 % intervals" in shown.caption
    first = sensitivity.means.query("loss == 'ce' and value == 0.2")["mean"].item()
    assert f"0.2 {100 * first:.2f} %" in shown.alt


def test_numbers_far_apart_have_a_logarithmic_axis() -> None:
    section_list = sections(*over("data.train_size", [100, 1000, 10000], seeds=[0]))
    (sensitivity,) = sensitivities(section_list)
    shown = picture(sensitivity, section_list)
    assert shown.draw().axes[0].get_xscale() == "log"
    assert "95 %" not in shown.caption  # one seed
    (line, *_) = shown.draw().axes[0].containers[0].lines
    np.testing.assert_allclose(
        np.asarray(line.get_xdata(), dtype=float), [100, 1000, 10000], rtol=0.1
    )


def test_the_page_opens_with_the_sensitivity() -> None:
    _, report, html, _ = make_page(
        *over("data.label_noise", [0.0, 0.4], seeds=range(2)), read_predictions=lambda _: None
    )
    words = text(html)
    assert words.index("Over label noise") < words.index("Setting 1 of 2")
    assert "over-data-label-noise" in report.figures
    csv = page_table.to_csv(report.tables["over-data-label-noise"]).splitlines()
    keys = "data.label_noise,loss,lr,epochs,test_accuracy_percent,test_accuracy_percent_low"
    assert csv[0].startswith(keys) and len(csv) == 7
    _, report, html, _ = make_page(*runs(seeds=range(2)))
    assert not any(name.startswith("over-") for name in report.figures) and 'id="over-' not in html
