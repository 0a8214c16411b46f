"""The command that exports a subnet of a trained network as files for a chip."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.artifacts import sha256_file, write_bytes, write_json, write_text
from edgeflownas.command_line import add_set_flag
from edgeflownas.config import Config, parse_assignment
from edgeflownas.deploy.bundle import GOLDEN, c_header, model_card, output_names, write_golden
from edgeflownas.deploy.converter import FLOAT, MODEL, convert_model, require_converter
from edgeflownas.deploy.settings import FEW_CALIBRATION_SAMPLES, ExportSettings, as_bytes
from edgeflownas.deploy.subnet import PRECISIONS, Subnet, SubnetWeights, subnet_weights
from edgeflownas.deploy.targets import Target, load_target
from edgeflownas.deploy.vela import compile_model, cost_line, vela_version
from edgeflownas.errors import EXIT_DONE, require_writable_folder, run_command, writing
from edgeflownas.nas.arch_codec import code_text, format_code, parse_code
from edgeflownas.nas.fair_sampler import complete_cycle
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.network.cost import subnet_cost
from edgeflownas.parsers import command_parser
from edgeflownas.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    from edgeflownas.deploy.litert import LiteModel
    from edgeflownas.runs.checkpoints import Checkpoint
    from edgeflownas.training.evaluation import Evaluator
    from edgeflownas.training.run_data import RunData

FACTS, HEADER, CARD = "export.json", "model.h", "model_card.md"
SCHEMA = "deploy_export.schema.json"
GOLDEN_SAMPLES = 2
# How far float.tflite may be from model.keras: pixels, or a share of the largest flow where that is more. Both round to
# float32 at every layer: 0.5e-6 to 1.1e-6 of the largest flow was measured, for both against the same in float64.
TOLERANCE_PX, TOLERANCE_SHARE = 1e-4, 4e-6
EXAMPLES = (
    "--run_dir outputs/supernet/runs/gate4 --arch 0,0,0,0,2,1,2,2,2",
    "--run_dir outputs/supernet/runs/gate4 --arch 000021222 --set target=grove_vision_ai_v2 --set deploy.output=heads",
)


@dataclass(frozen=True)
class Named:
    """What the exported subnet is called: its arch code, with commas, and the search space that this is a code of.

    A subnet that was trained alone has another code in its own space, of one subnet.
    """

    code: str
    search_space: str

    @property
    def folder(self) -> str:
        """As tables name subnets."""
        return code_text([int(digit) for digit in self.code.split(",")])


@dataclass(frozen=True)
class _Recalibrated:
    """A subnet with batch norm of its own: its weights, its EPE in its network, pixels, and the batches it took."""

    weights: SubnetWeights
    epe: float
    batches: int


@dataclass(frozen=True)
class _Quantised:
    """The quantised file: its content and, opened, the model; and the samples that its ranges are from."""

    content: bytes
    model: "LiteModel"
    calibration: list[str]


def export(
    config: Config,
    checkpoint_name: str,
    code_text: str,
    folder: Path | None,
    say: Callable[[str], None],
    named: Named | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Export a subnet, recalibrated as in the evaluation.

    Args:
        config: of the run whose directory is `train.output_dir`.
        checkpoint_name: `best`, `last` or a file.
        code_text: the subnet's arch code in the run's search space.
        folder: where the files go; None: `deploy/CODE` in the run directory.
        say: called with a line about what happens.
        named: what it is called, if not by that code.

    Returns:
        The folder and the content of `export.json`, which is written last: a folder that has it is complete.

    Raises:
        UserError: no such checkpoint, a wrong code, no data, or no TensorFlow.
    """
    from edgeflownas.training.restored import load_evaluator

    settings = config.view(ExportSettings)
    space = load_search_space(settings.search_space)
    code = parse_code(code_text, space)
    require_converter()
    target = None if settings.target is None else load_target(settings.target)
    named = named or Named(format_code(code), space.name)
    folder = folder or Path(config["train.output_dir"]) / "deploy" / named.folder
    require_writable_folder(folder)
    path, checkpoint, evaluator, data = load_evaluator(config, checkpoint_name)

    # From here on the backend is imported.
    from edgeflownas.deploy.keras_model import plain_model, save_plain_model
    from edgeflownas.deploy.litert import LiteModel

    _remove_earlier(folder)
    size = (settings.init_neurons, settings.height, settings.width)
    subnet = Subnet(space, code, *size, settings.output, settings.resize, settings.precision)
    say(f"recalibrating subnet {named.code} of {path}")
    recalibrated = _recalibrated(subnet, checkpoint, evaluator, data, settings)
    model = plain_model(subnet, recalibrated.weights)
    save_plain_model(model, folder / MODEL)
    quantised = _quantised(folder, data, settings, say)
    say(f"measuring on {data.val_samples} samples of the split {settings.eval_split}")
    of_float = LiteModel(folder / FLOAT, settings.workers)
    measured = _measure(model, of_float, quantised.model, data, settings.flow_scale)
    on_chip, chip = _on_chip(folder, quantised, target, settings, say)
    golden, golden_files = _write_golden(folder, data, of_float, quantised.model, settings.flow_scale)
    facts: dict[str, Any] = {
        "code": named.code,
        "search_space": named.search_space,
        "init_neurons": settings.init_neurons,
        **subnet_cost(space, code, settings.height, settings.width, settings.init_neurons),
        "checkpoint": {
            "name": path.name,
            "sha256": sha256_file(path),
            **{key: checkpoint.header[key] for key in ("epoch", "global_step", "config_hash")},
        },
        "bn_recal_batches": recalibrated.batches,
        "data": data.digest,
        "split": settings.eval_split,
        "samples": data.val_samples,
        "epe": {
            "zero_flow": evaluator.zero_flow_epe(data.validation()),
            "supernet": recalibrated.epe,
            **{name: float(np.mean(epes)) for name, epes in measured.epes.items()},
        },
        "float_difference": measured.float_difference,
        "largest_flow": measured.largest_flow,
        "saturated": measured.saturated,
        "calibration": quantised.calibration,
        "golden": golden,
        "output": settings.output,
        "resize": settings.resize,
        "precision": settings.precision,
        **_tensors(quantised.model),
        **chip,
    }
    write_text(folder / HEADER, c_header(on_chip or quantised.content, quantised.model, facts))
    write_text(folder / CARD, model_card(facts))
    names = [MODEL, FLOAT, settings.quantised_file, *([settings.compiled_file] if on_chip else []), HEADER, CARD]
    facts["files"] = {name: sha256_file(folder / name) for name in (*names, *golden_files)}
    write_json(folder / FACTS, facts, schema=SCHEMA)
    return folder, facts


def _recalibrated(
    subnet: Subnet, checkpoint: "Checkpoint", evaluator: "Evaluator", data: "RunData", settings: ExportSettings
) -> _Recalibrated:
    """Give the subnet its own batch norm, as in every evaluation, and take it out of its network."""
    from edgeflownas.training.evaluation import batch_norm_owners, path_statistics

    cycle = complete_cycle(subnet.code, subnet.space)
    statistics, _, batches = evaluator.recalibrate(cycle[None], data.recalibration())
    epe = evaluator.measure(cycle[None], statistics, data.validation())[0]["epe"]
    arrays = {name.removeprefix("weights."): array for name, array in checkpoint.arrays.items()}
    own = path_statistics(statistics[0], batch_norm_owners(subnet.space, subnet.init_neurons), cycle, 0)
    return _Recalibrated(subnet_weights(subnet, arrays, own, settings.flow_scale), epe, batches)


def _quantised(folder: Path, data: "RunData", settings: ExportSettings, say: Callable[[str], None]) -> _Quantised:
    """Write the float and the quantised file of `model.keras`."""
    from edgeflownas.deploy.litert import LiteModel

    names, frames = data.calibration(settings.calibration_samples)
    if len(names) < FEW_CALIBRATION_SAMPLES:
        print(
            f"WARNING: the ranges are calibrated on {len(names)} training sample{'' if len(names) == 1 else 's'} "
            f"only, and other frames may exceed them; expected at least {FEW_CALIBRATION_SAMPLES}: raise "
            "deploy.calibration_samples, or add samples to the training split",
            file=sys.stderr,
        )
    say(f"converting, calibrated on {len(names)} training samples")
    floats, content = convert_model(folder / MODEL, whole_range(frames), settings.precision)
    write_bytes(folder / FLOAT, floats)
    write_bytes(folder / settings.quantised_file, content)
    return _Quantised(content, LiteModel(folder / settings.quantised_file, settings.workers), names)


def _on_chip(
    folder: Path, quantised: _Quantised, target: Target | None, settings: ExportSettings, say: Callable[[str], None]
) -> tuple[bytes | None, dict[str, Any]]:
    """Write the compiled file, if there is a target; returns its content, and its cost as a part of the facts."""
    if target is None:
        return None, {}
    say(f"compiling for {target.name}")
    content, cost = compile_model(quantised.content, target, str(folder / settings.quantised_file))
    write_bytes(folder / settings.compiled_file, content)
    layers = [asdict(layer) for layer in cost.layers]
    return content, {"chip": {"target": target.name, "vela": vela_version(), **cost.summary(target), "layers": layers}}


def _write_golden(
    folder: Path, data: "RunData", of_float: "LiteModel", quantised: "LiteModel", flow_scale: float
) -> tuple[list[str], list[str]]:
    """Write the golden vectors; returns the names of the samples and the files."""
    from edgeflownas.training.labels import true_flow

    names, frames, label = data.examples(GOLDEN_SAMPLES)
    return names, write_golden(folder, as_bytes(frames), true_flow(label, flow_scale), of_float, quantised)


def _remove_earlier(folder: Path) -> None:
    """Remove what an earlier export to a folder may have left that this one does not write; its facts first."""
    files = [f"{precision}{ending}.tflite" for precision in PRECISIONS for ending in ("", "_vela")]
    for path in (folder / FACTS, *(folder / name for name in files), *(folder / GOLDEN).glob("*.bin")):
        with writing(path):
            path.unlink(missing_ok=True)


def whole_range(frames: np.ndarray) -> np.ndarray:
    """Calibration frames (N, H, W, 6) uint8, one pixel of which is made black and one white.

    The converter takes the input's range from them; with the whole range, every byte minus 128 is its int8 value.
    """
    frames = frames.copy()
    frames[0, 0, 0], frames[0, 0, -1] = 0, 255
    return frames


@dataclass
class _Measured:
    """What `_measure` finds: EPE per sample and file, and how the files differ."""

    epes: dict[str, list[float]] = field(default_factory=lambda: {"keras": [], "float": [], "quantised": []})
    float_difference: float = 0.0
    largest_flow: float = 0.0
    saturated: float = 0.0


def _measure(
    model: Any, of_float: "LiteModel", quantised: "LiteModel", data: "RunData", flow_scale: float
) -> _Measured:
    """Run the three files on the validation samples, each of which counts once."""
    from edgeflownas.deploy.litert import summed
    from edgeflownas.training.labels import true_flow

    found = _Measured()
    ends = values = 0
    for batch in data.validation():
        frames = as_bytes(batch.frames[: batch.samples])
        truth = true_flow(batch.flow[: batch.samples], flow_scale)
        for number, (floats, ints) in enumerate(zip(of_float.run_all(frames), quantised.run_all(frames), strict=True)):
            # Not `predict`, which on CPUs, too, compiles with XLA.
            predicted = model(batch.frames[number : number + 1])
            heads = [np.asarray(head)[0] for head in (predicted if isinstance(predicted, list) else [predicted])]
            flows = {"keras": summed(heads), "float": of_float.flow(floats), "quantised": quantised.flow(ints)}
            for name, flow in flows.items():
                errors = np.linalg.norm((flow - truth[number]).astype(np.float64), axis=-1)
                found.epes[name].append(float(np.nanmean(errors)))
            difference = float(np.abs(flows["keras"] - flows["float"]).max())
            found.float_difference = max(found.float_difference, difference)
            found.largest_flow = max(found.largest_flow, float(np.abs(flows["keras"]).max()))
            ends += sum(int(np.isin(output, _ends(output.dtype)).sum()) for output in ints)
            values += sum(output.size for output in ints)
    found.saturated = ends / values
    return found


def _ends(dtype: Any) -> tuple[int, int]:
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def _tensors(model: "LiteModel") -> dict[str, Any]:
    def facts(tensor: Any) -> dict[str, Any]:
        _, height, width, _ = tensor.shape
        return {"height": height, "width": width, "scale": tensor.scale, "zero_point": tensor.zero_point}

    names = output_names(len(model.outputs))
    return {"input": facts(model.input), "outputs": {n: facts(t) for n, t in zip(names, model.outputs, strict=True)}}


def summary_lines(folder: Path, facts: Mapping[str, Any]) -> list[str]:
    """What a person wants to know of an export at once."""
    epe = facts["epe"]
    lines = [
        f"EPE {epe['keras']:.4f} px, float file {epe['float']:.4f}, {facts['precision']} {epe['quantised']:.4f} (no "
        f"motion {epe['zero_flow']:.4f}); float file and Keras differ by {facts['float_difference']:.2g} px at most"
    ]
    return [*lines, *([cost_line(facts["chip"])] if "chip" in facts else []), f"written to {folder}"]


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.deploy.export",
        "Export a subnet of a trained network: a plain Keras model, LiteRT files in float and quantised, a C header, "
        "golden vectors and a model card; with the config's target, the file for the chip, too.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("--run_dir", type=Path, required=True, metavar="FOLDER", help="the run directory")
    add("--arch", required=True, metavar="CODE", help="arch code of the subnet, for example 0,0,0,0,2,1,2,2,2")
    add("--checkpoint", default="last", metavar="best|last|FILE", help="which checkpoint (%(default)s)")
    add("--out", type=Path, metavar="FOLDER", help="where the files go (deploy/CODE in the run directory)")
    add_set_flag(parser, "set a key of the run's config, for example deploy.output=heads; may be repeated")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.deploy.export`."""
    arguments = _parser().parse_args(argv)
    config = RunDirectory(arguments.run_dir).read_config(dict(map(parse_assignment, arguments.assignments)))
    folder, facts = export(config, arguments.checkpoint, arguments.arch, arguments.out, print)
    for line in summary_lines(folder, facts):
        print(line)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
