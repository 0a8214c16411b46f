"""The files beside an exported model that an embedded engineer needs: C header, golden vectors, model card."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import write_bytes
from edgeflownas.deploy.litert import LiteModel
from edgeflownas.deploy.settings import as_bytes, as_chip_input
from edgeflownas.errors import UserError

GOLDEN = "golden"
_BYTES_A_LINE = 24
_CONVERSION = {"int8": "each byte minus 128", "int16": "each byte b as the nearest integer to (b / 127.5 - 1) * 32767"}

# What the host does with heads; in the model card, to be copied.
SUM_HEADS = """\
/* Adds the sum of the coarser heads, (h, w, 2), to a head that is already in pixels, (height, width, 2). */
static void edgeflow_add_coarser(const float *sum, int h, int w, float *head, int height, int width) {
    for (int y = 0; y < height; y++) {
        float row = ((float)y + 0.5f) * ((float)h / (float)height) - 0.5f;
        row = row < 0.0f ? 0.0f : row;
        const int top = (int)row < h ? (int)row : h - 1, bottom = top + 1 < h ? top + 1 : top;
        const float down = row - (float)top;
        for (int x = 0; x < width; x++) {
            float column = ((float)x + 0.5f) * ((float)w / (float)width) - 0.5f;
            column = column < 0.0f ? 0.0f : column;
            const int left = (int)column < w ? (int)column : w - 1, right = left + 1 < w ? left + 1 : left;
            const float across = column - (float)left;
            for (int c = 0; c < 2; c++) {
                const float above = sum[(top * w + left) * 2 + c] * (1.0f - across)
                    + sum[(top * w + right) * 2 + c] * across;
                const float below = sum[(bottom * w + left) * 2 + c] * (1.0f - across)
                    + sum[(bottom * w + right) * 2 + c] * across;
                head[(y * width + x) * 2 + c] += above * (1.0f - down) + below * down;
            }
        }
    }
}"""


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


def write_golden(
    folder: Path, frames: np.ndarray, truth: np.ndarray, of_float: LiteModel, quantised: LiteModel
) -> list[str]:
    """Write what the chip must give for a few samples, as raw little-endian arrays that C can read.

    `NNN_frames.bin` (H, W, 6) and per output `NNN_<output>.bin` (h, w, 2), both of the file's own type;
    `NNN_pixels.bin` (H, W, 2) float32, the flow that the outputs stand for. To judge it by, of the same shape and type:
    `NNN_float.bin`, what the float file gives, and `NNN_truth.bin`, the true flow, NaN where it is not known.

    Args:
        folder: where `golden/` is made.
        frames: (N, H, W, 6) uint8.
        truth: (N, H, W, 2) float32, pixels.
        of_float: the float file.
        quantised: the quantised file.

    Returns:
        The files, relative to `folder`.
    """
    written = []
    for number, (floats, outputs) in enumerate(zip(of_float.run_all(frames), quantised.run_all(frames), strict=True)):
        arrays = {"frames": as_chip_input(frames[number], quantised.input.dtype)}
        arrays |= dict(zip(output_names(len(outputs)), outputs, strict=True))
        flows = {"pixels": quantised.flow(outputs), "float": of_float.flow(floats), "truth": truth[number]}
        arrays |= {name: flow.astype("<f4") for name, flow in flows.items()}
        for name, array in arrays.items():
            written.append(golden_file(number, name))
            write_bytes(folder / written[-1], np.ascontiguousarray(array).tobytes())
    return written


def golden_file(number: int, name: str) -> str:
    """A file of the golden vectors, relative to the export's folder."""
    return f"{GOLDEN}/{number:03d}_{name}.bin"


@dataclass(frozen=True)
class GoldenSample:
    """A golden vector, read back; flows are (H, W, 2) float32, pixels.

    frames: (H, W, 6), of the quantised file's own type. outputs: coarse to fine, (h, w, 2), of that type.
    """

    name: str
    frames: np.ndarray
    outputs: list[np.ndarray]
    pixels: np.ndarray
    float_: np.ndarray
    truth: np.ndarray

    def pictures(self) -> np.ndarray:
        """Both frames as they were before they became the chip's input, (H, W, 6) uint8 RGB."""
        if self.frames.dtype == np.int8:
            return (self.frames.astype(np.int16) + 128).astype(np.uint8)
        return as_bytes(self.frames.astype(np.float32) / 32767)


def read_golden(folder: Path, facts: Mapping[str, Any]) -> list[GoldenSample]:
    """The golden vectors of an export.

    Raises:
        UserError: a file is missing, or of another size.
    """
    kind = {"int8": "<i1", "int16x8": "<i2"}[facts["precision"]]
    size = (facts["input"]["height"], facts["input"]["width"])
    samples = []
    for number, name in enumerate(facts["golden"]):

        def read(what: str, shape: tuple[int, ...], dtype: str, number: int = number) -> np.ndarray:
            path = folder / golden_file(number, what)
            try:
                return np.frombuffer(path.read_bytes(), dtype).reshape(shape)
            except OSError as error:
                raise UserError(f"{path}: {error.strerror}") from error
            except ValueError as error:
                raise UserError(f"{path}: expected {shape} values of {dtype}: {error}") from error

        outputs = [read(key, (out["height"], out["width"], 2), kind) for key, out in facts["outputs"].items()]
        pixels, of_float, truth = (read(what, (*size, 2), "<f4") for what in ("pixels", "float", "truth"))
        samples.append(GoldenSample(name, read("frames", (*size, 6), kind), outputs, pixels, of_float, truth))
    return samples


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
            "clamped edges) to the size of the next head, and add that:"
        )
        steps += ["", "```c", SUM_HEADS, "```"]
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
        f"`float.tflite` differs from `model.keras` by at most {facts['float_difference']:.2g} px at any pixel, by the",
        f"rounding of float32, where flow reaches {facts['largest_flow']:.3g} px.",
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
        "that the reference kernels give, and the flow that these stand for (`pixels`). To judge it by, there are the",
        "flow of `float.tflite` (`float`) and the true one (`truth`, NaN where it is not known). All are raw,",
        "little-endian, row by row; flow is float32, x and y in pixels.",
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
