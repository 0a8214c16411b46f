"""Pictures of predicted and true flow, for a few fixed validation samples of a run."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeflownas.artifacts import write_bytes
from edgeflownas.data.flow_colours import flow_colours, wheel_picture
from edgeflownas.errors import EXIT_DONE, UserError, require_writable_folder, run_command
from edgeflownas.nas.arch_codec import parse_code
from edgeflownas.nas.eval_pool import eval_pool
from edgeflownas.nas.fair_sampler import complete_cycle
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.parsers import command_parser
from edgeflownas.reporting.plots import SOFT, draw_png
from edgeflownas.runs.flow_samples import (
    FlowSamples,
    load_flow_samples,
    save_flow_samples,
    select_subnets,
)
from edgeflownas.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHEET_WIDTH = 10.0
"""Inches."""

EXAMPLES = (
    "--run_dir outputs/supernet/runs/gate4",
    "--run_dir outputs/supernet/runs/gate4 --checkpoint best --arch 0,0,0,0,2,1,2,2,2 --out pictures",
)


def amount_colours(amounts: np.ndarray, largest: float) -> np.ndarray:
    """Errors or uncertainties (H, W) as colours, from 0 to `largest` and all beyond: (H, W, 3) uint8 RGB.

    Unknown ones, NaN, are black."""
    known = np.isfinite(amounts)
    levels = np.clip(np.where(known, amounts, 0) / largest * 255, 0, 255).astype(np.uint8)
    colours = np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB))
    return np.where(known[..., None], colours, np.uint8(0))


def flow_sheet(samples: FlowSamples, subnet: int, source: str) -> bytes:
    """One picture of all samples for one subnet, as PNG: a row each, the legend on the right.

    A row has one scale for the true flow, the predicted flow and the error; the uncertainty has its own.
    """
    titles = ("frame 1", "frame 2", "true flow", "predicted flow", "error", "uncertainty", "scale")
    rows = len(samples.names)
    height, width = samples.flow.shape[1:3]
    panel = SHEET_WIDTH / (len(titles) - 0.35)

    def draw(figure: "Figure") -> None:
        grid = figure.subplots(rows, len(titles), squeeze=False, width_ratios=[1] * (len(titles) - 1) + [0.65])
        for number, axes in enumerate(grid):
            _draw_row(axes, samples, subnet, number)
        for axis, title in zip(grid[0], titles, strict=True):
            axis.set_title(title, fontsize=9)
        origin = samples.origin
        words = f"subnet {samples.codes[subnet]}, {origin['checkpoint']} after epoch {origin['epoch']}; from {source}"
        figure.supxlabel(words, fontsize=8, color=SOFT)

    return draw_png(draw, height=rows * (panel * height / width + 0.12) + 0.55, width=SHEET_WIDTH, dpi=110)


def _draw_row(axes: Sequence["Axes"], samples: FlowSamples, subnet: int, number: int) -> None:
    radius = samples.radius(number)
    error, uncertainty = samples.errors[subnet, number], samples.uncertainty[subnet, number]
    largest = samples.largest_uncertainty(number)
    pictures = (
        samples.frames[number, ..., :3],
        samples.frames[number, ..., 3:],
        flow_colours(samples.flow[number], radius),
        flow_colours(samples.predicted[subnet, number], radius),
        amount_colours(error, radius),
        amount_colours(uncertainty, largest),
    )
    for axis in axes:
        axis.set_axis_off()
    for axis, picture in zip(axes, pictures, strict=False):
        axis.imshow(picture, interpolation="none")
    mean = f"mean {samples.mean_errors[subnet, number]:.2f} px"
    spread = f"mean {uncertainty.mean():.2f}, to {largest:.1f} px"
    for axis, text in ((axes[0], samples.names[number]), (axes[4], mean), (axes[5], spread)):
        _write_below(axis, -0.03, text)
    _draw_legend(axes[-1], radius)


def _write_below(axis: "Axes", y: float, text: str) -> None:
    axis.text(0.5, y, text, fontsize=7.5, ha="center", va="top", color=SOFT, transform=axis.transAxes)


def _draw_legend(axis: "Axes", radius: float) -> None:
    """The wheel, and below it the colours of the error, both up to `radius` pixels."""
    wheel = axis.inset_axes((0.05, 0.36, 0.9, 0.64))
    wheel.imshow(wheel_picture(128), interpolation="none")
    bar = axis.inset_axes((0.08, 0.2, 0.84, 0.09))
    bar.imshow(amount_colours(np.linspace(0, 1, 128)[None], 1.0), aspect="auto")
    for inset in (wheel, bar):
        inset.set_axis_off()
    _write_below(axis, 0.13, f"0 to {radius:.1f} px")


def predict_samples(run: RunDirectory, checkpoint_name: str, codes: Sequence[str], count: int) -> FlowSamples:
    """Predict flow with subnets of a run's checkpoint, recalibrated as in the evaluation. Imports the backend.

    Args:
        run: a run directory with `config.json`, `data_index.json` and the checkpoint.
        checkpoint_name: `best`, `last` or a file.
        codes: arch codes; none of them are the first fair cycle of the eval pool, as a run keeps them.
        count: validation samples.

    Raises:
        UserError: a file or the data are missing or do not fit, or a code is wrong.
    """
    from edgeflownas.training.flow_samples import take_flow_samples
    from edgeflownas.training.restored import load_evaluator

    config = run.read_config({})
    space = load_search_space(config["network.search_space"])
    wanted = [parse_code(code, space) for code in codes]
    path, checkpoint, evaluator, data = load_evaluator(config, checkpoint_name)
    origin = {"checkpoint": path.name, "config_hash": config.hash}
    origin |= {key: checkpoint.header[key] for key in ("epoch", "global_step")}
    if not wanted:
        return take_flow_samples(evaluator, data, eval_pool(space)[0], count, origin)
    cycles = [complete_cycle(code, space) for code in wanted]
    # Each code is the first path of its own cycle; the results of the other paths are not used.
    return select_subnets([take_flow_samples(evaluator, data, cycle, count, origin) for cycle in cycles])


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.reporting.flow_pictures",
        "Draw frames, true and predicted flow, error and uncertainty of a few validation samples. A run that came to "
        "its own end kept what a few subnets predict (flow_samples.npz), and that is drawn. Otherwise, and with "
        "--checkpoint, --arch or --samples, the checkpoint is recalibrated and predicts again.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("--run_dir", type=Path, required=True, metavar="FOLDER", help="the run directory")
    add("--checkpoint", metavar="best|last|FILE", help="predict again, with this checkpoint")
    add("--arch", nargs="+", default=[], metavar="CODE", help="predict again, with these subnets")
    add("--samples", type=int, metavar="N", help="predict again, for this many validation samples")
    add(
        "--out",
        type=require_writable_folder,
        metavar="FOLDER",
        help="where the pictures go (pictures/ in the run directory)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.reporting.flow_pictures`."""
    arguments = _parser().parse_args(argv)
    if arguments.samples is not None and arguments.samples < 1:
        raise UserError(f"--samples must be at least 1, got {arguments.samples}")
    run = RunDirectory(arguments.run_dir)
    folder = arguments.out or require_writable_folder(run.path / "pictures")
    special = bool(arguments.checkpoint or arguments.arch or arguments.samples)
    if special or not run.flow_samples.is_file():
        name = arguments.checkpoint or "last"
        samples = predict_samples(run, name, arguments.arch, arguments.samples or 3)
        if not special:
            save_flow_samples(run.flow_samples, samples)
            print(f"kept for the report: {run.flow_samples}")
    else:
        samples = load_flow_samples(run.flow_samples)
    source = samples.origin["checkpoint"] if special else run.flow_samples.name
    for number, code in enumerate(samples.codes):
        path = folder / f"flow_{code.replace(',', '')}.png"
        sheet = flow_sheet(samples, number, source)
        write_bytes(path, sheet)
        print(f"{path}: mean error {samples.mean_errors[number].mean():.3f} px over {len(samples.names)} samples")
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
