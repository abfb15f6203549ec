"""The first files of a new recipe: they load, they run, and what the user has is never lost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from edgeglm_agent.processing import Preprocess
from safetensors.torch import save_file
from torch import nn

from edgeglm.boards import BOARDS
from edgeglm.checks.check import check_recipe
from edgeglm.cli import making
from edgeglm.errors import EdgeglmError, EntryError, ModelError, RecipeError, UserError
from edgeglm.model import Model
from edgeglm.recipe import load_recipe
from edgeglm.scaffold import init
from edgeglm.scaffold.architecture import recognise
from edgeglm.sources.entry import Entries
from edgeglm.tasks import Classification
from tests.support.drafts import opened, photos, unfinished, valid


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Work in an empty folder, as a user does."""
    monkeypatch.chdir(tmp_path)
    yield
    if Entries._active is not None:
        Entries._active.close()


def command(directory: str, *given: Any) -> None:
    """Run `edgeglm init` as the command line does."""
    making.init(Path(directory), *given, target="x86-64")


# --- the example


def test_the_example_is_right_and_its_network_knows_its_data() -> None:
    written = init(Path("first")).files
    assert {path.name for path in written} == {
        "recipe.yaml",
        "model.py",
        "data.py",
        "labels.txt",
        "train.py",
        "shapes.safetensors",
    }
    loaded = valid(Path("first"))
    assert loaded.recipe.name == "first"
    assert loaded.recipe.steps
    model, data = opened(loaded)
    assert data.warnings == ()
    assert data.labels == ("circle", "square", "triangle", "cross")
    with torch.no_grad():
        logits = model.module(torch.from_numpy(data.evaluation.rows(np.arange(len(data.evaluation)))["input"]))
    result = Classification().evaluate({"logits": logits.numpy()}, data.evaluation.targets, data.labels)
    assert result.metric.value > 0.97


@pytest.mark.parametrize("target", list(BOARDS))
def test_the_example_can_be_made_for_every_board(target: str) -> None:
    init(Path("first"), target=target)
    assert valid(Path("first")).recipe.target == target


@pytest.mark.parametrize("name", ["my model", "kws_2", "-x", "über", "..."])
def test_a_folder_of_any_name_gives_a_valid_recipe(name: str) -> None:
    init(Path(name))
    assert load_recipe(Path(name) / "recipe.yaml").recipe.name


def test_a_board_that_does_not_exist_is_refused_with_the_closest_name() -> None:
    with pytest.raises(UserError, match="unknown target `rpi-5`") as caught:
        init(Path("first"), target="rpi-5")
    assert "rpi5" in caught.value.problems[0].hint
    assert caught.value.code == "init-target"
    assert not Path("first").exists()


# --- nothing is lost


@pytest.mark.parametrize("name", ["recipe.yaml", "model.py", "shapes.safetensors"])
def test_a_file_that_exists_is_left_alone_and_nothing_is_written(name: str) -> None:
    Path("first").mkdir()
    (Path("first") / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name} exists already") as caught:
        init(Path("first"))
    assert (caught.value.code, caught.value.exit_code) == ("init-exists", 2)
    assert [path.name for path in Path("first").iterdir()] == [name]
    assert (Path("first") / name).read_text() == "mine"


def test_a_link_to_nowhere_is_not_written_through() -> None:
    Path("first").mkdir()
    Path("first/recipe.yaml").symlink_to("elsewhere")
    with pytest.raises(UserError, match="exists already"):
        init(Path("first"))
    assert not Path("elsewhere").exists()


def test_other_files_in_the_folder_do_not_hinder() -> None:
    Path("first").mkdir()
    Path("first/notes.txt").write_text("mine")
    init(Path("first"))
    assert Path("first/notes.txt").read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_refused() -> None:
    Path("first").write_text("mine")
    with pytest.raises(UserError, match="this is a file"):
        init(Path("first"))
    assert Path("first").read_text() == "mine"


def test_a_failure_half_way_takes_back_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeglm import scaffold

    real, count = scaffold.write_bytes, []

    def failing(path: Path, content: bytes) -> None:
        count.append(path)
        if len(count) == 3:
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(scaffold, "write_bytes", failing)
    with pytest.raises(OSError, match="No space"):
        init(Path("first"))
    assert list(Path("first").iterdir()) == []


# --- the user's own model and images


def mlp(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3 * 16 * 16, 20), nn.ReLU(), nn.Linear(20, classes))


def cnn(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 6 * 6, 32),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(32, classes),
    )


def pooled(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
    )


def flat_first(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), *mlp(classes))


@pytest.mark.parametrize(("make", "side"), [(mlp, 16), (flat_first, 16), (cnn, 24), (pooled, 32)])
def test_a_plain_sequential_becomes_a_draft_that_runs_and_says_what_it_guessed(make: Any, side: int) -> None:
    torch.manual_seed(0)
    network = make().eval()
    torch.save(network.state_dict(), "m.pt")
    init(Path("mine"), model=Path("m.pt"), images=photos(Path("photos")), target="rpi5")
    loaded = valid(Path("mine"))
    assert loaded.recipe.target == "rpi5"
    assert loaded.recipe.preprocess[0].settings["height"] == side
    text = Path("mine/model.py").read_text()
    assert "DRAFT" in text
    model, data = opened(loaded)
    rows = torch.from_numpy(data.evaluation.rows(np.arange(4))["input"])
    expected = network(rows.flatten(1)) if make is mlp else network(rows)
    with torch.no_grad():
        assert torch.allclose(model.module(rows), expected, atol=1e-6)
    assert data.labels == ("cat", "dog", "owl")


def resnet_shapes(blocks: tuple[int, ...], *, bottleneck: bool, classes: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), "bn1.weight": (64,)}
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (64, 64, 1, 1) if bottleneck else (64, 64, 3, 3)
            if bottleneck:
                shapes[f"{name}.conv3.weight"] = (256, 64, 1, 1)
    return shapes | {"fc.weight": (classes, 2048 if bottleneck else 512), "fc.bias": (classes,)}


@pytest.mark.parametrize(
    ("blocks", "bottleneck", "name"),
    [((2, 2, 2, 2), False, "resnet18"), ((3, 4, 6, 3), False, "resnet34"), ((3, 4, 6, 3), True, "resnet50")],
)
def test_torchvisions_resnets_are_recognised(blocks: tuple[int, ...], bottleneck: bool, name: str) -> None:
    found = recognise(resnet_shapes(blocks, bottleneck=bottleneck, classes=7))
    assert found is not None
    assert found.expression == f"torchvision.models.{name}(weights=None, num_classes=7)"
    assert (found.classes, found.channels, found.imagenet, found.assumed) == (7, 3, True, ())
    wrapped = {f"module.{key}": shape for key, shape in resnet_shapes(blocks, bottleneck=bottleneck, classes=7).items()}
    assert recognise(wrapped) == found


def test_resnets_of_other_shapes_are_not_taken_for_torchvisions() -> None:
    shapes = resnet_shapes((2, 2, 2, 2), bottleneck=False, classes=7)
    assert recognise(shapes | {"conv1.weight": (64, 3, 3, 3)}) is None
    assert recognise(shapes | {"layer1.0.conv1.weight": (128, 64, 3, 3)}) is None
    assert recognise(shapes | {"layer1.0.se.fc1.weight": (4, 64)}) is None
    assert recognise(resnet_shapes((2, 2, 2, 3), bottleneck=False, classes=7)) is None


@pytest.mark.parametrize(
    ("stem", "last", "more"), [(32, 320, ""), (16, 160, ", width_mult=0.5"), (48, 448, ", width_mult=1.4")]
)
def test_torchvisions_mobilenets_are_recognised_with_their_width(stem: int, last: int, more: str) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "features.0.0.weight": (stem, 3, 3, 3),
        "features.1.conv.0.0.weight": (stem, 1, 3, 3),
        "features.18.0.weight": (1280, last, 1, 1),
        "classifier.1.weight": (5, 1280),
    }
    found = recognise(shapes)
    assert found is not None
    assert found.expression == f"torchvision.models.mobilenet_v2(weights=None, num_classes=5{more})"
    assert recognise(shapes | {"features.18.0.weight": (1280, 77, 1, 1)}) is None


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_what_is_written_for_torchvision_is_python_and_check_says_that_torchvision_is_missing(name: str) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "features.0.0.weight": (16, 3, 3, 3),
        "features.1.conv.0.0.weight": (16, 1, 3, 3),
        "features.18.0.weight": (1280, 160, 1, 1),
        "classifier.1.weight": (3, 1280),
    }
    if name == "resnet18":
        shapes = resnet_shapes((2, 2, 2, 2), bottleneck=False, classes=3)
    save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, "m.safetensors")
    init(Path("mine"), model=Path("m.safetensors"), images=photos(Path("photos")))
    tree = ast.parse(Path("mine/model.py").read_text())
    (call,) = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    assert ast.unparse(call.func) == f"torchvision.models.{name}"
    assert "weights" in {keyword.arg for keyword in call.keywords}
    with pytest.raises(RecipeError) as checked:
        check_recipe(Path("mine/recipe.yaml"))
    with pytest.raises(EntryError) as ran:
        opened(load_recipe(Path("mine/recipe.yaml")))
    for caught in (checked.value, ran.value):
        assert caught.code == "entry-import-failed"
        assert "imports `torchvision`, which is not installed here" in str(caught)
        assert "install `torchvision` into the environment" in str(caught.problems[0].hint)
    assert "model.py:8" in str(checked.value)


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.fc1 = nn.Linear(4, 3)


@pytest.mark.parametrize(
    "network",
    [
        Custom(),
        nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4)),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 1)),
        nn.Sequential(nn.Conv2d(3, 8, 3), *[nn.ReLU()] * 5, nn.Conv2d(8, 3, 1), nn.Flatten(), nn.Linear(3, 3)),
    ],
    ids=["named", "grouped", "lstm", "no-head", "long-gap"],
)
def test_a_network_that_the_weights_do_not_tell_is_left_to_the_user_with_its_table(network: nn.Module) -> None:
    save_file(network.state_dict(), "m.safetensors")
    init(Path("mine"), model=Path("m.safetensors"), images=photos(Path("photos")))
    loaded = unfinished(Path("mine"), "model.entry")
    text = Path("mine/model.py").read_text()
    assert all(name in text for name in network.state_dict())
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "raise NotImplementedError" in line)
    with pytest.raises(EntryError, match="return your network here") as caught:
        opened(loaded)
    assert caught.value.problems[0].where == f"mine/model.py:{line}"


def test_names_in_a_file_of_weights_cannot_become_code() -> None:
    save_file({"a\nimport os; os.mkdir('ran')\n#": torch.zeros(3, 2)}, "m.safetensors")
    init(Path("mine"), model=Path("m.safetensors"), images=photos(Path("photos")))
    with pytest.raises(EntryError, match="return your network here"):
        opened(unfinished(Path("mine"), "model.entry"))
    assert not Path("ran").exists()


def test_the_users_function_is_named_as_seen_from_the_recipe() -> None:
    Path("src").mkdir()
    Path("src/nets.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))\n"
    )
    save_file(nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)).state_dict(), "m.safetensors")
    written = init(
        Path("mine"), model=Path("m.safetensors"), images=photos(Path("photos")), entry="src/nets.py:make"
    ).files
    assert {path.name for path in written} == {"recipe.yaml", "labels.txt"}
    loaded = valid(Path("mine"))
    assert loaded.recipe.model.entry == "../src/nets.py:make"
    assert loaded.recipe.model.weights == "../m.safetensors"
    assert isinstance(opened(loaded)[0], Model)


def test_a_function_that_does_not_exist_is_refused_before_anything_is_written() -> None:
    Path("nets.py").write_text("def make(): ...\n")
    with pytest.raises(EntryError, match="has no `mkae`"):
        init(Path("mine"), entry="nets.py:mkae")
    assert not Path("mine").exists()


def test_a_full_pickle_is_refused_with_the_snippet_that_converts_it() -> None:
    torch.save(mlp(), "m.pt")
    with pytest.raises(ModelError) as caught:
        init(Path("mine"), model=Path("m.pt"), images=photos(Path("photos")))
    assert caught.value.code == "weights-pickle"
    assert "weights_only=False" in caught.value.problems[0].hint
    assert not Path("mine").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_network_is_refused() -> None:
    torch.jit.save(torch.jit.script(pooled()), "m.pt")
    with pytest.raises(ModelError) as caught:
        init(Path("mine"), model=Path("m.pt"))
    assert caught.value.code == "weights-torchscript"


def test_images_of_other_classes_than_the_models_are_refused() -> None:
    save_file(cnn(5).state_dict(), "m.safetensors")
    with pytest.raises(UserError, match="has 5 outputs, and the images are of 3 classes: cat, dog, owl") as caught:
        init(Path("mine"), model=Path("m.safetensors"), images=photos(Path("photos")))
    assert caught.value.code == "init-classes"
    assert not Path("mine").exists()


def test_init_says_what_is_left_to_the_user() -> None:
    save_file(Custom().state_dict(), "m.safetensors")
    to_do = init(Path("custom"), model=Path("m.safetensors"), images=photos(Path("photos"))).to_do
    assert to_do[0] == "complete custom/model.py: `build` raises NotImplementedError until it returns your network"
    assert any("preprocess" in line and "custom/recipe.yaml" in line for line in to_do)
    save_file(mlp().state_dict(), "mlp.safetensors")
    assert "a draft" in init(Path("known"), model=Path("mlp.safetensors"), images=Path("photos")).to_do[0]
    assert init(Path("bare")).to_do == []
    to_do = init(Path("nodata"), model=Path("mlp.safetensors")).to_do
    assert any(line.startswith("complete nodata/data.py: `load`") for line in to_do)


def test_a_model_without_data_gets_a_place_to_load_it() -> None:
    save_file(cnn().state_dict(), "m.safetensors")
    init(Path("mine"), model=Path("m.safetensors"))
    loaded = unfinished(Path("mine"), "data.entry")
    with pytest.raises(EntryError, match="return the samples of 'train' here") as caught:
        loaded.recipe.data.load(
            Entries(loaded.folder), preprocess=Preprocess(), task=Classification(), labels=(), seed=0
        )
    assert caught.value.problems[0].where.startswith("mine/data.py:")


def test_a_missing_or_damaged_model_is_refused_before_anything_is_written() -> None:
    Path("m.pt").write_bytes(b"PK\x03\x04 cut short")
    for name, code in (("none.pt", "model-file-missing"), ("m.pt", "weights-corrupt")):
        with pytest.raises(EdgeglmError) as caught:
            init(Path("mine"), model=Path(name))
        assert caught.value.code == code
    assert not Path("mine").exists()


def test_the_next_command_can_be_pasted_and_what_is_left_to_do_stands_before_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command("neu ü", None, None, None)
    assert capsys.readouterr().err == "next: edgeglm compress 'neu ü/recipe.yaml'\n"
    save_file(Custom().state_dict(), "m.safetensors")
    command("mine 2", Path("m.safetensors"), photos(Path("photos")), None)
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out.splitlines() == ["mine 2/recipe.yaml", "mine 2/labels.txt", "mine 2/model.py"]
    assert lines[0].startswith("to do: complete mine 2/model.py")
    assert lines[-1] == "next: edgeglm check 'mine 2/recipe.yaml'"
    assert Path("mine 2/recipe.yaml").read_text().startswith("# edgeglm check 'mine 2/recipe.yaml'\n")


# --- models that are files already


def test_an_onnx_file_gives_a_recipe_without_steps_in_its_own_size() -> None:
    graph = onnx.parser.parse_graph(
        "tiny (float[batch, 3, 24, 24] image) => (float[batch, 3] logits)"
        "{ mean = GlobalAveragePool(image)  logits = Flatten(mean) }"
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), "m.onnx")
    init(Path("mine"), model=Path("m.onnx"), images=photos(Path("photos")))
    loaded = valid(Path("mine"))
    recipe = loaded.recipe
    assert (recipe.model.path, recipe.steps, [a.format for a in recipe.artifacts]) == ("../m.onnx", [], ["auto"])
    assert recipe.preprocess[0].settings["height"] == 24
    assert opened(loaded)[1].evaluation.rows(np.arange(1))["input"].shape == (1, 3, 24, 24)


def onnx_file(outputs: str, body: str) -> Path:
    graph = onnx.parser.parse_graph(f"tiny (float[batch, 3, 24, 24] image) => ({outputs}) {{ {body} }}")
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, "m.onnx")
    return Path("m.onnx")


CLASSIFIER = "mean = GlobalAveragePool(image)  logits = Flatten(mean)"


def test_a_file_of_more_classes_than_there_are_folders_is_refused() -> None:
    model = onnx_file("float[batch, 3] logits", CLASSIFIER)
    with pytest.raises(UserError, match="has 3 outputs, and the images are of 4 classes") as caught:
        init(Path("mine"), model=model, images=photos(Path("photos"), ("a", "b", "c", "d")))
    assert caught.value.code == "init-classes"
    assert not Path("mine").exists()


def test_a_detectors_file_is_refused_as_no_classifier() -> None:
    model = onnx_file("float[batch, 3, 12, 12] boxes", "boxes = MaxPool<kernel_shape=[2,2], strides=[2,2]>(image)")
    with pytest.raises(ModelError, match=r"no classifier.*`boxes` \[3, 12, 12\]") as caught:
        init(Path("mine"), model=model, images=photos(Path("photos")))
    assert caught.value.code == "output-not-logits"
    assert not Path("mine").exists()


def test_logits_that_are_not_the_first_output_are_named_in_the_recipe() -> None:
    model = onnx_file("float[batch, 3, 1, 1] mean, float[batch, 3] logits", CLASSIFIER)
    init(Path("mine"), model=model, images=photos(Path("photos")))
    assert valid(Path("mine")).recipe.task.output == "logits"


def test_a_file_that_is_quantized_already_is_refused() -> None:
    small = "small = Constant<value = int8[3, 3] {1,2,3,4,5,6,7,8,9}>()  scale = Constant<value = float {0.5}>()"
    body = "weights = DequantizeLinear(small, scale)  flat = Flatten(mean)  logits = MatMul(flat, weights)"
    model = onnx_file("float[batch, 3] logits", f"{small} mean = GlobalAveragePool(image) {body}")
    with pytest.raises(ModelError, match="quantized already: its weights are int8") as caught:
        init(Path("mine"), model=model, images=photos(Path("photos")))
    assert caught.value.code == "already-quantized"


def test_a_file_needs_no_function_that_builds_it() -> None:
    Path("m.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="no function builds") as caught:
        init(Path("mine"), model=Path("m.onnx"), entry="nets.py:make")
    assert caught.value.code == "init-entry"


def test_a_damaged_onnx_file_is_refused_before_anything_is_written() -> None:
    Path("m.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError) as caught:
        init(Path("mine"), model=Path("m.onnx"))
    assert caught.value.code == "file-unloadable"
    assert not Path("mine").exists()


def test_what_is_written_is_formatted() -> None:
    root = photos(Path("photos"))
    save_file(mlp().state_dict(), "mlp.safetensors")
    save_file(Custom().state_dict(), "custom.safetensors")
    init(Path("example"))
    init(Path("known"), model=Path("mlp.safetensors"), images=root)
    init(Path("unknown"), model=Path("custom.safetensors"))
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["format", "--check", "--isolated", "--line-length=120", "."], ["check", "--isolated", "."]):
        done = subprocess.run([*ruff, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    for path in Path().glob("*/recipe.yaml"):
        text = path.read_text()
        assert "\n\n\n" not in text
        assert "$" not in text
        assert max(map(len, text.splitlines())) <= 120
