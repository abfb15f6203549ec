"""What a key covers: whatever decides a result changes it, and what is damaged is made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgeglm.cache import Cache
from edgeglm.checks.preflight import preflight
from edgeglm.choice.candidates import propose_for
from edgeglm.data.splits import ArraySplit
from edgeglm.errors import ModelError
from edgeglm.log import SilentLog
from edgeglm.measure.external_data import model_file_sha256
from edgeglm.nn.inference import predict
from edgeglm.nn.loading import module_text
from edgeglm.pipeline.build import Builder, calibration_batches
from edgeglm.pipeline.evaluation import OUTPUTS, Evaluator
from edgeglm.pipeline.project import Project, open_project
from edgeglm.pipeline.run import Result, run_recipe
from edgeglm.pipeline.step_runs import run_steps, step_parts
from edgeglm.recipe import load_recipe
from edgeglm.sources import PythonModel
from edgeglm.steps import StepConfig

MODEL = """\
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
"""
DATA = """\
import numpy as np


def load(split: str):
    rng = np.random.default_rng({"train": 1, "calibration": 2, "eval": 3}[split])
    inputs = rng.normal(size=(80, 4)).astype(np.float32)
    return inputs, (inputs[:, 0] > 0).astype(np.int64)
"""
AUGMENT = """\
def augment(inputs, generator):
    return inputs * 1.0
"""
RECIPE = """\
version: 1
name: tiny
model: {source: python, entry: "./model.py:build"}
data: {source: python, entry: "./data.py:load"}
task: {kind: classification}
threads: 1
steps:
  - finetune: {epochs: 1, learning_rate: 1e-2, precision: float32, augment: "AUGMENT"}
artifacts:
  - {format: onnx}
"""


STATEFUL = """\
import torch
from torch import nn


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4), persistent=False)  # state_dict leaves it out
        self.first, self.norm, self.last = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)
        for name in ("running_mean", "running_var"):
            value = self.norm._buffers.pop(name)
            self.norm.register_buffer(name, value, persistent=False)

    def forward(self, x):
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * x.detach().mean(0)
        return self.last(torch.relu(self.norm(self.first(x - self.mean))))


def build():
    torch.manual_seed(0)
    return Centred()
"""


def make(folder: Path, augment: str = "./aug.py:augment") -> Project:
    """Return the tiny project, opened afresh from its files."""
    folder.mkdir(exist_ok=True)
    files = {"model.py": MODEL, "data.py": DATA, "aug.py": AUGMENT, "recipe.yaml": RECIPE.replace("AUGMENT", augment)}
    for name, text in files.items():
        if not (folder / name).exists():
            (folder / name).write_text(text)
    project = open_project(load_recipe(folder / "recipe.yaml"), log=SilentLog())
    project.entries.close()
    return project


def install(site: Path, name: str, version: str, *, entry_points: str = "") -> None:
    """Write what an installer leaves of a distribution of one module."""
    info = site / f"{name}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "top_level.txt").write_text(f"{name}\n")
    (info / "entry_points.txt").write_text(entry_points)


def test_a_step_from_the_cache_answers_as_when_it_was_made_with_buffers_that_are_not_persistent(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(STATEFUL)
    recipe = RECIPE.replace("AUGMENT", "./aug.py:augment").replace(
        "artifacts:", "  - prune: {channel_ratio: 0.5, round_to: 1}\nartifacts:"
    )
    (tmp_path / "recipe.yaml").write_text(recipe)
    project, cache = make(tmp_path), Cache(tmp_path / "cache")
    fresh, cached = (run_steps(project, cache, SilentLog()) for _ in range(2))
    assert [run.cached for run in (*fresh, *cached)] == [False, False, True, True]
    samples = project.data.evaluation
    for made, found in zip(fresh, cached, strict=True):
        (wanted,), (got,) = (predict(run.model, samples, threads=1).values() for run in (made, found))
        np.testing.assert_array_equal(got, wanted)
    assert cached[1].model.module.norm.running_mean.shape == (4,)
    files = [
        Builder(project, Cache(tmp_path / name)).float_file(runs[1].model, runs[1].key, "onnx")
        for name, runs in (("one", fresh), ("two", cached))
    ]
    assert files[0].built.path.read_bytes() == files[1].built.path.read_bytes()


def test_of_several_outputs_the_networks_first_is_judged_in_every_format_and_the_log_says_so(tmp_path: Path) -> None:
    class Heard(SilentLog):
        def __init__(self) -> None:
            self.warnings: list[str] = []

        def warn(self, text: str) -> None:
            self.warnings.append(text)

    make(tmp_path)
    head = "class Two(nn.Linear):\n    def forward(self, x):\n        y = super().forward(x)\n"
    (tmp_path / "model.py").write_text(
        f"from torch import nn\n\n\n{head}        return {{'z': y, 'a': -y, 'm': y.mean(1)}}\n\n\n"
        "def build():\n    return Two(4, 2)\n"
    )
    (tmp_path / "recipe.yaml").write_text(
        RECIPE[: RECIPE.index("steps:")] + "steps: []\nartifacts:\n  - {format: tflite}\n"
    )
    heard = Heard()
    project = open_project(load_recipe(tmp_path / "recipe.yaml"), log=heard)
    assert project.recipe.task.output == "z"
    (warning,) = heard.warnings
    assert "`z` is judged" in warning
    assert "`a` could be meant" in warning
    assert "`task.output`" in warning
    evaluator = Evaluator(project, Cache(tmp_path / "cache"))
    file = Builder(project, Cache(tmp_path / "cache")).artifact(
        project.original, project.key, project.recipe.artifacts[0], where="artifacts[0]"
    )
    network = evaluator.results(evaluator.predict_torch(project.original, "key"), is_baseline=True)
    outputs = evaluator.predict_file(file.built.path, file_format="tflite", sha256=file.sha256)
    assert evaluator.results(outputs, is_baseline=True)["eval"].metric.value == network["eval"].metric.value


def test_preflight_says_what_it_tries_while_it_tries_it(tmp_path: Path) -> None:
    class Heard(SilentLog):
        def __init__(self) -> None:
            self.stages: list[str] = []

        def stage(self, text: str) -> None:
            self.stages.append(text)

    heard, cache = Heard(), Cache(tmp_path / "cache")
    project = make(tmp_path)
    proposal = propose_for(project, Builder(project, cache), heard)
    preflight(project, proposal, tmp_path / "out", cache, heard)
    assert heard.stages == ["preflight: trying steps[0].finetune", "preflight: trying artifacts[0] onnx none"]
    preflight(project, proposal, tmp_path / "out", cache, heard)
    assert len(heard.stages) == 2


def test_what_a_step_warns_of_is_said_again_when_it_comes_from_the_cache(tmp_path: Path) -> None:
    class Heard(SilentLog):
        def __init__(self) -> None:
            self.warnings: list[str] = []

        def warn(self, text: str) -> None:
            self.warnings.append(text)

    steps = (
        "  - finetune: {epochs: 20, learning_rate: 1e-1, precision: float32}\n"
        "  - finetune: {epochs: 1, optimizer: sgd, learning_rate: 100, clip_norm: null, precision: float32}\n"
    )
    head, tail = RECIPE[: RECIPE.index("  - finetune")], RECIPE[RECIPE.index("artifacts:") :]
    (tmp_path / "recipe.yaml").write_text(head + steps + tail)
    project, cache = make(tmp_path), Cache(tmp_path / "cache")
    heard = [Heard(), Heard()]
    runs = [run_steps(project, cache, log) for log in heard]
    assert [run.cached for run in runs[1]] == [True, True]
    assert heard[0].warnings == heard[1].warnings == runs[0][1].warnings == runs[1][1].warnings
    assert "lower `learning_rate` (now 100)" in heard[0].warnings[0]


def test_a_change_of_the_file_that_only_augment_names_changes_the_key(tmp_path: Path) -> None:
    before = make(tmp_path).key
    assert make(tmp_path).key == before
    (tmp_path / "aug.py").write_text(AUGMENT.replace("1.0", "2.0"))
    assert make(tmp_path).key != before


LAZY = """\
def augment(inputs, generator):
    from helper import FACTOR
    return inputs * FACTOR
"""


def test_a_helper_that_is_imported_only_while_a_step_runs_is_part_of_its_key(tmp_path: Path) -> None:
    folder, cache = tmp_path / "project", Cache(tmp_path / "cache")
    folder.mkdir()
    (folder / "aug.py").write_text(LAZY)
    (folder / "helper.py").write_text("FACTOR = 1.0\n")
    make(folder)  # writes the other files

    def compress() -> Result:
        return run_recipe(load_recipe(folder / "recipe.yaml"), output=tmp_path / "out", log=SilentLog(), cache=cache)

    fresh, again = compress(), compress()
    assert [run.report.steps[0].cached for run in (fresh, again)] == [False, True]
    assert again.report.lineage == fresh.report.lineage
    assert fresh.manifest is not None
    assert again.manifest is not None
    assert again.manifest.version == fresh.manifest.version
    assert again.manifest.lineage == fresh.manifest.lineage
    (folder / "helper.py").write_text("FACTOR = 2.0\n")
    changed = compress()
    assert not changed.report.steps[0].cached
    assert changed.manifest is not None
    assert changed.manifest.version != fresh.manifest.version


def test_the_version_of_a_package_that_an_entry_comes_from_is_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    install(site, "tinyaug", "1.0")
    (site / "tinyaug.py").write_text(AUGMENT)
    monkeypatch.syspath_prepend(str(site))
    first = make(tmp_path / "project", "tinyaug:augment")
    assert first.versions["tinyaug"] == "1.0"
    install(site, "tinyaug", "2.0")
    second = make(tmp_path / "project", "tinyaug:augment")
    assert second.versions["tinyaug"] == "2.0"
    assert second.key != first.key


def test_the_version_of_the_package_that_adds_a_step_is_part_of_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Foreign(StepConfig, tag="foreign", frozen=True, kw_only=True):
        pass

    project = make(tmp_path / "project")
    points = "[edgeglm.steps]\nforeign = tinystep:Foreign\n"
    install(tmp_path, "tinystep", "1.0", entry_points=points)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert step_parts(Foreign(), 0, project)["packages"] == ["tinystep 1.0"]
    install(tmp_path, "tinystep", "1.1", entry_points=points)
    assert step_parts(Foreign(), 0, project)["packages"] == ["tinystep 1.1"]


def test_a_source_that_gives_something_else_than_it_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE[: RECIPE.index("steps:")] + "artifacts: [{format: onnx}]\n")
    monkeypatch.setattr(PythonModel, "gives", "onnx")
    with pytest.raises(ModelError, match="says that it gives onnx, and gave network") as caught:
        make(tmp_path)
    assert caught.value.code == "plugin-invalid"


@pytest.mark.parametrize(
    ("group", "name"), [("edgeglm.sources", "python"), ("edgeglm.data", "python"), ("edgeglm.tasks", "classification")]
)
def test_the_version_of_a_package_that_adds_a_task_or_a_source_is_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, name: str
) -> None:
    first = make(tmp_path / "project")  # the tables are made now, before ours seem to come from elsewhere
    install(tmp_path / "site", "tinyplug", "1.0", entry_points=f"[{group}]\n{name} = tinyplug:Thing\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    second = make(tmp_path / "project")
    assert second.versions["tinyplug"] == "1.0"
    assert second.key != first.key


def test_weights_beside_an_onnx_file_are_part_of_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    weight = numpy_helper.from_array(np.ones((4, 2), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path), save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "recipe.yaml").write_text(
        RECIPE[: RECIPE.index("steps:")].replace(
            'source: python, entry: "./model.py:build"', "source: onnx, path: m.onnx"
        )
        + "artifacts:\n  - {format: onnx}\n"
    )

    def opened() -> Project:
        project = open_project(load_recipe(tmp_path / "recipe.yaml"), log=SilentLog())
        project.entries.close()
        return project

    before = opened()
    assert opened().key == before.key
    (tmp_path / "m.onnx.data").write_bytes(np.full((4, 2), 2.0, np.float32).tobytes())
    after = opened()
    assert after.weights_sha256 != before.weights_sha256
    assert after.key != before.key


def test_external_weights_inside_an_inner_graph_count_too(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="inner.bin")
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)],
        "inner",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1])],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner)],
        "g",
        [helper.make_tensor_value_info("b", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    (tmp_path / "inner.bin").write_bytes(b"0000")
    before = model_file_sha256(tmp_path / "m.onnx", "onnx")
    (tmp_path / "inner.bin").write_bytes(b"1111")
    assert model_file_sha256(tmp_path / "m.onnx", "onnx") != before


def test_calibration_samples_of_a_split_sorted_by_class_are_of_every_class() -> None:
    values = np.repeat(np.arange(10), 100).astype(np.float32)[:, None]
    split = ArraySplit({"x": values}, None)

    def drawn(seed: int) -> list[float]:
        return [float(row[0]) for batch in calibration_batches(split, 200, seed=seed) for row in batch["x"]]

    first = drawn(0)
    assert len(first) == 200
    assert min(np.bincount(np.array(first, int), minlength=10)) >= 10
    assert drawn(0) == first
    assert drawn(1) != first


def test_calibration_takes_each_sample_once_when_there_are_fewer_than_asked_for() -> None:
    split = ArraySplit({"x": np.arange(50)[:, None]}, None)
    drawn = [int(row[0]) for batch in calibration_batches(split, 256) for row in batch["x"]]
    assert sorted(drawn) == list(range(50))


@dataclass
class Settings:
    slope: float = 0.1


class Net(nn.Module):
    def __init__(self, scale: object = 1.0) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.layer(x)
        return answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1.0, -1.0),
        (True, 1),
        (None, "none"),
        ((1, 2), (2, 1)),
        ({"a": [1]}, {"a": [2]}),
        (torch.zeros(2), torch.ones(2)),
        (np.zeros(2), np.ones(2)),
        (Settings(0.1), Settings(0.2)),
        (torch.relu, torch.tanh),
    ],
)
def test_networks_that_differ_in_an_attribute_are_described_differently(one: object, other: object) -> None:
    assert module_text(Net(one)) != module_text(Net(other))
    assert module_text(Net(one)) == module_text(Net(one))


def test_a_buffer_that_is_not_saved_and_a_setting_of_torchs_own_layers_are_described() -> None:
    one, other = Net(), Net()
    one.register_buffer("mean", torch.zeros(2), persistent=False)
    other.register_buffer("mean", torch.ones(2), persistent=False)
    assert module_text(one) != module_text(other)
    assert module_text(nn.MultiheadAttention(8, 2)) != module_text(nn.MultiheadAttention(8, 4))


def test_a_network_is_described_alike_whatever_its_weights_and_mode() -> None:
    assert module_text(Net().eval()) == module_text(Net().train())
    assert " at 0x" not in module_text(nn.TransformerEncoderLayer(8, 2))


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
@pytest.mark.parametrize("name", ["weights.safetensors", "edits.json"])
def test_a_damaged_step_is_run_again_to_the_same_weights(tmp_path: Path, damage: bytes | None, name: str) -> None:
    project, cache = make(tmp_path / "project"), Cache(tmp_path / "cache")
    (first,) = run_steps(project, cache, SilentLog())
    weights = (first.folder / "weights.safetensors").read_bytes()
    (again,) = run_steps(project, cache, SilentLog())
    assert again.cached
    if damage is None:
        (first.folder / name).unlink()
    else:
        (first.folder / name).write_bytes(damage)
    (mended,) = run_steps(project, cache, SilentLog())
    assert not mended.cached
    assert (mended.folder / "weights.safetensors").read_bytes() == weights


def test_a_flipped_bit_in_kept_predictions_is_not_believed(tmp_path: Path) -> None:
    project, cache = make(tmp_path / "project"), Cache(tmp_path / "cache")
    evaluator = Evaluator(project, cache)
    expected = evaluator.predict_torch(project.original, "k")["eval"]  # type: ignore[arg-type]
    (entry,) = [entry for entry in cache.entries() if entry.kind == "predictions"]
    content = bytearray((entry.folder / OUTPUTS).read_bytes())
    content[-1] ^= 0x80
    for damage in (bytes(content), b"", b"\xff" * 40):
        (entry.folder / OUTPUTS).write_bytes(damage)
        found = evaluator.predict_torch(project.original, "k")["eval"]  # type: ignore[arg-type]
        assert all(np.array_equal(found[name], values) for name, values in expected.items())


def test_a_damaged_artifact_is_written_again(tmp_path: Path) -> None:
    from edgeglm.pipeline.build import Builder

    project, cache = make(tmp_path / "project"), Cache(tmp_path / "cache")
    builder = Builder(project, cache)
    first = builder.baseline()
    content = first.built.path.read_bytes()
    for damage in (content[:-1], b""):
        first.built.path.write_bytes(damage)
        again = builder.baseline()
        assert again.built.path.read_bytes() == content
        assert again == first


def test_predictions_of_a_file_belong_to_the_processor_that_made_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeglm.pipeline.build import Builder

    project, cache = make(tmp_path / "project"), Cache(tmp_path / "cache")
    file = Builder(project, cache).baseline()
    for features in (["avx2"], ["avx2"], ["avx2", "avx512_vnni"]):
        monkeypatch.setattr("edgeglm.pipeline.evaluation.cpu_features", lambda features=features: features)
        Evaluator(project, cache).predict_file(file.built.path, file_format="onnx", sha256=file.sha256)
    assert len([entry for entry in cache.entries() if entry.kind == "predictions"]) == 2
