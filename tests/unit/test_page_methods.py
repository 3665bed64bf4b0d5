"""What a page says of the experiment and of its methods."""

from __future__ import annotations

from helpers.pages import make_page, text
from helpers.synthetic_runs import over, predictions, runs

from reports.page import answer

SETTING = "digits, mlp, sgd, constant, batch size 100"
USUAL = ["digits", "mlp", "SGD, constant learning rate", "batch size 100"]


def test_the_setting_names_all_that_is_not_as_in_the_options() -> None:
    summary, curves = runs(("ce", "mse"), rates=(0.03,), setting=SETTING)
    usual = {"data.train_size": None, "data.imbalance": "None", "data.imbalance_ratio": 0.01}
    (section,), *_ = make_page(summary.assign(**usual, **{"model.hidden": 128}), curves)
    assert answer.words_of(section) == USUAL
    changed = {
        **{"data.imbalance": "exponential", "data.train_size": 2000.0, "data.root": "/x"},
        **{"optimizer.clip_norm": 5, "augment": "shift", "model.hidden": 64.0},
    }
    (section,), report, html, _ = make_page(summary.assign(**usual | changed), curves)
    own = ["hidden 64", "imbalance exponential", "train size 2000", "clip norm 5"]
    assert answer.words_of(section) == [*USUAL, *own, "augment shift"]
    assert report.page.subtitle.startswith(
        f"Test accuracy after 3 epochs · {' · '.join([*USUAL, *own])} · augment shift · 10 seeds"
    )
    assert f"The setting was {', '.join([*USUAL, *own])}, augment shift." in text(html)
    assert f"optimizer: {', '.join([*USUAL, *own])}, augment shift\n" in report.checklist


def test_what_tells_settings_apart_is_not_said_twice() -> None:
    summary, curves = over("data.label_noise", [0.0, 0.4], losses=("ce", "mse"), rates=(0.03,))
    text = SETTING + summary["data.label_noise"].map(" data.label_noise={:g}".format)
    summary = summary.assign(setting_text=text, **{"data.train_size": 500})
    sections, *_ = make_page(summary, curves, read_predictions=lambda run: predictions(run[1:]))
    assert [answer.words_of(section) for section in sections] == [
        [*USUAL, "train size 500", "label noise 0 %"],
        [*USUAL, "label noise 40 %", "train size 500"],
    ]
    assert answer.titles(sections) == ["Label noise 0 %", "Label noise 40 %"]
