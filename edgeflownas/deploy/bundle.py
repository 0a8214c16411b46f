"""The files beside an exported model that an embedded engineer needs: C header, golden vectors, model card."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import write_bytes
from edgeflownas.deploy.litert import LiteModel
from edgeflownas.deploy.settings import as_chip_input

GOLDEN = "golden"
_BYTES_A_LINE = 24
_CONVERSION = {"int8": "each byte minus 128", "int16": "each byte b as the nearest integer to (b / 127.5 - 1) * 32767"}


def output_names(count: int) -> list[str]:
    """What the outputs are called: `flow`, or `head0`, `head1`, … from coarse to fine."""
    return ["flow"] if count == 1 else [f"head{index}" for index in range(count)]


def c_header(content: bytes, model: LiteModel, facts: Mapping[str, Any]) -> str:
    """A header for C and C++ with a LiteRT file as an array, and what its host must know, as macros.

    Args:
        content: the file for the chip.
        model: the quantised file that it was made from.
        facts: the content of `export.json`.
    """
    _, height, width, channels = model.input.shape
    lines = [
        f"/* Optical flow by subnet {facts['code']}; see model_card.md. Written by edgeflownas.deploy.export.",
        f" * Input: {model.input.dtype} {height} x {width} x {channels} (NHWC), RGB of the earlier frame, then of the",
        f" * later one: {_CONVERSION[model.input.dtype]}.",
        " * A quantised value q stands for SCALE * (q - ZERO_POINT). Outputs are pixels, x and y.",
        *([" * The host resizes each sum of heads bilinearly (half-pixel centres, clamped edges) and adds the next."]
          if len(model.outputs) > 1 else []),
        " */",
        "#ifndef EDGEFLOW_MODEL_H",
        "#define EDGEFLOW_MODEL_H",
        "",
        f"#define EDGEFLOW_INPUT_HEIGHT {height}",
        f"#define EDGEFLOW_INPUT_WIDTH {width}",
        f"#define EDGEFLOW_INPUT_CHANNELS {channels}",
        f"#define EDGEFLOW_INPUT_SCALE {_number(model.input.scale)}",
        f"#define EDGEFLOW_INPUT_ZERO_POINT ({model.input.zero_point})",
        f"#define EDGEFLOW_OUTPUTS {len(model.outputs)}",
    ]  # fmt: skip
    for name, tensor in zip(output_names(len(model.outputs)), model.outputs, strict=True):
        prefix = f"#define EDGEFLOW_{name.upper()}"
        lines += [
            f"{prefix}_HEIGHT {tensor.shape[1]}",
            f"{prefix}_WIDTH {tensor.shape[2]}",
            f"{prefix}_SCALE {_number(tensor.scale)}",
            f"{prefix}_ZERO_POINT ({tensor.zero_point})",
        ]
    if "chip" in facts:
        # For activations alone; the runtime's own structures come on top.
        lines.append(f"#define EDGEFLOW_ARENA_BYTES {math.ceil(facts['chip']['sram_kib'] * 1024)}")
    lines += [
        f"#define EDGEFLOW_MODEL_BYTES {len(content)}",
        "",
        "static const unsigned char edgeflow_model[EDGEFLOW_MODEL_BYTES] __attribute__((aligned(16))) = {",
        *(",".join(map(str, content[at : at + _BYTES_A_LINE])) + "," for at in range(0, len(content), _BYTES_A_LINE)),
        "};",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{np.float32(value):.9g}f"


def write_golden(folder: Path, names: Sequence[str], frames: np.ndarray, model: LiteModel) -> list[str]:
    """Write what the chip must give for a few samples, as raw little-endian arrays that C can read.

    `NNN_frames.bin` (H, W, 6) and per output `NNN_<output>.bin` (h, w, 2), both of the file's own type;
    `NNN_pixels.bin` (H, W, 2) float32.

    Args:
        folder: where `golden/` is made.
        names: of the samples; only their number counts here.
        frames: (N, H, W, 6) uint8.
        model: the quantised file.

    Returns:
        The files, relative to `folder`.
    """
    written = []
    for number, outputs in zip(range(len(names)), model.run_all(frames), strict=True):
        arrays = {"frames": as_chip_input(frames[number], model.input.dtype)}
        arrays |= dict(zip(output_names(len(outputs)), outputs, strict=True))
        flow = model.flow(outputs)
        arrays["pixels"] = flow.astype("<f4")
        for name, array in arrays.items():
            written.append(f"{GOLDEN}/{number:03d}_{name}.bin")
            write_bytes(folder / written[-1], np.ascontiguousarray(array).tobytes())
    return written


def model_card(facts: Mapping[str, Any]) -> str:
    """The card in Markdown: what it is, how good it is, what it was calibrated on, how it is used."""
    epe, frames = facts["epe"], facts["input"]
    kind, quantised = {"int8": "int8", "int16x8": "int16"}[facts["precision"]], f"{facts['precision']}.tflite"
    outputs = "\n".join(
        f"| `{name}` | {output['height']} × {output['width']} × 2 | {output['scale']:.9g} | {output['zero_point']} |"
        for name, output in facts["outputs"].items()
    )
    steps = [
        f"1. Take both RGB frames, the earlier one first, {_CONVERSION[kind]}: {kind}, "
        f"{frames['height']} × {frames['width']} × 6.",
        "2. Run the model. A quantised value q stands for scale × (q − zero point).",
    ]
    if len(facts["outputs"]) > 1:
        steps.append(
            "3. Turn each head into float, then from coarse to fine: resize the sum bilinearly (half-pixel centres, "
            "clamped edges) to the size of the next head, and add that."
        )
    checkpoint = facts["checkpoint"]
    calibration = facts["calibration"]
    lines = [
        f"# Optical flow, subnet {facts['code']}",
        "",
        f"Two RGB frames of {frames['height']} × {frames['width']} pixels in, flow in pixels out (x to the right, y",
        f"down). From checkpoint `{checkpoint['name']}` at step {checkpoint['global_step']} (sha256",
        f"{checkpoint['sha256'][:16]}…), search space {facts['search_space']}, base width {facts['init_neurons']};",
        f"{facts['params']:,} parameters, {facts['macs']:,} multiply-accumulates per frame pair. Batch norm was",
        f"recalibrated for this subnet (on {facts['bn_recal_batches']} training batches) and folded into the",
        "convolutions; the uncertainty is left out.",
        "",
        "## Accuracy",
        "",
        f"End-point error on {facts['samples']} samples of the split `{facts['split']}`, pixels:",
        "",
        f"| no motion | in the supernet | model.keras | float.tflite | {quantised} |",
        "|---|---|---|---|---|",
        f"| {epe['zero_flow']:.4f} | {epe['supernet']:.4f} | {epe['keras']:.4f} | {epe['float']:.4f} | "
        f"{epe['quantised']:.4f} |",
        "",
        f"`float.tflite` differs from `model.keras` by at most {facts['float_difference']:.2g} px at any pixel.",
        f"`{quantised}` was measured with LiteRT's reference kernels;",
        f"{facts['saturated']:.3%} of its outputs are at the end of their range.",
        "",
        *_on_chip(facts.get("chip"), facts["precision"]),
        "## Use",
        "",
        *steps,
        "",
        "| tensor | shape | scale | zero point |",
        "|---|---|---|---|",
        f"| input | {frames['height']} × {frames['width']} × 6 | {frames['scale']:.9g} | {frames['zero_point']} |",
        outputs,
        "",
        f"`{GOLDEN}/` has {len(facts['golden'])} samples to compare with: the input as the chip takes it, the outputs",
        "that the reference kernels give, and the flow in pixels (`pixels`, float32); raw, little-endian, row by row.",
        f"Samples: {', '.join(facts['golden'])}.",
        "",
        "## Calibration",
        "",
        f"Ranges of activations are from {len(calibration)} training samples, one pixel of which was made black and",
        f"one white, so that the input covers its whole range: {', '.join(calibration)}.",
    ]
    return "\n".join(lines) + "\n"


def _on_chip(chip: Mapping[str, Any] | None, precision: str) -> list[str]:
    if chip is None:
        return []
    ms = "unknown" if chip["ms"] is None else f"{chip['ms']:.2f}"
    peaks = ", ".join(f"{layer['layer']} ({layer['sram_kib']:,.0f} KiB)" for layer in chip["peak_layers"])
    return [
        "## On the chip",
        "",
        f"`{precision}_vela.tflite` is compiled for `{chip['target']}` by Vela {chip['vela']}. Its estimates:",
        "",
        "| ms | SRAM, KiB | flash, KiB | operators on the CPU |",
        "|---|---|---|---|",
        f"| {ms} | {chip['sram_kib']:,.1f} | {chip['flash_kib']:,.1f} | {len(chip['cpu_operators'])} |",
        "",
        f"Layers that hold the peak: {peaks}. "
        + ("It fits." if chip["fits"] else f"It does not fit: {'; '.join(chip['why_not'])}."),
        "",
    ]
