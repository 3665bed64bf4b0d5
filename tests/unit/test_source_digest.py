"""The digest of a run's code: what changes it, and what does not."""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import json
import pkgutil
import sys
import time

import pytest

from experiments import losses, source_digest, source_syntax
from experiments.contract import changed_files

OPTIONS = {
    "loss": {"_target_": "experiments.losses.ce", "_partial_": True},
    "model": {"_target_": "experiments.models.softmax", "_partial_": True},
    "data": {"_target_": "experiments.data.digits", "_partial_": True},
    "optimizer": {"_target_": "experiments.optimizers.sgd", "_partial_": True},
    "scheduler": {"_target_": "experiments.schedulers.constant", "_partial_": True},
}

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


# ---- the project's own code ----------------------------------------------------------------------


def parts(**targets: str) -> source_digest.Parts:
    source_digest.refresh()
    changed = {group: {"_target_": target} for group, target in targets.items()}
    return source_digest.of_options(OPTIONS | changed).parts


def test_which_files_a_run_reaches():
    found = parts()
    assert {part: sorted(files) for part, files in found.items()} == {
        "loss": ["experiments/losses/numerics.py", "experiments/losses/true_class.py"],
        "model": ["experiments/models.py"],
        "data": [
            "experiments/data/arrays.py",
            "experiments/data/imbalance.py",
            "experiments/data/noise.py",
            "experiments/data/partition.py",
            "experiments/data/sets.py",
        ],
        "optimizer": ["experiments/optimizers.py"],
        "scheduler": ["experiments/schedulers.py"],
        "training": [
            "experiments/context.py",
            "experiments/data/arrays.py",
            "experiments/data/epochs.py",
            "experiments/data/partition.py",
            "experiments/heads.py",
            "experiments/kernels/builder.py",
            "experiments/kernels/chain.py",
            "experiments/kernels/conv_block.cpp",
            "experiments/kernels/conv_block.py",
            "experiments/kernels/onednn.py",
            "experiments/kernels/plan.py",
            "experiments/kernels/residual.py",
            "experiments/kernels/shapes.py",
            "experiments/kernels/shortcut.py",
            "experiments/kernels/tape.py",
            "experiments/kernels/units.py",
            "experiments/metrics.py",
            "experiments/steps.py",
            "experiments/training.py",
            "experiments/weights.py",
        ],
    }
    assert set(parts(model="experiments.models.convnet")["model"]) == {
        "experiments/kernels/conv_block.cpp",
        "experiments/kernels/conv_block.py",
        "experiments/kernels/tape.py",
        "experiments/models.py",
    }


@pytest.fixture
def edited(monkeypatch):
    """`edited(module, old, new, **targets)`.

    The parts that change when experiments/MODULE is edited so.
    """

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


@pytest.mark.parametrize(
    ("module", "old", "new", "targets", "expected"),
    [
        ("losses/true_class.py", "paddle.exp(softplus(m) * -gamma)", "m", {}, []),
        ("losses/true_class.py", "return softplus(-log", "return softplus(-2 * log", {}, ["loss"]),
        ("losses/numerics.py", "threshold=40", "threshold=41", {}, ["loss"]),
        (
            "losses/numerics.py",
            "threshold=40",
            "threshold=41",
            {"loss": "experiments.losses.mse"},
            [],
        ),
        ("models.py", "nn.Linear(size, width)", "nn.Linear(size, 64)", {}, []),
        ("models.py", "inputs.reshape([-1, *", "inputs.reshape([1, *", {}, ["model"]),
        ("training.py", "EVALUATION_BATCH = 250", "EVALUATION_BATCH = 251", {}, ["training"]),
        ("data/noise.py", "integers(1, count", "integers(2, count", {}, ["data"]),
        ("data/epochs.py", "ORDER, epoch)", "ORDER, epoch + 1)", {}, ["training"]),
        ("heads.py", "z.max(axis=-1", "z.min(axis=-1", {}, ["training"]),
        ("metrics.py", "ECE_BINS = 15", "ECE_BINS = 16", {}, []),
        ("metrics.py", "np.asarray(predicted == labels)", "predicted", {}, ["training"]),
        ("metrics.py", '"accuracy_flipped": accuracy(', '"accuracy_flipped": '
                                                        '-accuracy(', {}, ["training"]),
        ("schedulers.py", "T_max=max(1, steps - first)", "T_max=steps + 1", {}, []),
        ("optimizers.py", "from paddle.optimizer import SGD", "from mine import "
                                                              "SGD", {}, ["optimizer"]),
    ],
)  # fmt: skip
def test_only_what_an_edit_can_touch_changes(edited, module, old, new, targets, expected):
    assert edited(module, old, new, **targets) == expected


# ---- a user's code -------------------------------------------------------------------------------


@pytest.fixture
def user(tmp_path, monkeypatch):
    """`user(**{"file": text})` writes files of a user's own.

    `user.reaches(target)`: the files it reaches.
    """
    monkeypatch.syspath_prepend(tmp_path)

    class User:
        path = tmp_path

        def write(self, name: str, text: str | bytes) -> None:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
            importlib.invalidate_caches()

        def reaches(self, target: str = "mine_own.loss", **values: object) -> dict[str, str]:
            source_digest.refresh()
            option = {"_target_": target, **values}
            return source_digest.of_options({"loss": option}).parts["loss"]

    yield User()
    source_digest.refresh()
    assert not {"mine_own", "own_helper", "own_package"} & set(sys.modules), "code was executed"


LOSS = "def loss(logits, labels):\n    return logits\n"


def test_a_users_module_counts_whole_with_its_helpers(user):
    user.write("mine_own.py", f"import own_helper\nSCALE = 1\n{LOSS}")
    user.write("own_helper.py", "import own_deeper\nFACTOR = 1\n")
    user.write("own_deeper.py", "X = 1\n")
    before = user.reaches()
    assert set(before) == {"mine_own.py", "own_helper.py", "own_deeper.py"}
    for name, text in [
        ("mine_own.py", f"import own_helper\nSCALE = 2\n{LOSS}"),
        ("own_helper.py", "import own_deeper\nFACTOR = 2\n"),
        ("own_deeper.py", "X = 2\n"),
    ]:
        user.write(name, text)
        after = user.reaches()
        assert [file for file in after if after[file] != before[file]] == [name]
        before = after
    user.write("own_deeper.py", "# a comment\nX = (2)\n")
    assert user.reaches() == before


@pytest.mark.parametrize(
    "text",
    [
        f"{LOSS}\ndef later():\n    import own_helper\n",
        f"try:\n    import own_helper\nexcept ImportError:\n    own_helper = None\n{LOSS}",
        f"from own_helper import *\n{LOSS}",
        f"import importlib\nhelper = importlib.import_module('own_helper')\n{LOSS}",
        f"helper = __import__('own_helper')\n{LOSS}",
        "from own_helper import loss\n",
        "from own_helper import *\n",
        "import functools, own_helper\nloss = functools.partial(own_helper.loss, scale=2)\n",
        f"import own_helper\n@own_helper.decorated\n{LOSS}",
        "import own_helper\nclass Loss(own_helper.Base):\n    pass\nloss = Loss()\n",
        f"class A:\n    def f(self):\n        from own_helper import x\n{LOSS}",
    ],
)
def test_every_way_to_import_is_followed(user, text):
    user.write("mine_own.py", text)
    user.write("own_helper.py", LOSS)
    assert set(user.reaches()) == {"mine_own.py", "own_helper.py"}


@pytest.mark.parametrize(
    "text",
    [
        f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import own_helper\n{LOSS}",
        f"{LOSS}\nif __name__ == '__main__':\n    import own_helper\n",
        f"import missing_module\nimport json, numpy, paddle.nn\n{LOSS}",
    ],
)
def test_what_is_not_executed_or_installed_is_not_followed(user, text):
    user.write("mine_own.py", text)
    user.write("own_helper.py", "")
    assert set(user.reaches()) == {"mine_own.py"}


def test_packages_and_relative_imports(user):
    user.write("own_package/__init__.py", "from . import settings\n")
    user.write("own_package/settings.py", "SCALE = 1\n")
    user.write("own_package/sub/__init__.py", "")
    user.write(
        "own_package/sub/losses.py", f"from ..shared import a\nfrom .near import b as c\n{LOSS}"
    )
    user.write("own_package/sub/near.py", "from own_package import sub\nb = 1\n")
    user.write("own_package/shared.py", "a = 1\n")
    user.write("own_package/other.py", "unused = 1\n")
    assert set(user.reaches("own_package.sub.losses.loss")) == {
        "own_package/__init__.py",
        "own_package/settings.py",
        "own_package/shared.py",
        "own_package/sub/__init__.py",
        "own_package/sub/losses.py",
        "own_package/sub/near.py",
    }


def test_a_namespace_package(user):
    user.write("own_space/losses.py", f"from . import near\n{LOSS}")
    user.write("own_space/near.py", "")
    assert set(user.reaches("own_space.losses.loss")) == {
        "own_space/losses.py",
        "own_space/near.py",
    }


@pytest.mark.parametrize("target", ["mine_own.Loss", "mine_own.Loss.build", "mine_own"])
def test_targets_that_are_no_functions(user, target):
    text = "class Loss:\n    @classmethod\n    def build(cls): return {}\n"
    user.write("mine_own.py", text.format(1))
    before = user.reaches(target)
    assert set(before) == {"mine_own.py"}
    user.write("mine_own.py", text.format(2))
    assert user.reaches(target) != before


def test_targets_within_targets(user):
    user.write("mine_own.py", LOSS)
    user.write("own_block.py", "class Block: pass\n")
    nested = {"blocks": [{"_target_": "own_block.Block"}]}
    assert set(user.reaches("mine_own.loss", **nested)) == {"mine_own.py", "own_block.py"}
    assert set(user.reaches("hydra.utils.get_method", path="mine_own.loss")) == {"mine_own.py"}


def test_what_is_no_source_of_this_python_counts_by_its_bytes(user):
    user.write("mine_own.py", f"import own_helper, own_fast\n{LOSS}")
    fast = "own_fast" + importlib.machinery.EXTENSION_SUFFIXES[0]
    user.write("own_helper.py", "this is no Python\n")
    user.write(fast, b"\x7fELF 1")
    before = user.reaches()
    assert set(before) == {"mine_own.py", "own_helper.py", fast}
    user.write("own_helper.py", "this is no Python # at all\n")
    user.write(fast, b"\x7fELF 2")
    after = user.reaches()
    assert changed_files({"": before}, {"": after}) == [fast, "own_helper.py"]


def test_other_encodings(user):
    user.write("mine_own.py", f"# coding: latin-1\nNAME = 'é'\n{LOSS}".encode("latin-1"))
    before = user.reaches()
    user.write("mine_own.py", f"\ufeffNAME = 'é'\n{LOSS}")
    assert user.reaches() == before
    user.write("mine_own.py", f"NAME = 'é'\n{LOSS}".encode("latin-1"))  # cannot be parsed
    assert user.reaches() != before


def test_links_and_other_directories_change_nothing(user, monkeypatch):
    user.write("mine_own.py", LOSS)
    before = user.reaches()
    (user.path / "elsewhere").mkdir()
    (user.path / "mine_own.py").rename(user.path / "elsewhere" / "real.py")
    (user.path / "mine_own.py").symlink_to(user.path / "elsewhere" / "real.py")
    assert user.reaches() == before
    (user.path / "mine_own.py").unlink()
    user.write("moved/mine_own.py", LOSS)
    monkeypatch.syspath_prepend(user.path / "moved")
    assert user.reaches() == before


def test_installed_packages_are_left_to_their_versions(user, monkeypatch):
    user.write("lib/site-packages/own_installed.py", LOSS)
    monkeypatch.syspath_prepend(user.path / "lib" / "site-packages")
    assert user.reaches("own_installed.loss") == {}
    assert user.reaches("paddle.nn.functional.cross_entropy") == {}


def test_modules_that_import_each_other(user):
    user.write("mine_own.py", f"import own_helper\n{LOSS}")
    user.write("own_helper.py", "import mine_own\n")
    assert set(user.reaches()) == {"mine_own.py", "own_helper.py"}


@pytest.mark.parametrize(
    "text",
    [
        "from experiments.losses import ce\ndef loss(z, y): return ce(z, y)\n",
        "from experiments.losses import ce as loss\n",
        "from experiments.losses import *\ndef loss(z, y): return ce(z, y)\n",
        "import experiments.losses as all\ndef loss(z, y): return all.ce(z, y)\n",
        "import experiments.losses\ndef loss(z, y): return experiments.losses.ce(z, y)\n",
        "from experiments import losses\ndef loss(z, y): return losses.ce(z, y)\n",
        "def loss(z, y):\n    from experiments.losses import ce\n    return ce(z, y)\n",
        "from experiments.losses.true_class import ce as loss\n",
    ],
)
def test_of_the_suite_a_user_reaches_what_is_named(user, text):
    user.write("mine_own.py", text)
    ce = user.reaches("experiments.losses.ce")
    found = user.reaches()
    assert {name: found[name] for name in ce} == ce
    assert set(found) == {*ce, "mine_own.py"}


@pytest.mark.parametrize(
    "text",
    [
        "from experiments import losses\nloss = getattr(losses, 'c' + 'e')\n",
        "import importlib\nloss = getattr(importlib.import_module('experiments.losses'), 'ce')\n",
    ],
)
def test_of_a_module_that_is_handed_on_everything_counts(user, text):
    user.write("mine_own.py", text)
    modules = {module.name for module in pkgutil.iter_modules(losses.__path__)} - {"checks"}
    computing = {f"experiments/losses/{name}.py" for name in modules}
    assert set(user.reaches()) == {"mine_own.py", *computing}


def test_a_digest_costs_little(user):
    """The promise is 0.1 s at start-up.

    The bound is for a machine that is busy with other things.
    """
    source_syntax.parsed.cache_clear()
    begun = time.process_time()
    source_digest.refresh()
    source_digest.of_options(OPTIONS | {"model": {"_target_": "experiments.models.convnet"}})
    assert time.process_time() - begun < 0.3


def test_many_files_fit_into_a_tag():
    files = {f"package/file{n}.py": f"{n:012x}" for n in range(400)}
    code = source_digest.Code({"loss": files, "training": {"experiments/a.py": "0" * 12}}, "", {})
    tag = json.loads(code.tags["code.parts"])
    assert len(code.tags["code.parts"]) <= 8000
    other = source_digest.Code({**code.parts, "loss": files | {"package/file60.py": ""}}, "", {})
    assert changed_files(tag, json.loads(other.tags["code.parts"])) == ["400 files"]
    assert other.digest != code.digest
