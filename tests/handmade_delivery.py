"""Exports made by hand, in milliseconds: the files of a delivered pick, with an int8 file that LiteRT really runs."""

import math
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as lite

from edgeflownas.artifacts import read_json, sha256_file, write_bytes, write_json, write_text
from edgeflownas.config import Config
from edgeflownas.deploy.bundle import write_golden
from edgeflownas.deploy.export import FACTS, SCHEMA, Named
from edgeflownas.deploy.litert import LiteModel

TARGET = "arm_high_end"
INPUT_SCALE, OUTPUT_SCALE = 1 / 127.5, 0.125
FILES = ("model.keras", "int8_vela.tflite", "model.h", "model_card.md")


def int8_file(height: int, width: int, seed: int) -> bytes:
    """A LiteRT file of one 1×1 convolution, both frames in and two channels out, int8 from end to end."""
    rng = np.random.default_rng(seed)
    content = [b"", rng.integers(-127, 128, (2, 1, 1, 6), np.int8).tobytes(), np.zeros(2, "<i4").tobytes()]
    weight_scale = 0.01
    tensors = [
        _tensor("frames", (1, height, width, 6), lite.TensorType.INT8, 0, (INPUT_SCALE, -1)),
        _tensor("kernel", (2, 1, 1, 6), lite.TensorType.INT8, 1, (weight_scale, 0)),
        _tensor("bias", (2,), lite.TensorType.INT32, 2, (INPUT_SCALE * weight_scale, 0)),
        _tensor("flow", (1, height, width, 2), lite.TensorType.INT8, 0, (OUTPUT_SCALE, 0)),
    ]
    options = lite.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    operator = lite.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType, operator.builtinOptions = lite.BuiltinOptions.Conv2DOptions, options
    graph = lite.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [3], [operator]
    code = lite.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = lite.BuiltinOperator.CONV_2D
    code.version = 3
    model = lite.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [_buffer(data) for data in content]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str, shape: tuple[int, ...], kind: int, buffer: int, scaled: tuple[float, int]) -> Any:
    quantisation = lite.QuantizationParametersT()
    quantisation.scale, quantisation.zeroPoint = [scaled[0]], [scaled[1]]
    tensor = lite.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer, tensor.quantization = name, shape, kind, buffer, quantisation
    return tensor


def _buffer(data: bytes) -> Any:
    buffer = lite.BufferT()
    buffer.data = np.frombuffer(data, np.uint8) if data else None
    return buffer


def make_exports(config: Config, retrained: Path, *outs: Path) -> None:
    """What gate 7's commands leave of every pick of a `retrained.json`, in each of `outs`."""
    facts = read_json(retrained, schema="retrained.schema.json")
    for pick in facts["picks"]:
        index = read_json(retrained.parent / pick["run"] / "data_index.json")
        for out in outs:
            make_export(config, pick, index, out)


def make_export(config: Config, pick: dict[str, Any], index: dict[str, Any], out: Path) -> None:
    """The export of one pick."""
    height, width = config["network.height"], config["network.width"]
    folder = out / Named(pick["code"], "edgeflow_9x3").folder
    for name in FILES:
        write_text(folder / name, f"{name} of {pick['code']}")
    for name in ("float.tflite", "int8.tflite"):
        write_bytes(folder / name, int8_file(height, width, seed=pick["number"]))
    model = LiteModel(folder / "int8.tflite")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, height, width, 6), dtype=np.uint8)
    truth = rng.normal(0, 3, (1, height, width, 2)).astype(np.float32)
    golden = write_golden(folder, frames, truth, model, model)
    names = {split: [sample["name"] for sample in found["samples"]] for split, found in index["splits"].items()}
    epe = pick["epe"]
    facts = {
        "code": pick["code"],
        "search_space": "edgeflow_9x3",
        "init_neurons": config["network.init_neurons"],
        "params": 1000,
        "macs": pick["macs"] or 1,
        "checkpoint": {
            "name": "supernet_best.ckpt",
            "sha256": pick["checkpoint"]["sha256"],
            "epoch": 4,
            "global_step": 16,
            "config_hash": config.hash,
        },
        "bn_recal_batches": 8,
        "data": index["digest"],
        "split": "val",
        "samples": 1,
        "epe": {"zero_flow": 9.0, "supernet": epe, "keras": epe, "float": epe, "quantised": epe + 0.05},
        "float_difference": 8e-6,
        "largest_flow": 12.5,
        "saturated": 0.001,
        "calibration": names["train"],
        "golden": names["val"],
        "output": "sum",
        "resize": "exact",
        "precision": "int8",
        "input": {"height": height, "width": width, "scale": INPUT_SCALE, "zero_point": -1},
        "outputs": {"flow": {"height": height, "width": width, "scale": OUTPUT_SCALE, "zero_point": 0}},
        "chip": {
            "target": TARGET,
            "vela": "5.2.0",
            "ms": 2.5,
            "fps": 400.0,
            "cycles": 1_250_000,
            "sram_kib": 90.0,
            "flash_kib": 50.0,
            "cpu_operators": [],
            "peak_layers": [{"layer": "H2_option0", "sram_kib": 90.0}],
            "layers": [
                {"name": "E0_option0", "cycles": 250_000, "sram_kib": 40.0},
                {"name": "H2_option0", "cycles": 1_000_000, "sram_kib": 90.0},
            ],
            "fits": True,
            "why_not": [],
        },
        "files": {name: sha256_file(folder / name) for name in (*FILES, "float.tflite", "int8.tflite", *golden)},
    }
    assert math.isfinite(epe)
    write_json(folder / FACTS, facts, schema=SCHEMA)
