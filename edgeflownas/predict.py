"""Predict the flow of your own frames with a subnet of a trained supernet: .flo files and pictures."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np

from edgeflownas.artifacts import read_json, write_bytes
from edgeflownas.data.fitting import WAYS, Fit
from edgeflownas.data.flow_colours import flow_colours
from edgeflownas.data.flow_files import LARGEST_KNOWN, write_flow
from edgeflownas.data.pipeline import scale_frames
from edgeflownas.data.readers import FRAMES, open_flow, open_frame, read_flow, read_frame
from edgeflownas.data.video_files import (
    CODECS,
    FRAMES_PER_SECOND,
    frames_per_second,
    read_frames,
    require_codec,
    write_video,
)
from edgeflownas.errors import (
    EXIT_DONE,
    UserError,
    make_folder,
    require_writable,
    require_writable_folder,
    run_command,
    writing,
)
from edgeflownas.nas.arch_codec import format_code, parse_code
from edgeflownas.nas.search_space import ArchCode, SearchSpace, load_search_space
from edgeflownas.parsers import command_parser
from edgeflownas.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    from edgeflownas.training.supernet_model import SubnetModel

EXAMPLES = (
    "--run_dir outputs/supernet/runs/gate4 frame_0001.png frame_0002.png",
    "--run_dir outputs/supernet/runs/supernet --arch 0,0,0,0,2,1,2,2,2 --fit crop --flow frame_0001.flo "
    "frame_0001.png frame_0002.png",
    "--run_dir outputs/supernet/runs/supernet --fit tiles --video walk.mp4 --out flow --video_out flow.mp4",
)


@dataclass(frozen=True)
class PredictSettings:
    """What the network takes."""

    height: Annotated[int, "network.height"]
    width: Annotated[int, "network.width"]
    search_space: Annotated[str, "network.search_space"]


@dataclass(frozen=True)
class Pair:
    """Two frames, (H, W, 3) uint8 RGB, and what their results are called."""

    name: str
    frame_0: np.ndarray
    frame_1: np.ndarray


def pairs_of(frames: Sequence[Path], video: Path | None) -> Iterator[Pair]:
    """Pairs of neighbouring frames: of two files, of a folder of them in the order of their names, or of a video.

    Raises:
        UserError: something else, a file that cannot be read, or frames of different sizes.
    """
    if video is not None:
        if frames:
            raise UserError("give frames or --video, not both")
        named = ((f"{video.stem}_{number:06d}", frame) for number, frame in enumerate(read_frames(video), start=1))
    else:
        named = ((path.stem, read_frame(path)) for path in _frame_files(frames))
    for (name, frame_0), (other, frame_1) in pairwise(named):
        if frame_0.shape != frame_1.shape:
            sizes = " and ".join(f"{frame.shape[1]}x{frame.shape[0]}" for frame in (frame_0, frame_1))
            raise UserError(f"{name} and {other} are {sizes} pixels (width x height); expected frames of one size")
        yield Pair(name, frame_0, frame_1)


def _frame_files(frames: Sequence[Path]) -> list[Path]:
    """Two files, or those of a folder."""
    if len(frames) == 1 and frames[0].is_dir():
        found = sorted(path for path in frames[0].iterdir() if path.suffix.lower() in FRAMES)
        kinds = sorted({path.suffix.lower() for path in found})
        if len(found) < 2 or len(kinds) > 1:
            holds = f"{len(found)} frames ({', '.join(kinds)})" if found else f"no frame ({', '.join(FRAMES)})"
            raise UserError(f"{frames[0]}: holds {holds}; expected at least two, of one kind")
        return found
    if len(frames) != 2:
        raise UserError(f"expected two frames, a folder of frames or --video FILE, got {len(frames)} name(s)")
    return list(frames)


def end_point_errors(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """EPE of predicted flow, EPE of predicting no motion (both over the known pixels, pixels), and the share of those.

    Args:
        predicted: (H, W, 2) float32, pixels.
        truth: the same, beyond `LARGEST_KNOWN` where it is not known.
    """
    known = (np.abs(truth) <= LARGEST_KNOWN).all(axis=-1)
    error = np.linalg.norm((predicted - truth)[known].astype(np.float64), axis=-1)
    length = np.linalg.norm(truth[known].astype(np.float64), axis=-1)
    return float(error.mean()), float(length.mean()), float(known.mean())


def chosen_code(run: RunDirectory, arch: str | None, space: SearchSpace) -> ArchCode:
    """The code that is asked for; else the best one of the run's last evaluation, else the space's reference."""
    if arch is not None:
        return parse_code(arch, space)
    if not run.pool_results.is_file():
        return space.reference
    subnets = read_json(run.pool_results, "pool_results.schema.json")["subnets"]
    return parse_code(min(subnets, key=lambda subnet: float(subnet["epe"]))["code"], space)


def predict_pair(subnet: "SubnetModel", pair: Pair, fit: Fit) -> np.ndarray:
    """Flow of a pair at the size that it is fitted to, (h, w, 2) float32, pixels of that size."""
    frame_0, frame_1 = fit.frame(pair.frame_0), fit.frame(pair.frame_1)
    frames = np.empty((*frame_0.shape[:2], 6), np.float32)
    scale_frames(frame_0, frame_1, frames)
    return fit.flow(subnet.predict_on_batch, frames)


def write_flow_video(path: Path, flows: Sequence[Path], rate: float, radius: float | None) -> float:
    """Write the pictures of some .flo files as a video, all on one scale; returns the length of full colour, pixels."""
    full = radius or max(1.0, *(float(np.linalg.norm(read_flow(flow), axis=-1).max()) for flow in flows))
    write_video(path, (flow_colours(read_flow(flow), full) for flow in flows), rate)
    return full


def save(folder: Path, name: str, flow: np.ndarray, radius: float | None) -> tuple[Path, Path, float]:
    """Write flow and its picture; returns their paths and the length that has full colour, pixels."""
    paths = folder / f"{name}_flow.flo", folder / f"{name}_flow.png"
    full = radius or max(1.0, float(np.linalg.norm(flow, axis=-1).max()))
    picture = cv2.cvtColor(flow_colours(flow, full), cv2.COLOR_RGB2BGR)
    make_folder(folder)
    with writing(paths[0]):
        write_flow(paths[0], flow)
    write_bytes(paths[1], cv2.imencode(".png", picture)[1].tobytes())
    return *paths, full


def _parser() -> argparse.ArgumentParser:
    description = (
        "Predict the flow between two frames, the frames of a folder, or those of a video, with one subnet of a run's "
        "checkpoint, recalibrated as in the evaluation on the run's training data. Writes NAME_flow.flo and "
        "NAME_flow.png for each pair, in pixels of the size that was predicted, and a video of the pictures if asked."
    )
    parser = command_parser("edgeflownas.predict", description, EXAMPLES)
    add = parser.add_argument
    add("frames", nargs="*", type=Path, metavar="FRAME", help="two frames (png, ppm, jpg), or a folder of them")
    add("--video", type=Path, metavar="FILE", help="a video in place of frames")
    add("--run_dir", type=Path, required=True, metavar="FOLDER", help="the run directory")
    add("--checkpoint", default="best", metavar="best|last|FILE", help="which checkpoint (%(default)s)")
    add("--arch", metavar="CODE", help="arch code (the best of the run's last evaluation)")
    add(
        "--fit",
        choices=WAYS,
        default="resize",
        help="resize: the whole frame at the network's size; crop: its middle, as evaluated; tiles: the frame at its "
        "own size, by overlapping windows of the network's size; full: all of it at once, which takes more memory "
        "(%(default)s)",
    )
    add("--flow", type=Path, metavar="TRUTH", help="the true flow of the two frames (flo, pfm, KITTI's png): print EPE")
    add("--radius", type=float, metavar="PIXELS", help="length of full colour in the pictures (the longest of each)")
    add(
        "--video_out",
        type=require_writable,
        metavar="FILE",
        help=f"also write the pictures as a video ({' or '.join(CODECS)}), all with the same --radius, as fast as "
        f"--video, or {FRAMES_PER_SECOND:g} a second",
    )
    add(
        "--out",
        type=require_writable_folder,
        metavar="FOLDER",
        help="where it goes (predictions/ in the run directory)",
    )
    return parser


def _check_inputs(arguments: argparse.Namespace, fit: Fit) -> None:
    """Refuse what could not be predicted, before anything is computed."""
    if arguments.radius is not None and not arguments.radius > 0:
        raise UserError(f"--radius is {arguments.radius}; expected more than 0 pixels")
    if arguments.flow is not None and len(arguments.frames) != 2:
        raise UserError("--flow is the true flow of one pair: give two frames with it")
    if arguments.flow is not None:
        with open_flow(arguments.flow) as flow, open_frame(arguments.frames[0]) as frame:
            if (flow.height, flow.width) != (frame.height, frame.width):
                raise UserError(
                    f"{arguments.flow}: is {flow.width}x{flow.height} pixels, but {frame.path} is "
                    f"{frame.width}x{frame.height} (width x height)"
                )
    if arguments.video_out is not None:
        require_codec(arguments.video_out)
    first = next(pairs_of(arguments.frames, arguments.video))
    height, width = first.frame_0.shape[:2]
    if not fit.takes_smaller and (height < fit.size[0] or width < fit.size[1]):
        raise UserError(
            f"{first.name}: is {height}x{width} pixels (height x width), smaller than the network's "
            f"{fit.size[0]}x{fit.size[1]}; take --fit resize"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.predict`."""
    arguments = _parser().parse_args(argv)
    run = RunDirectory(arguments.run_dir)
    config = run.read_config({})
    settings = config.view(PredictSettings)
    code = chosen_code(run, arguments.arch, load_search_space(settings.search_space))
    fit = Fit(arguments.fit, (settings.height, settings.width))
    folder = arguments.out or require_writable_folder(run.path / "predictions")
    _check_inputs(arguments, fit)

    from edgeflownas.training.restored import load_evaluator

    path, _, evaluator, data = load_evaluator(config, arguments.checkpoint)
    began = time.perf_counter()
    subnet = evaluator.subnet(code, data.recalibration())
    print(f"subnet {format_code(code)} of {path}, recalibrated in {time.perf_counter() - began:.1f} s")
    seconds, flows = [], []
    for pair in pairs_of(arguments.frames, arguments.video):
        began = time.perf_counter()
        flow = predict_pair(subnet, pair, fit)
        seconds.append(time.perf_counter() - began)
        flo, picture, full = save(folder, pair.name, flow, arguments.radius)
        flows.append(flo)
        length = float(np.linalg.norm(flow, axis=-1).mean())
        print(f"{flo} and {picture.name}: mean length {length:.2f} px, full colour at {full:.1f} px")
        if arguments.flow is not None:
            truth = fit.truth(read_flow(arguments.flow))
            size = truth.shape[0], truth.shape[1]
            epe, zero, share = end_point_errors(fit.predicted(flow, size), truth)
            print(f"EPE {epe:.4f} px, zero-flow {zero:.4f} px, of {size[1]}x{size[0]} pixels {share:.1%} known")
    print(_times(seconds, flow.shape))
    if arguments.video_out is not None:
        rate = frames_per_second(arguments.video) if arguments.video else FRAMES_PER_SECOND
        full = write_flow_video(arguments.video_out, flows, rate, arguments.radius)
        print(f"{arguments.video_out}: {len(flows)} pictures, full colour at {full:.1f} px")
    return EXIT_DONE


def _times(seconds: Sequence[float], size: tuple[int, ...]) -> str:
    first = f"first pair {seconds[0]:.2f} s, compiling included"
    if len(seconds) == 1:
        return first
    return f"{first}; {1000 * float(np.median(seconds[1:])):.1f} ms per pair of {size[1]}x{size[0]} after it (median)"


if __name__ == "__main__":
    run_command(main)
