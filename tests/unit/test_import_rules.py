"""The import rules cover what is there: a new folder must be said to be heavy or light."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = {"artifacts", "measure", "nn"}  # the only places that import torch, onnx and the runtimes


def test_every_module_is_heavy_or_forbidden_to_import_what_is_heavy() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    light = next(set(rule["source_modules"]) for rule in contracts if "heavy imports" in rule["name"])
    found = {
        path.stem for path in (ROOT / "edgeglm").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert {f"edgeglm.{name}" for name in found - HEAVY - {"__init__", "__main__"}} == light


def test_every_package_is_in_the_wheel() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "edgeglm").rglob("__init__.py")}
    assert found == {name for name in packages if name not in ("edgeglm._recipes",) and ".templates." not in name}


def test_the_agents_own_tests_begin_with_what_is_installed_for_them_on_the_pythons_of_boards() -> None:
    script = (ROOT / "scripts" / "test_agent.sh").read_text()
    project = tomllib.loads((ROOT / "device_agents" / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *re.findall(r"^ +(pytest.*)$", script, re.MULTILINE)[0].split()]
    for extra in re.findall(r"device_agents\[(.*)\]", script)[0].split(","):
        wanted += project["optional-dependencies"][extra]
    installed = {re.split(r"[^\w-]", one)[0].replace("-", "_").replace("pillow", "PIL") for one in wanted}
    found: dict[str, Path] = {}
    waiting = {*(ROOT / "tests" / "unit" / "agent").rglob("*.py")}
    read: set[Path] = set()
    while waiting:
        path = waiting.pop()
        read.add(path)
        for name in _begins_with(path):
            found.setdefault(name.partition(".")[0], path)
            if (module := ROOT / f"{name.replace('.', '/')}.py").is_file() and module not in read:
                waiting.add(module)
    known = {*installed, *sys.stdlib_module_names, "edgeglm_agent", "tests"}
    assert {name: path for name, path in found.items() if name not in known} == {}


def _begins_with(path: Path) -> list[str]:
    names = []
    for statement in ast.parse(
        path.read_text()
    ).body:  # what a test imports itself may be skipped where it is not there
        if isinstance(statement, ast.Import):
            names += [one.name for one in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names += [statement.module, *(f"{statement.module}.{one.name}" for one in statement.names)]
    return names
