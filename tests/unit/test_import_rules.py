"""The import rules cover what is there: a new folder must be said to be heavy or light."""

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
