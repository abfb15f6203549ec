"""Static INT8 by each library alone, as its documentation shows it: what our files are measured beside.

Every function takes an FP32 file, the file to write, and calibration samples: one dict an inference, input name -> array
with a batch axis of one, channels first.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from common import HERE

Rows = list[dict[str, np.ndarray]]


def rows_of(batches: Iterable[dict[str, np.ndarray]]) -> Rows:
    """Return batches row by row."""
    return [
        {name: values[i : i + 1] for name, values in batch.items()}
        for batch in batches
        for i in range(len(next(iter(batch.values()))))
    ]


def onnxruntime_static(source: Path, target: Path, rows: Rows) -> None:
    """Pre-process, then QDQ with u8 activations and s8 weights a channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(rows)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(target),
        Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def ai_edge_quantizer_static(source: Path, target: Path, rows: Rows) -> None:
    """The library's own static recipe and its default calibration, of a litert-torch file (channels last)."""
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    turned = [{name: np.ascontiguousarray(np.moveaxis(v, 1, -1)) for name, v in row.items()} for row in rows]
    calibration = tool.calibrate({"serving_default": turned})
    target.unlink(missing_ok=True)
    tool.quantize(calibration).export_model(str(target))


def nncf_static(source: Path, target: Path, rows: Rows, *, transformer: bool = False) -> None:
    """nncf.quantize on the converted ONNX file, its inputs reshaped to what is served."""
    from edgeglm_agent.offline import block_openvino_telemetry, go_offline

    go_offline()
    block_openvino_telemetry()
    import nncf
    import openvino
    from openvino.tools.ovc import convert_model

    model = convert_model(str(source))
    model.reshape({name: list(values.shape) for name, values in rows[0].items()})
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    done = nncf.quantize(model, nncf.Dataset(rows), model_type=kind, subset_size=len(rows))
    openvino.save_model(done, str(target), compress_to_fp16=False)


def olive_static(source: Path, target: Path, rows: Rows) -> None:
    """Olive's OnnxStaticQuantization, in the environment that EDGEGLM_BENCH_OLIVE names."""
    samples = target.with_suffix(".npz")
    np.savez(samples, **{name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
    script = HERE / "peers" / "olive_quantize.py"
    subprocess.run([os.environ["EDGEGLM_BENCH_OLIVE"], str(script), str(source), str(target), str(samples)], check=True)
