"""Make a data set to overfit: centre crops of the first training pairs of another one.

In train/ are the pairs, at the size of the crop, so that training always sees all of them. In val/ are the same pairs
with the two frames swapped and the flow unchanged. `eval.split` chooses which split is evaluated.
"""

import shutil
from pathlib import Path

import cv2
import numpy as np

from edgeflownas.data.flow_files import known_pixels, write_flow
from edgeflownas.data.layouts.flying_chairs2 import sample_of
from edgeflownas.data.layouts.registry import AUTO, LAYOUTS, find_layout
from edgeflownas.data.order import centre_crop
from edgeflownas.data.samples import Sample, read_sample
from edgeflownas.errors import EXIT_DONE, UserError, make_folder, require_writable_folder, run_command, writing
from edgeflownas.parsers import command_parser


def make_overfit_set(
    source: Path, out: Path, pairs: int, crop: tuple[int, int], replace: bool = False, layout: str = AUTO
) -> None:
    """Write `<out>/train` and `<out>/val` in the FlyingChairs2 layout: all of it, or nothing.

    Args:
        source: a data set.
        pairs: how many of its training pairs to take, in the order of their names.
        crop: (height, width), pixels.
        replace: whether it takes the place of what lies at `out`, once it is complete.
        layout: how the source lies on disk, as `data.layout`.

    Raises:
        CannotWrite: the system refuses.
        UserError: `out` exists and is not empty, without `replace`; the source has fewer pairs, smaller ones, or
            some whose flow is not known everywhere in the crop, which this layout cannot say.
    """
    if not replace and out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty; remove it, or give another --out, or --replace")
    partial = out.with_name(f".{out.name}.partial")
    with writing(partial):
        _remove(partial)
        try:
            _write_pairs(source, partial, pairs, crop, layout)
            _remove(out)
            partial.rename(out)
        finally:
            _remove(partial)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _write_pairs(source: Path, out: Path, pairs: int, crop: tuple[int, int], layout: str) -> None:
    samples = find_layout(source, layout).scan(source, "train", "all").samples
    if len(samples) < pairs:
        raise UserError(f"{source}: the training split has {len(samples)} pairs, {pairs} are needed; lower --pairs")
    for number, sample in enumerate(samples[:pairs]):
        *frames, flow = read_sample(sample)
        height, width = flow.shape[:2]
        if height < crop[0] or width < crop[1]:
            raise UserError(f"{sample.files[0]}: is {height}x{width} pixels, smaller than the crop {crop[0]}x{crop[1]}")
        top, left = centre_crop((height, width), crop)
        window = (slice(top, top + crop[0]), slice(left, left + crop[1]))
        if not known_pixels(flow[window]).all():
            raise UserError(
                f"{sample.files[2]}: flow is not known everywhere in the crop; give --source another data set"
            )
        frame_0, frame_1 = (frame[window] for frame in frames)
        name = sample.name if sample.name.isdecimal() else f"{number:07d}"
        write_sample(sample_of(out / "train", name), frame_0, frame_1, flow[window])
        write_sample(sample_of(out / "val", name), frame_1, frame_0, flow[window])


def write_sample(sample: Sample, frame_0: np.ndarray, frame_1: np.ndarray, flow: np.ndarray) -> None:
    """Write a pair's files. Frames: (H, W, 3) uint8 RGB; flow: (H, W, 2) float32, pixels."""
    make_folder(sample.folder)
    *frame_paths, flow_path = sample.files
    with writing(sample.folder):
        for path, frame in zip(frame_paths, (frame_0, frame_1), strict=True):
            _, png = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR))
            path.write_bytes(png.tobytes())
        write_flow(flow_path, flow)


def main() -> int:
    """The command; see the module's text."""
    parser = command_parser(
        "edgeflownas.studies.overfit_set",
        __doc__.splitlines()[0],
        ("--source ../shared/data/flying_chairs_examples --pairs 6 --height 96 --width 128 --out outputs/memory",),
    )
    parser.add_argument("--source", type=Path, required=True, help="a data set")
    parser.add_argument("--layout", choices=(AUTO, *LAYOUTS), default=AUTO, help="how it lies there (%(default)s)")
    parser.add_argument("--pairs", type=int, default=6, help="how many training pairs (%(default)s)")
    parser.add_argument("--height", type=int, default=96, help="of the crop, pixels (%(default)s)")
    parser.add_argument("--width", type=int, default=128, help="of the crop, pixels (%(default)s)")
    parser.add_argument("--out", type=require_writable_folder, required=True, help="folder to make")
    parser.add_argument("--replace", action="store_true", help="put it in the place of what lies at --out")
    arguments = parser.parse_args()
    if min(arguments.pairs, arguments.height, arguments.width) < 1:
        raise UserError("--pairs, --height and --width must be at least 1")
    crop = (arguments.height, arguments.width)
    make_overfit_set(arguments.source, arguments.out, arguments.pairs, crop, arguments.replace, arguments.layout)
    print(f"{arguments.out}: {arguments.pairs} pairs of {arguments.source}, {crop[0]}x{crop[1]} pixels")
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
