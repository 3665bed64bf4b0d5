"""Tuning the losses' own values, with an equal number of trials for each loss.

`tune.focal.gamma=1,2,3` in a sweep makes each pair of a learning rate and a gamma a trial of focal.
The other losses get as many trials, at more learning rates of the same range. Importing this costs
Hydra alone.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from experiments import contract
from experiments.config import CommandError, Settings
from experiments.errors import suggestion

PREFIX = "tune."
_MOST = 5000  # characters of what is declared: it is kept in a tag


def grids(
    words: Sequence[Override],
    parser: OverridesParser,
    compose: Callable[[list[list[str]], OverridesParser], object] | None = None,
) -> tuple[list[list[Override]], dict[str, list[str]]]:
    """The grids that the overrides of a sweep describe, and the own values that they tune.

    It is one grid, unless own values are tuned: then it is one for each loss. Each has as many
    trials, which are learning rates times combinations of tuned values: the fewest that give every
    loss at least the rates of the command.

    Args:
        words: The overrides; of two with the same key the last one counts.
        parser: Of the overrides that are made here.
        compose: Refuses names of values that a loss does not have, with an error of its own.

    Raises:
        CommandError: A loss or a value cannot be tuned, or there are no other rates to be had.
    """
    tuned: dict[str, dict[str, Override]] = {}
    for word in words:
        if word.key_or_group.startswith(PREFIX):
            loss, name = _loss_and_name(word)
            tuned.setdefault(loss, {})[name] = word
    if not tuned:
        return [list(words)], {}
    last = {word.key_or_group: word for word in words}
    losses = list(dict.fromkeys(_choices(last["loss"]))) if "loss" in last else []
    for loss, values in tuned.items():
        _check(loss, values, losses, last)
        if compose is not None:
            one = [f"loss.{name}={_choices(word)[0]}" for name, word in values.items()]
            compose([[f"loss={loss}", *one]], parser)
    texts = _choices(last["lr"]) if "lr" in last else []
    count = dict.fromkeys(losses, 1) | {
        loss: math.prod(len(set(_choices(word))) for word in values.values())
        for loss, values in tuned.items()
    }
    step = math.lcm(*count.values())
    trials = step * -(-max(1, len(set(texts))) * max(count.values()) // step)
    others = [
        word
        for word in words
        if word.key_or_group not in ("loss", "lr") and not word.key_or_group.startswith(PREFIX)
    ]
    parsed = []
    for loss in losses:
        own = {f"loss.{name}": _text(word) for name, word in tuned.get(loss, {}).items()}
        rates = spread(_rates(texts), trials // count[loss])
        own_words = [f"loss={loss}", *(f"{name}={text}" for name, text in own.items())]
        own_words += [contract.override("lr", *rates)] if rates else []
        parsed.append([*parser.parse_overrides(own_words), *others])
    return parsed, {loss: [f"loss.{name}" for name in values] for loss, values in tuned.items()}


def spread(given: Sequence[float], count: int) -> list[float]:
    """So many rates (> 0), ascending: those given, and others that fill the gaps between them.

    Each gap is divided evenly on a logarithmic scale. The next rate always goes to the gap whose
    parts are the widest. New rates have three significant digits.

    Raises:
        CommandError: There is no gap to fill.

    >>> spread([0.01, 0.1], 6)
    [0.01, 0.0158, 0.0251, 0.0398, 0.0631, 0.1]
    """
    rates = sorted(set(given))
    if count <= max(len(rates), 1):
        return rates
    if len(rates) < 2:
        raise CommandError(
            f"lr: expected two learning rates or more, between which losses without tuned values "
            f"get {count} trials, got {f'{rates[0]:g} alone' if rates else 'none'}"
        )
    gaps = list(itertools.pairwise(rates))
    parts = [1] * len(gaps)
    for _ in range(count - len(rates)):
        widths = [math.log(high / low) / n for (low, high), n in zip(gaps, parts, strict=True)]
        parts[max(range(len(gaps)), key=lambda gap: round(widths[gap], 9))] += 1
    denser = set(rates)
    for (low, high), n in zip(gaps, parts, strict=True):
        denser |= {float(f"{low * (high / low) ** (step / n):.3g}") for step in range(1, n)}
    if len(denser) < count:
        raise CommandError(f"lr: expected a range with room for {count} learning rates")
    return sorted(denser)


def declared(jobs: Iterable[Settings]) -> dict[str, dict[str, list[str]]]:
    """Of each loss the tuned own values by name, as the params of its runs have them.

    Raises:
        CommandError: They are too many for a tag.
    """
    tuned: dict[str, dict[str, list[str]]] = {}
    for job in jobs:
        for name in job.tuned.get(job.choices["loss"], ()):
            values = tuned.setdefault(job.choices["loss"], {}).setdefault(name, [])
            if (text := str(job.params[name])) not in values:
                values.append(text)
    if (length := len(json.dumps(tuned))) > _MOST:
        raise CommandError(f"tune: expected at most {_MOST:,} characters in all, got {length:,}")
    return tuned


def names(jobs: Sequence[Settings]) -> set[str]:
    """The own values that are tuned, of whichever loss."""
    return {name for own in jobs[0].tuned.values() for name in own}


def counted(jobs: Sequence[Settings]) -> str:
    """How many trials each loss has, in words; "" where no own value is tuned."""
    tuned = declared(jobs)
    if not tuned:
        return ""
    losses_by_trials: dict[str, list[str]] = {}
    trials = set()
    for loss in dict.fromkeys(job.choices["loss"] for job in jobs):
        rates = len({job.lr for job in jobs if job.choices["loss"] == loss})
        sizes = {name.removeprefix("loss."): len(v) for name, v in tuned.get(loss, {}).items()}
        words = [f"{rates} learning rate{'' if rates == 1 else 's'}"]
        words += [f"{count} values of {name}" for name, count in sizes.items()]
        losses_by_trials.setdefault(" x ".join(words), []).append(loss)
        trials.add(rates * math.prod(sizes.values()))
    each = "; ".join(f"{', '.join(losses)}: {words}" for words, losses in losses_by_trials.items())
    return f"Trials of each loss: {', '.join(map(str, sorted(trials)))} ({each})"


def _loss_and_name(word: Override) -> tuple[str, str]:
    parts = word.key_or_group.removeprefix(PREFIX).split(".")
    if len(parts) != 2 or not all(parts) or word.is_add() or word.is_delete():
        raise CommandError(
            f"expected tune.LOSS.VALUE=A,B such as tune.focal.gamma=1,2,3, got {word.input_line}"
        )
    return parts[0], parts[1]


def _check(
    loss: str, values: Mapping[str, Override], losses: Sequence[str], words: Mapping[str, Override]
) -> None:
    """Raise CommandError for a loss that is not swept, or values that are no choices."""
    if loss not in losses:
        raise CommandError(
            f"tune.{loss}: expected a loss of the sweep, {', '.join(losses) or 'loss=...'}, got "
            f"{loss}{suggestion(loss, losses, PREFIX)}"
        )
    for name, word in values.items():
        texts = _choices(word)
        if len({_number(text) for text in texts}) < max(2, len(texts)):
            raise CommandError(
                f"{word.key_or_group}: expected two values or more, each given once, got "
                f"{_text(word)}"
            )
        if f"loss.{name}" in words:
            raise CommandError(f"loss.{name} and {word.key_or_group}: expected one of the two")


def _choices(word: Override) -> list[str]:
    """The values that an override sets, as they are typed."""
    if not word.is_sweep_override():
        return [word.get_value_element_as_str()]
    if not word.is_discrete_sweep():
        raise CommandError(
            f"{word.key_or_group}: expected choices such as 0.1,0.2 where own values are tuned, "
            f"got {_text(word)}"
        )
    return list(word.sweep_string_iterator())


def _rates(texts: Sequence[str]) -> list[float]:
    rates = [rate for text in texts if isinstance(rate := _number(text), float) and rate > 0]
    if len(rates) < len(texts):
        raise CommandError(f"lr: expected finite numbers above 0, got {', '.join(texts)}")
    return rates


def _number(text: str) -> float | str:
    """The finite number that a text stands for, else the text."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _text(word: Override) -> str:
    return str(word.input_line).partition("=")[2]
