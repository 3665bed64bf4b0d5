"""The digest of a user's code: which modules and packages it follows."""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import pkgutil
import sys

import pytest
from helpers.options import OPTIONS

from experiments import losses, source_digest, source_syntax
from experiments.contract import changed_files


@pytest.fixture
def user(tmp_path, monkeypatch):
    """`user.write(name, text)` writes a file of a user's own; `reaches(target)`: files it uses."""
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
    text = f"from ..shared import a\nfrom .near import b as c\n{LOSS}"
    user.write("own_package/sub/losses.py", text)
    user.write("own_package/sub/near.py", "from own_package import sub\nb = 1\n")
    user.write("own_package/shared.py", "a = 1\n")
    user.write("own_package/other.py", "unused = 1\n")
    names = "__init__ settings shared sub/__init__ sub/losses sub/near"
    expected = {f"own_package/{name}.py" for name in names.split()}
    assert set(user.reaches("own_package.sub.losses.loss")) == expected


def test_a_namespace_package(user):
    user.write("own_space/losses.py", f"from . import near\n{LOSS}")
    user.write("own_space/near.py", "")
    paths = set(user.reaches("own_space.losses.loss"))
    assert paths == {"own_space/losses.py", "own_space/near.py"}


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
    digests = user.reaches()
    assert {name: digests[name] for name in ce} == ce
    assert set(digests) == {*ce, "mine_own.py"}


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


def test_a_file_that_has_not_changed_is_parsed_once(user):
    options = OPTIONS | {"model": {"_target_": "experiments.models.convnet"}}
    source_digest.of_options(options)
    first = source_syntax.parsed.cache_info()
    source_digest.refresh()
    source_digest.of_options(options)
    again = source_syntax.parsed.cache_info()
    assert (again.misses, again.hits > first.hits) == (first.misses, True)


def test_many_files_fit_into_a_tag():
    files = {f"package/file{n}.py": f"{n:012x}" for n in range(400)}
    code = source_digest.Code({"loss": files, "training": {"experiments/a.py": "0" * 12}}, "", {})
    tag = json.loads(code.tags["code.parts"])
    assert len(code.tags["code.parts"]) <= 8000
    other = source_digest.Code({**code.parts, "loss": files | {"package/file60.py": ""}}, "", {})
    assert changed_files(tag, json.loads(other.tags["code.parts"])) == ["400 files"]
    assert other.digest != code.digest
