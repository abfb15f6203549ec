"""What a file of weights tells about its network: the table of its tensors, and now and then the whole network.

Weights do not say which activations, strides or pooling lie between the layers. Only what names and shapes prove is
taken for known (torchvision's ResNet and MobileNetV2); a plain `nn.Sequential` is a draft whose guesses are marked.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]  # tensor -> shape

_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")
_RESNETS: dict[tuple[tuple[int, ...], bool], int] = {  # blocks of the four stages, bottlenecks or not -> depth
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
_RESNET_KEY = re.compile(r"(conv1|bn1|fc|layer[1-4]\.\d+\.((conv|bn)[1-3]|downsample\.[01]))\.\w+")
_MOBILENET_WIDTHS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_LAYER_KEY = re.compile(r"(\d+)\.(weight|bias|running_mean|running_var|num_batches_tracked)")


@dataclass(frozen=True)
class Architecture:
    """A network that weights are likely from."""

    name: str  # as a user would say it
    imports: str  # lines of model.py
    expression: str  # Python that builds it
    classes: int
    channels: int | None  # of the images it takes; None: not images
    side: int | None = None  # pixels, where the shapes tell
    imagenet: bool = False  # usually trained on images normalised as ImageNet's
    assumed: tuple[str, ...] = ()  # what the weights do not say


def recognise(shapes: Shapes, *, image_channels: int | None = None) -> Architecture | None:
    """Return the network that these tensors belong to, or None when names and shapes do not tell.

    Args:
        shapes: Name -> shape, as the file has them.
        image_channels: Of the user's images, where there are any: a network that begins with a linear layer gets
            them flattened.
    """
    shapes = without_wrappers(shapes)
    return _resnet(shapes) or _mobilenet(shapes) or _sequential(shapes, image_channels)


def without_wrappers(shapes: Shapes) -> Shapes:
    """Return the tensors without what training wrappers put before every name."""
    for prefix in _WRAPPERS:
        if shapes and all(name.startswith(prefix) for name in shapes):
            return without_wrappers({name.removeprefix(prefix): shape for name, shape in shapes.items()})
    return shapes


def table(shapes: Shapes) -> str:
    """Return the tensors, one a line: shape and name; counters of batch norms are left out."""
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    width = max((len(_size(shape)) for shape in shapes.values()), default=0)
    return "\n".join(f"{_size(shape):<{width}}  {shown(name)}" for name, shape in shapes.items())


def shown(name: str) -> str:
    """Return a name from a file on one line: it goes into Python code, and a line break would end the comment there."""
    return name.encode("unicode_escape").decode()


def last_layer(shapes: Shapes) -> tuple[str, int] | None:
    """Return name and outputs of what is probably the head: the last matrix."""
    matrices = [(name, shape[0]) for name, shape in shapes.items() if len(shape) == 2]
    return matrices[-1] if matrices else None


def image_channels(shapes: Shapes) -> int | None:
    """Return how many channels the first convolution takes, 3 or 1, where the shapes tell; None where they do not."""
    taken = [shape[1] for shape in shapes.values() if len(shape) == 4]
    if 3 in taken:
        return 3
    return 1 if taken.count(1) == 1 else None  # several: depthwise convolutions take 1 each


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _resnet(shapes: Shapes) -> Architecture | None:
    if shapes.get("conv1.weight") != (64, 3, 7, 7) or "fc.weight" not in shapes:
        return None
    blocks = tuple(
        len({name.split(".")[1] for name in shapes if name.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)
    )
    bottleneck = "layer1.0.conv3.weight" in shapes
    first = (64, 64, 1, 1) if bottleneck else (64, 64, 3, 3)
    depth = _RESNETS.get((blocks, bottleneck))
    if depth is None or shapes.get("layer1.0.conv1.weight") != first or not all(map(_RESNET_KEY.fullmatch, shapes)):
        return None  # wide, grouped, or somebody's own
    return _torchvision(f"resnet{depth}", shapes["fc.weight"][0])


def _mobilenet(shapes: Shapes) -> Architecture | None:
    stem, head = shapes.get("features.0.0.weight"), shapes.get("classifier.1.weight")
    last = shapes.get("features.18.0.weight")
    if stem is None or head is None or last is None or "features.1.conv.0.0.weight" not in shapes:
        return None
    for width in _MOBILENET_WIDTHS:
        widths = (_multiple_of_8(32 * width), _multiple_of_8(320 * width))
        if stem == (widths[0], 3, 3, 3) and last[1] == widths[1]:
            return _torchvision("mobilenet_v2", head[0], "" if width == 1.0 else f", width_mult={width}")
    return None


def _multiple_of_8(channels: float) -> int:
    """Round as MobileNetV2 does: to a multiple of 8, and never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _torchvision(name: str, classes: int, more: str = "") -> Architecture:
    return Architecture(
        name=f"torchvision's {name}",
        imports="import torchvision",
        expression=f"torchvision.models.{name}(weights=None, num_classes={classes}{more})",
        classes=classes,
        channels=3,
        imagenet=True,
    )


def _sequential(shapes: Shapes, image_channels: int | None) -> Architecture | None:
    """Return a draft of a plain nn.Sequential of convolutions, batch norms and linear layers."""
    places: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = _LAYER_KEY.fullmatch(name)
        if match is None:
            return None
        places.setdefault(int(match[1]), {})[match[2]] = shape
    if not places or any("weight" not in tensors for tensors in places.values()):
        return None
    draft = _Draft(flat_input=len(places[min(places)]["weight"]) == 2)
    for index in sorted(places):
        if not draft.fill(index, places[index]) or not draft.add(index, places[index]):
            return None
    if draft.features is None or not draft.linear:
        return None
    channels, side = draft.channels, draft.side
    if channels is None and image_channels is not None:  # linear layers on flattened images
        side = math.isqrt(draft.inputs // image_channels)
        if image_channels * side * side != draft.inputs:
            return None
        channels = image_channels
        if not draft.starts_flat:
            draft.assumed.append("images are flattened before the first layer")
    body = ",\n        ".join(draft.lines)
    expression = f"nn.Sequential(\n        {body},\n    )"
    if channels is not None and draft.flat_input and not draft.starts_flat:
        expression = f"Flattened(\n        {body},\n    )"
    return Architecture(
        name="a plain nn.Sequential",
        imports="from torch import Tensor, nn" if expression.startswith("Flattened") else "from torch import nn",
        expression=expression,
        classes=draft.features,
        channels=channels,
        side=side,
        assumed=tuple(draft.assumed),
    )


class _Draft:
    """The layers of an nn.Sequential, written from the first to the last; gaps in the numbers are guessed."""

    def __init__(self, *, flat_input: bool) -> None:
        self.lines: list[str] = []
        self.assumed: list[str] = []
        self.flat_input = flat_input
        self.starts_flat = False
        self.channels: int | None = None  # of the first convolution's input
        self.inputs = 0  # of a first linear layer
        self.side: int | None = None
        self.features: int | None = None  # that come out of the last layer
        self.linear = False  # whether the last layer with weights was linear
        self._pools = 0

    def fill(self, index: int, tensors: dict[str, tuple[int, ...]]) -> bool:
        """Guess the layers without weights before this one; False when there is no plausible guess."""
        gap = index - len(self.lines)
        becomes_linear = len(tensors["weight"]) == 2
        if self.features is None:  # before the first layer
            if gap == 1 and becomes_linear:
                self.starts_flat = True
                self._guess("nn.Flatten()")
                return True
            return gap == 0
        if becomes_linear and not self.linear:
            return self._flatten(gap, tensors["weight"][1])
        choices = {
            0: [],
            1: ["nn.ReLU()"],
            2: ["nn.ReLU()", "nn.Dropout(0.5)" if self.linear else "nn.MaxPool2d(2)"],
        }
        if gap not in choices:
            return False
        self._pools += "nn.MaxPool2d(2)" in choices[gap]
        self._guess(*choices[gap])
        return True

    def _flatten(self, gap: int, inputs: int) -> bool:
        assert self.features is not None
        if inputs % self.features:
            return False
        cells = inputs // self.features
        side = math.isqrt(cells)
        if cells == 1:
            mean = ["nn.AdaptiveAvgPool2d(1)", "nn.Flatten()"]
            choices = {2: mean, 3: ["nn.ReLU()", *mean]}
        else:
            choices = {
                1: ["nn.Flatten()"],
                2: ["nn.ReLU()", "nn.Flatten()"],
                3: ["nn.ReLU()", "nn.MaxPool2d(2)", "nn.Flatten()"],
            }
        if gap not in choices or side * side != cells:
            return False
        self._pools += "nn.MaxPool2d(2)" in choices[gap]
        self._guess(*choices[gap])
        if cells > 1:
            self.side = side * 2**self._pools
        return True

    def _guess(self, *layers: str) -> None:
        for layer in layers:
            self.assumed.append(f"{layer} at place {len(self.lines)}")
            self.lines.append(layer)

    def add(self, index: int, tensors: dict[str, tuple[int, ...]]) -> bool:
        """Write the layer that these tensors belong to; False when it is of no kind known here."""
        assert index == len(self.lines)
        weight, bias = tensors["weight"], "" if "bias" in tensors else ", bias=False"
        if len(weight) == 4:
            if self.linear or (self.features is not None and weight[1] != self.features) or weight[2] != weight[3]:
                return False  # grouped, or not square
            padding = weight[2] // 2
            self.lines.append(f"nn.Conv2d({weight[1]}, {weight[0]}, {weight[2]}, padding={padding}{bias})")
            self.assumed.append(f"stride 1 and padding {padding} of the convolution at place {index}")
            self.channels = self.channels or weight[1]
        elif len(weight) == 2:
            self.inputs = self.inputs or weight[1]
            self.lines.append(f"nn.Linear({weight[1]}, {weight[0]}{bias})")
            self.linear = True
        elif len(weight) == 1 and "running_mean" in tensors and self.features == weight[0]:
            self.lines.append(f"nn.BatchNorm{1 if self.linear else 2}d({weight[0]})")
            return True
        else:
            return False
        self.features = weight[0]
        return True
