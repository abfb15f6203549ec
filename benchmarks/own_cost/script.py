"""The library calls of recipe.yaml in one script, as an engineer would write them by hand."""

from __future__ import annotations

import math
import sys
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnxruntime
import onnxslim
import torch
import torch_pruning as tp
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shapes"))
from data import load
from model import resnet8

EPOCHS, BATCH, RATE, WARMUP = 30, 32, 2e-3, 0.05


def train(net: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.nn.Module:
    """AdamW with warm-up and cosine; the epoch that is best on a tenth of the data is kept."""
    order = torch.randperm(len(inputs))
    held, learnt = order[: len(inputs) // 10], order[len(inputs) // 10 :]
    per_epoch = math.ceil(len(learnt) / BATCH)
    total = EPOCHS * per_epoch
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-4)
    warmup = int(WARMUP * total)
    best, best_net, step = -1.0, net, 0
    for _ in range(EPOCHS):
        net.train()
        for rows in learnt[torch.randperm(len(learnt))].split(BATCH):
            share = (
                (step + 1) / warmup if step < warmup else 0.5 * (1 + np.cos(np.pi * (step - warmup) / (total - warmup)))
            )
            optimizer.param_groups[0]["lr"] = RATE * share
            loss = functional.cross_entropy(net(inputs[rows]), targets[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            step += 1
        net.eval()
        with torch.no_grad():
            accuracy = (net(inputs[held]).argmax(1) == targets[held]).float().mean().item()
        if accuracy > best:
            best, best_net = accuracy, deepcopy(net)
    return best_net


def export(net: torch.nn.Module, sample: torch.Tensor, path: Path) -> None:
    """Export, slim and check one FP32 file."""
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        net,
        (sample,),
        str(path),
        dynamo=True,
        external_data=False,
        opset_version=20,
        input_names=["input"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
        verbose=False,
    )
    onnxslim.slim(str(path), str(path))


class Reader(CalibrationDataReader):
    """One sample at a time."""

    def __init__(self, inputs: np.ndarray) -> None:
        self.rows = iter([{"input": inputs[i : i + 1]} for i in range(len(inputs))])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rows, None)


def evaluate(path: Path, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, onnxruntime.InferenceSession]:
    """Return accuracy at batch 1."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    right = sum(
        int(session.run(None, {"input": inputs[i : i + 1]})[0].argmax() == targets[i]) for i in range(len(targets))
    )
    return right / len(targets), session


def main() -> None:
    """Run it all."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    shape = {"height": 32, "width": 32, "channels": 3}
    (x, y), (calibration, _), (held, labels) = (load(split, **shape) for split in ("train", "calibration", "eval"))
    net = resnet8().eval()
    sample = torch.from_numpy(held[:2])
    export(net, sample, folder / "fp32.onnx")
    pruned = deepcopy(net)
    tp.pruner.BasePruner(
        pruned,
        sample,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        round_to=8,
        ignored_layers=[pruned[-1]],
    ).step()
    final = train(pruned, torch.from_numpy(x), torch.from_numpy(y)).eval()
    with torch.no_grad():
        print("torch", (final(torch.from_numpy(held)).argmax(1).numpy() == labels).mean())
    export(final, sample, folder / "final.onnx")
    quant_pre_process(str(folder / "final.onnx"), str(folder / "prepared.onnx"), skip_symbolic_shape=True)
    quantize_static(
        str(folder / "prepared.onnx"),
        str(folder / "int8.onnx"),
        Reader(calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    sessions = {}
    for name in ("fp32", "int8", "final"):
        accuracy, sessions[name] = evaluate(folder / f"{name}.onnx", held, labels)
        print(name, accuracy)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(400):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {"input": held[:1]})
            times[name].append(time.perf_counter() - start)
    print({name: float(np.median(values)) for name, values in times.items()})


if __name__ == "__main__":
    main()
