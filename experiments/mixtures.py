"""Sums of losses, with weights that may change over the epochs and weights of the classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import paddle
from paddle import Tensor, nn

from experiments import context
from experiments.guards import check_number

Weight = float | Mapping[str, float]


class Mixture(nn.Layer):
    """A weighted sum of losses: the sum over the parts of weight times value.

    After a call, `part_values` has the values [batch] of each part, without its weight; their means
    are the metrics `train/loss_NAME` and `val/loss_NAME`.

    Args:
        parts: the losses, by name; all of the same outputs. Parts may have a context and a state.
        weights: of each part, a number; or {from, to}, linear from the first epoch to the last; or
            {from, to, at}, which changes at the beginning of epoch `at`.
        class_weights: that of each class; or "inverse", proportional to 1 / n, or "effective", to
            (1 - beta) / (1 - beta^n), each with the sum K; None: 1.
        beta: of "effective"; above 0 and below 1.
        seen: what `needs` names of what is known before training.

    >>> from experiments.losses import ce, mae
    >>> loss = Mixture(parts={"ce": ce, "mae": mae}, weights={"ce": 1, "mae": {"from": 0, "to": 2}})
    >>> zeros, labels = paddle.zeros([1, 2]), paddle.to_tensor([0])
    >>> [round(loss(zeros, labels, epoch=epoch, epochs=3).item(), 4) for epoch in (1, 2, 3)]
    [0.6931, 1.1931, 1.6931]

    Source: Cui et al. 2019, Class-balanced loss based on effective number of samples, for the
    weights of the classes.
    """

    def __init__(
        self,
        *,
        parts: Mapping[str, Callable[..., Any]],
        weights: Mapping[str, Weight],
        class_weights: Sequence[float] | str | None = None,
        beta: float = 0.999,
        **seen: Any,
    ) -> None:
        super().__init__()
        for name, weight in weights.items():
            numbers = weight if isinstance(weight, Mapping) else {"": weight}
            for key, value in numbers.items():
                check_number(f"weights.{name}.{key}".rstrip("."), value, whole=key == "at")
        check_number("beta", beta, above=0, below=1)
        self.weights = weights
        self.class_weights: Any = class_weights
        self.part_values: dict[str, Tensor] = {}
        self._parts = {}
        for name, part in parts.items():
            needs, built = context.needed(part), part
            if context.class_of(part):
                built = part(**{key: seen[key] for key in context.needed_to_build(part)})
                if hasattr(self, name):
                    raise ValueError(f"parts: expected another name than {name}, which is taken")
                self.add_sublayer(name, built)
            self._parts[name] = needs, built
        if isinstance(class_weights, str):
            n, effective = seen["class_counts"], class_weights == "effective"
            size = -paddle.expm1(n * math.log(beta)) if effective else n
            self.class_weights = (len(n) / size / (1 / size).sum()).tolist()
        elif class_weights is not None:
            for value in class_weights:
                check_number("class_weights", value, at_least=0)
            if len(class_weights) != seen["classes"]:
                raise ValueError(
                    f"class_weights: expected one of each of {seen['classes']} classes, got "
                    f"{len(class_weights)}"
                )

    @staticmethod
    def needs(
        parts: Any = None, weights: Any = None, class_weights: Any = None, **_: Any
    ) -> set[str]:
        """What of `context.NAMES` a mixture with these arguments needs.

        Raises:
            ValueError: They make no mixture.
        """
        if not isinstance(parts, Mapping) or not all(map(callable, parts.values())) or not parts:
            raise ValueError(
                "parts: expected names of losses, each with its `_target_` and `_partial_: true`, "
                f"got {parts!r}"
            )
        if not isinstance(weights, Mapping) or weights.keys() != parts.keys():
            raise ValueError(
                f"weights: expected one of each part, {', '.join(parts)}, got {weights!r}"
            )
        named = isinstance(class_weights, str)
        if class_weights not in (None, "inverse", "effective") and (
            named or not isinstance(class_weights, Sequence)
        ):
            raise ValueError(
                "class_weights: expected a list of numbers, inverse or effective, got "
                f"{class_weights!r}"
            )
        names = {"class_counts" if named else "classes"}
        for part in parts.values():
            names |= {*context.needed(part), *context.needed_to_build(part)}
        for name, weight in weights.items():
            keys = set(weight) if isinstance(weight, Mapping) else set()
            if keys not in (set(), {"from", "to"}, {"from", "to", "at"}):
                raise ValueError(
                    f"weights.{name}: expected a number, {{from, to}} or {{from, to, at}}, got "
                    f"{weight!r}"
                )
            names |= {"epoch"} if "at" in keys else {"epoch", "epochs"} if "from" in keys else set()
        return names

    def forward(self, outputs: Tensor, labels: Tensor, **seen: Any) -> Tensor:
        """What the parts take, labels [batch], what `needs` names -> [batch]."""
        total = paddle.zeros([len(labels)], outputs.dtype)
        for name, (needs, part) in self._parts.items():
            values = part(outputs, labels, **{key: seen[key] for key in needs})
            self.part_values[name] = values.detach()
            total = total + values * _weight_at(self.weights[name], **seen)
        if self.class_weights is not None:
            total = total * paddle.to_tensor(self.class_weights, dtype=total.dtype)[labels]
        return total


def _weight_at(weight: Weight, epoch: int = 0, epochs: int = 0, **_: Any) -> float:
    """A part's weight in an epoch; before the first it is that of the first."""
    if not isinstance(weight, Mapping):
        return weight
    share = float(epoch >= weight["at"]) if "at" in weight else (epoch - 1) / max(1, epochs - 1)
    return weight["from"] + (weight["to"] - weight["from"]) * min(1.0, max(0.0, share))
