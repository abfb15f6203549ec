"""Entries: the user's functions, their modules and their errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeglm.errors import DataError, EntryError
from edgeglm.sources.entry import Entries

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def same_interpreter() -> Iterator[None]:
    if Entries._active is not None:  # another test left it
        Entries._active.close()
    before, path = set(sys.modules), list(sys.path)
    yield
    if Entries._active is not None:
        Entries._active.close()
    assert {name for name in set(sys.modules) - before if not name.startswith("edgeglm")} <= _libraries()
    assert sys.path == path


def _libraries() -> set[str]:
    return {n for n, m in sys.modules.items() if "/tmp/" not in str(getattr(m, "__file__", ""))}


def recipe(folder: Path, **files: str) -> Entries:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return Entries(folder)


def test_an_entry_is_called_with_its_arguments(tmp_path: Path) -> None:
    entries = recipe(tmp_path, model="def build(width):\n    return width * 2\n")
    assert entries.call("./model.py:build", key="model.entry", width=4) == 8
    assert entries.call("model.py:build", key="model.entry", width=5) == 10


def test_a_module_of_the_folder_can_be_named_without_its_file(tmp_path: Path) -> None:
    entries = recipe(tmp_path, nets="def build():\n    return 'net'\n")
    assert entries.call("nets:build", key="model.entry") == "net"


def test_a_class_is_an_entry_too(tmp_path: Path) -> None:
    entries = recipe(tmp_path, model="class Net:\n    def __init__(self, width=1):\n        self.width = width\n")
    assert entries.call("model.py:Net", key="model.entry", width=3).width == 3
    with pytest.raises(EntryError, match="wdth") as caught:
        entries.call("model.py:Net", key="model.entry", wdth=3)
    assert caught.value.code == "entry-arguments"


def test_two_recipes_with_modules_of_the_same_names_do_not_collide(tmp_path: Path) -> None:
    first = recipe(tmp_path / "a", model="import layers\ndef build():\n    return layers.NAME\n", layers="NAME = 'a'\n")
    second = recipe(
        tmp_path / "b", model="import layers\ndef build():\n    return layers.NAME\n", layers="NAME = 'b'\n"
    )
    assert [e.call("model.py:build", key="k") for e in (first, second, first, second)] == ["a", "b", "a", "b"]


def test_a_sibling_imported_inside_a_call_is_the_recipes_own(tmp_path: Path) -> None:
    body = "def build():\n    import late\n    return late.NAME\n"
    first = recipe(tmp_path / "a", model=body, late="NAME = 'a'\n")
    second = recipe(tmp_path / "b", model=body, late="NAME = 'b'\n")
    assert [e.call("model.py:build", key="k") for e in (first, second, first)] == ["a", "b", "a"]
    assert set(first.modules()) == {"model.py", "late.py"}


def test_an_entry_file_that_another_file_imports_is_run_once(tmp_path: Path) -> None:
    entries = recipe(
        tmp_path,
        model="import builtins\nCOUNT = []\nCOUNT.append(1)\ndef build():\n    return COUNT\n",
        data="import model\ndef load():\n    return model.COUNT\n",
    )
    assert entries.call("model.py:build", key="k") is entries.call("data.py:load", key="k")


def test_an_entry_may_have_the_name_of_a_library(tmp_path: Path) -> None:
    import json

    entries = recipe(tmp_path, json="import json\ndef load():\n    return json.dumps([1])\n")
    assert entries.call("json.py:load", key="data.entry") == "[1]"
    assert sys.modules["json"] is json


def test_a_missing_file_is_named_with_the_closest_one(tmp_path: Path) -> None:
    entries = recipe(tmp_path, model="def build(): ...\n")
    with pytest.raises(EntryError, match=r"`modle.py` does not exist") as caught:
        entries.resolve("modle.py:build", key="model.entry")
    assert caught.value.code == "entry-file-missing"
    assert caught.value.problems[0].where == "model.entry"
    assert caught.value.problems[0].hint == "did you mean `model.py`?"


def test_a_missing_module_is_named(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match="module `no_such_module_xyz` cannot be found") as caught:
        recipe(tmp_path).resolve("no_such_module_xyz:build", key="model.entry")
    assert caught.value.code == "entry-file-missing"


def test_a_missing_function_is_named_with_the_closest_one(tmp_path: Path) -> None:
    entries = recipe(tmp_path, model="def build(): ...\n")
    with pytest.raises(EntryError, match="has no `biuld`") as caught:
        entries.resolve("model.py:biuld", key="model.entry")
    assert caught.value.code == "entry-missing"
    assert caught.value.problems[0].hint == "did you mean `build`?"


def test_what_cannot_be_called_is_refused(tmp_path: Path) -> None:
    entries = recipe(tmp_path, model="build = 3\n")
    with pytest.raises(EntryError, match="is a int, not a function") as caught:
        entries.resolve("model.py:build", key="model.entry")
    assert caught.value.code == "entry-not-callable"


def test_what_user_code_raises_is_shown_at_the_users_innermost_line(tmp_path: Path, monkeypatch: object) -> None:
    (tmp_path / "kws").mkdir()
    entries = recipe(
        tmp_path / "kws",
        model="import layers\ndef build():\n    return layers.head(0)\n",
        layers="def head(n):\n    import json\n    return json.loads('{' * (n + 1))\n",
    )
    with pytest.raises(EntryError, match="JSONDecodeError: Expecting") as caught:
        entries.call("model.py:build", key="model.entry")
    assert caught.value.code == "entry-failed"
    assert caught.value.problems[0].where == f"{tmp_path}/kws/layers.py:3"


def test_paths_in_errors_are_as_the_user_gave_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe(tmp_path / "kws", model="def build():\n    raise KeyError('x')\n")
    with pytest.raises(EntryError) as caught:
        Entries(Path("kws")).call("model.py:build", key="model.entry")
    assert caught.value.problems[0].where == "kws/model.py:2"
    assert "KeyError: 'x'" in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("text", "code", "said", "line"),
    [
        ("x = 1\ndef build(:\n", "entry-failed", "SyntaxError", 2),
        ("\n\nimport no_such_package_xyz.sub\n", "entry-import-failed", "no_such_package_xyz", 3),
        ("1 / 0\n", "entry-failed", "ZeroDivisionError", 1),
        ("import sys\nsys.exit('bye')\n", "entry-failed", "SystemExit: bye", 2),
    ],
)
def test_a_module_that_does_not_import_is_an_entry_error(
    tmp_path: Path, text: str, code: str, said: str, line: int
) -> None:
    with pytest.raises(EntryError, match=said) as caught:
        recipe(tmp_path, model=text).resolve("model.py:build", key="model.entry")
    assert caught.value.code == code
    assert caught.value.problems[0].where == f"{tmp_path}/model.py:{line}"


def test_a_module_that_failed_can_be_mended_and_imported_again(tmp_path: Path) -> None:
    entries = recipe(tmp_path, model="1 / 0\n")
    with pytest.raises(EntryError):
        entries.resolve("model.py:build", key="k")
    recipe(tmp_path, model="def build(): return 1\n")
    assert entries.call("model.py:build", key="k") == 1


def test_wrong_arguments_are_told_before_the_call(tmp_path: Path) -> None:
    entries = recipe(tmp_path, model="\ndef build(width): ...\n")
    with pytest.raises(EntryError, match=r"wdth=3") as caught:
        entries.call("model.py:build", key="model.entry", wdth=3)
    assert caught.value.code == "entry-arguments"
    assert caught.value.problems[0].where == f"{tmp_path}/model.py:2"


def test_prints_of_user_code_go_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = recipe(tmp_path, model="print('importing')\ndef build():\n    print('building')\n")
    entries.call("model.py:build", key="model.entry")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "importing\nbuilding\n"


def test_errors_of_edgeglm_and_interrupts_pass_through_a_guard(tmp_path: Path) -> None:
    entries = recipe(tmp_path)
    with pytest.raises(DataError, match="ours"), entries.guard("data.py:load", "data.entry"):
        raise DataError("ours")
    with pytest.raises(KeyboardInterrupt), entries.guard("data.py:load", "data.entry"):
        raise KeyboardInterrupt


def test_a_guard_explains_what_is_raised_later(tmp_path: Path) -> None:
    entries = recipe(tmp_path, data="class Rows:\n    def __getitem__(self, i):\n        return [][i]\n")
    rows = entries.call("data.py:Rows", key="data.entry")
    with pytest.raises(EntryError, match="IndexError") as caught, entries.guard("data.py:Rows", "data.entry"):
        rows[0]
    assert caught.value.problems[0].where == f"{tmp_path}/data.py:3"


def test_the_digest_covers_every_module_below_the_folder(tmp_path: Path) -> None:
    def digest(layers: str) -> str:
        entries = recipe(tmp_path, model="import layers\ndef build(): ...\n", layers=layers)
        entries.call("model.py:build", key="k")
        assert set(entries.modules()) == {"model.py", "layers.py"}
        return entries.sha256()

    first = digest("WIDTH = 1\n")
    assert digest("WIDTH = 1\n") == first
    assert digest("WIDTH = 2\n") != first


LAZY = """\
import sys
def build():
    import late
    from nets import deep as renamed
    import importlib
    return importlib.import_module("named")
"""
PACKAGE = {
    "late.py": "import missing_of_test\nimport chained\nfrom nets.inner import *\n",
    "chained.py": "import late\n",
    "named.py": "",
    "nets/__init__.py": "def get():\n    from . import shared\n",
    "nets/shared.py": "",
    "nets/deep.py": "def get():\n    from ..nets.shared import X\n    from .. import beside\n",
    "nets/inner/__init__.py": "",
    "nets/inner/a.py": "from ..other import b\n",
    "nets/other/b.py": "",
    "beside.py": "this is no Python",
    "unused.py": "",
    "nets/unused.py": "",
    "edgeglm/__init__.py": "",
}


@pytest.mark.parametrize("changed", sorted(PACKAGE))
def test_the_digest_covers_what_is_only_imported_later(tmp_path: Path, changed: str) -> None:
    def digest(folder: str) -> str:
        entries = recipe(tmp_path / folder, model=LAZY)
        for name, text in PACKAGE.items():
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text(text + "# changed\n" * (folder == "changed" and name == changed))
        entries.resolve("model.py:build", key="k")
        assert set(entries.modules()) == {"model.py"}
        return entries.sha256()

    assert digest("one") == digest("two")
    is_no_code_of_it = changed in ("unused.py", "nets/unused.py", "edgeglm/__init__.py")
    assert (digest("changed") == digest("one")) is is_no_code_of_it


def test_the_digest_stays_what_it_was_when_it_was_first_asked(tmp_path: Path) -> None:
    text = "import importlib\ndef build(name):\n    importlib.import_module(name)\n"
    entries = recipe(tmp_path, model=text, late="NAME = 'late'\n")
    entries.resolve("model.py:build", key="k")
    before = entries.sha256()
    entries.call("model.py:build", key="k", name="late")
    (tmp_path / "model.py").write_text("")
    assert set(entries.modules()) == {"model.py", "late.py"}
    assert entries.sha256() == before


def test_the_digest_is_the_same_behind_a_link(tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        entries = Entries(folder)
        entries.call("model.py:build", key="k")
        assert set(entries.modules()) == {"model.py", "layers.py"}
        return entries.sha256()

    recipe(tmp_path / "real", model="def build():\n    import layers\n", layers="")
    (tmp_path / "link").symlink_to("real")
    assert digest(tmp_path / "link") == digest(tmp_path / "real")


def test_user_folders_get_no_bytecode(tmp_path: Path) -> None:
    recipe(tmp_path, model="import layers\ndef build(): ...\n", layers="").call("model.py:build", key="k")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layers.py", "model.py"]


def test_a_module_may_be_imported_after_the_call_has_returned(tmp_path: Path) -> None:
    text = "def build():\n    def forward():\n        import late\n        return late.NAME\n    return forward\n"
    forward = recipe(tmp_path, model=text, late="NAME = 'late'\n").call("model.py:build", key="k")
    assert forward() == "late"


def test_closing_takes_the_folder_out_of_the_interpreter(tmp_path: Path) -> None:
    entries = recipe(tmp_path, model="import layers_of_test\ndef build(): ...\n", layers_of_test="")
    entries.call("model.py:build", key="k")
    assert "layers_of_test" in sys.modules
    entries.close()
    assert "layers_of_test" not in sys.modules
    assert str(tmp_path) not in sys.path
    assert set(entries.modules()) == {"model.py", "layers_of_test.py"}


def test_an_environment_below_the_folder_is_not_user_code(tmp_path: Path) -> None:
    installed = tmp_path / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "installed_of_test.py").write_text("NAME = 'theirs'\n")
    text = f"import sys\nsys.path.append({str(installed)!r})\nimport installed_of_test\ndef build(): ...\n"
    entries = recipe(tmp_path, model=text)
    entries.call("model.py:build", key="k")
    assert set(entries.modules()) == {"model.py"}
    sys.path.remove(str(installed))
    del sys.modules["installed_of_test"]


def test_a_recipe_that_lies_in_an_installed_package_is_user_code(tmp_path: Path) -> None:
    folder = tmp_path / "site-packages" / "recipes"
    folder.mkdir(parents=True)
    entries = recipe(folder, model="import layers\ndef build():\n    raise ValueError\n", layers="")
    with pytest.raises(EntryError) as caught:
        entries.call("model.py:build", key="k")
    assert caught.value.problems[0].where == f"{folder}/model.py:3"
    assert set(entries.modules()) == {"model.py", "layers.py"}
