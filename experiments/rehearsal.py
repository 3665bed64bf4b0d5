"""One training step on blank inputs, to see whether the options of a run can train at all."""

from __future__ import annotations

import paddle

from experiments.steps import advance, backward
from experiments.training import Learner

# What to do about a loss that returns an array of 0 or 2 dimensions.
_SHAPE_ADVICE = {
    0: "; where it takes the mean by itself, put `reduction: none` into the option",
    2: "; sum what belongs to one example, in a function of your own",
}


def rehearse(learner: Learner, rows: int = 2) -> None:
    """One step on `rows` (>= 1) blank inputs, to see whether the options can train at all.

    Raises:
        ValueError: A shape or a dtype is wrong, or the network raises an error. That of a loss is
            raised as it is.
    """
    given = [rows, *learner.shape]
    try:
        outputs = learner.network(paddle.zeros(given))
    except Exception as error:  # a user's network may raise anything
        message = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"expected a network that takes inputs of the shape {given}, got the error {message!r} "
            "of it; a parameter `shape` of the model gets the shape of an input"
        ) from error
    if outputs.shape != [rows, learner.head.outputs]:
        raise ValueError(
            f"the model must return [batch, {learner.head.outputs}], returned "
            f"{list(outputs.shape)} for a batch of {rows}"
        )
    what = "cosines" if learner.head.name == "cosines" else "features"
    if what in (*learner.needs, learner.head.name) and learner.context.features is None:
        raise ValueError(
            f"{what}: expected a network that calls its head as a layer, got one that does not; "
            "write self.head(x) in its forward"
        )
    backward(_rehearsed_losses(learner, outputs, paddle.arange(rows, dtype="int64")))
    advance(learner)


def rehearse_loss(learner: Learner, rows: int) -> None:
    """The loss alone, on as many rows as an evaluation has, after `rehearse`; raises as it does."""
    with paddle.no_grad():
        if "features" in learner.needs:
            width = learner.context.features.shape[1:]
            learner.context.features = paddle.zeros([rows, *width])
        _rehearsed_losses(learner, paddle.zeros([rows, learner.head.outputs]))


def _rehearsed_losses(
    learner: Learner, outputs: paddle.Tensor, index: paddle.Tensor | None = None
) -> paddle.Tensor:
    rows = len(outputs)
    labels = paddle.arange(rows, dtype="int64") % learner.head.classes
    values = learner.losses(outputs, labels, index)
    if not isinstance(values, paddle.Tensor):
        raise ValueError(
            f"the loss must return a Paddle tensor [batch], returned {type(values).__name__}"
        )
    if values.shape != [rows]:
        raise ValueError(
            f"the loss must return one value per example, [{rows}] for a batch of {rows}, "
            f"returned {list(values.shape)}" + _SHAPE_ADVICE.get(len(values.shape), "")
        )
    if values.dtype != outputs.dtype:
        raise ValueError(
            f"the loss must return {outputs.dtype}, like the outputs, returned {values.dtype}"
        )
    return values
