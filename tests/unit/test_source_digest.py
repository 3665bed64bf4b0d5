"""The digest of a run's code: what changes it, and what does not."""

from __future__ import annotations

import ast

import pytest
from helpers.options import OPTIONS

from experiments import source_digest, source_syntax
from experiments.contract import changed_files

SNIPPET = '''
"""What it is."""
import math
from a import b as c

LONG = 10**5000 + 0xFFFF  # a comment
NAMES = ("caf\\u00e9", b"\\x00", 1.5, 1e400, 2j, None, ..., True)


@c
def f(x: int, /, y=2, *rest: float, z: str = "a" "b", **more) -> None:
    """A docstring."""
    if (n := x) > 1:
        pass
    match y:
        case {"k": [1, *others]} | None:
            return f"{n!r:>{z}} of {rest}" f" and {more}" "."
    return lambda: [i for i in x if i][::2]


class A(c, metaclass=type):
    field: int = 3

    async def g(self):
        async with self as s, c:
            yield -1
        try:
            raise ValueError from None
        except (TypeError, ValueError) as error:
            del error
        finally:
            global LONG
'''


def digest(text: str) -> str:
    return source_digest._short(source_syntax.dump(ast.parse(text)).encode())


def test_a_golden_digest():
    """The same on every version of Python: identities in a store rest on it."""
    assert digest(SNIPPET) == "6043d78cdc21"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x = 1  # one"),
        ("x = 'a'", 'x = "a"'),
        ("x = 'ab'", "x = ('a'\n  'b')"),
        ("def f():\n    return 1", 'def f():\n    """One."""\n\n    return 1'),
        ("def f():\n    'One.'", "def f():\n    pass"),
        ("class A:\n    x = 1", "class A:\n  'doc'\n  x = 1\n  'about x'"),
        ("f(a, b)", "f(\n    a,\n    b,\n)"),
        ("x = a + b", "x = (a +\n b)"),
        ("x = 1000", "x = 1_000"),
        ("x = f'{a}' f'b'", "x = f'{a}b'"),
        ("x = f'a' 'b'", "x = f'ab'"),
        ("a = 1\r\n", "a = 1\n"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(before, after):
    assert digest(before) == digest(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("x = None", "x = ..."),
        ("x = a + b", "x = a - b"),
        ("x = a + b", "x = b + a"),
        ("f(a, b)", "f(a, b=b)"),
        ("def f(x, *, y=1): return x", "def f(x, y=1): return x"),
        ("def f(x, *, y, z=1): 0", "def f(x, *, y=1, z): 0"),
        ("f(*a)", "f(a)"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a:.1f}'", "x = f'{a:.2f}'"),
        ("x[1:2]", "x[1::2]"),
        ("x = {'a': 1, **b}", "x = {**b, 'a': 1}"),
        ("return_ = [1]", "return_ = (1,)"),
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
        ("for a in b:\n    c\nelse:\n    d", "for a in b:\n    c\n    d"),
        ("from a import b", "from .a import b"),
        ("@a\ndef f(): return 1", "def f(): return 1"),
    ],
)
def test_what_is_computed_counts(before, after):
    assert digest(before) != digest(after)


def parts(**targets: str) -> source_digest.Parts:
    source_digest.refresh()
    changed = {group: {"_target_": target} for group, target in targets.items()}
    return source_digest.of_options(OPTIONS | changed).parts


def test_which_files_a_run_reaches():
    def files(names: str, folder: str = "") -> set[str]:
        return {
            f"experiments/{folder}{name}{'' if '.' in name else '.py'}" for name in names.split()
        }

    kernels = "builder chain conv_block.cpp conv_block onednn plan residual shapes shortcut tape "
    assert {part: set(paths) for part, paths in parts().items()} == {
        "loss": files("numerics true_class", "losses/"),
        "model": files("models"),
        "data": files("arrays imbalance noise partition sets", "data/"),
        "optimizer": files("optimizers"),
        "scheduler": files("schedulers"),
        "training": files("context heads metrics steps training weights")
        | files("arrays epochs partition", "data/")
        | files(f"{kernels} units", "kernels/"),
    }
    of_convnet = files("conv_block.cpp conv_block tape", "kernels/") | files("models")
    assert set(parts(model="experiments.models.convnet")["model"]) == of_convnet


@pytest.fixture
def edited(monkeypatch):
    """`edited(module, old, new, **targets)`: parts that change when experiments/MODULE does."""

    def edit(module: str, old: str, new: str, **targets: str) -> list[str]:
        read = source_digest._Module.read
        before = parts(**targets)

        def other(self):
            content = read(self)
            if str(self.path).endswith(f"experiments/{module}"):
                assert content.count(old.encode()) >= 1
                content = content.replace(old.encode(), new.encode())
            return content

        with monkeypatch.context() as patch:
            patch.setattr(source_digest._Module, "read", other)
            after = parts(**targets)
        source_digest.refresh()
        differ = changed_files(before, after)
        assert all(name == f"experiments/{module}" for name in differ)
        return sorted(part for part in after if before[part] != after[part])

    return edit


MSE = {"loss": "experiments.losses.mse"}


@pytest.mark.parametrize(
    ("module", "old", "new", "targets", "expected"),
    [
        ("losses/true_class.py", "paddle.exp(softplus(m) * -gamma)", "m", {}, []),
        ("losses/true_class.py", "return softplus(-log", "return softplus(-2 * log", {}, ["loss"]),
        ("losses/numerics.py", "threshold=40", "threshold=41", {}, ["loss"]),
        ("losses/numerics.py", "threshold=40", "threshold=41", MSE, []),
        ("models.py", "nn.Linear(size, width)", "nn.Linear(size, 64)", {}, []),
        ("models.py", "inputs.reshape([-1, *", "inputs.reshape([1, *", {}, ["model"]),
        ("training.py", "EVALUATION_BATCH = 250", "EVALUATION_BATCH = 251", {}, ["training"]),
        ("data/noise.py", "integers(1, count", "integers(2, count", {}, ["data"]),
        ("data/epochs.py", "ORDER, epoch)", "ORDER, epoch + 1)", {}, ["training"]),
        ("heads.py", "z.max(axis=-1", "z.min(axis=-1", {}, ["training"]),
        ("metrics.py", "ECE_BINS = 15", "ECE_BINS = 16", {}, []),
        ("metrics.py", "np.asarray(predicted == labels)", "predicted", {}, ["training"]),
        ("metrics.py", '_flipped": accuracy(', '_flipped": -accuracy(', {}, ["training"]),
        ("schedulers.py", "T_max=max(1, steps - first)", "T_max=steps + 1", {}, []),
        ("optimizers.py", "paddle.optimizer import SGD", "mine import SGD", {}, ["optimizer"]),
    ],
)
def test_only_what_an_edit_can_touch_changes(edited, module, old, new, targets, expected):
    assert edited(module, old, new, **targets) == expected
