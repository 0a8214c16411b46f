"""Generate a data set of synthetic scenes in the FlyingChairs2 layout.

    python -m edgeflownas.data.synthetic --root DIR --train N --val M --height H --width W --seed S

Scene i of a split is a pure function of (seed, split, i), so the files are the same whenever and however generated.
The folder appears complete or not at all, and holds `synthetic.json` with the parameters it was made from.
"""

import argparse
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from edgeflownas.artifacts import write_json
from edgeflownas.data.flow_files import write_flow
from edgeflownas.data.generated import KINDS, MARKER, SyntheticParameters, already_there
from edgeflownas.data.layouts.flying_chairs2 import sample_of
from edgeflownas.data.layouts.layout import SPLITS
from edgeflownas.data.prefetch import prefetch
from edgeflownas.data.scenes import SceneSettings, render_scene
from edgeflownas.data.smooth_scenes import render_smooth_scene
from edgeflownas.data.streams import Purpose, philox
from edgeflownas.errors import UserError, make_folder, run_command, writing
from edgeflownas.parsers import command_parser

_PURPOSES = {"train": Purpose.SCENE_TRAIN, "val": Purpose.SCENE_VAL}


def generate(root: Path | str, parameters: SyntheticParameters, workers: int = 2) -> bool:
    """Make sure that `root` is the data set of these parameters.

    Args:
        root: the folder to make. It may exist if it is empty or holds exactly this data set.
        workers: number of threads; does not change the files.

    Returns:
        True if the data set was generated, False if it was already there.

    Raises:
        UserError: `root` is something else, which is left as it is.
        CannotWrite: the system refuses.
    """
    if already_there(root, parameters):
        return False
    root = Path(root).resolve()
    make_folder(root.parent)
    with writing(root), _partial_folder(root) as partial:
        _write_all(partial, parameters, workers)
        partial.chmod((partial / SPLITS[0]).stat().st_mode)  # mkdtemp makes private folders
        return _put_in_place(partial, root, parameters)


@contextmanager
def _partial_folder(root: Path) -> Iterator[Path]:
    """A temporary folder next to `root`, deleted afterwards.

    Folders that killed processes left are removed first. A folder is locked while its process is alive, so a folder
    in use is never removed."""
    prefix = f".{root.name}.partial-"
    for left in root.parent.glob(f"{glob.escape(prefix)}*"):
        if (handle := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(handle)
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=root.parent))
    handle = _lock(partial)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _lock(folder: Path) -> int | None:
    """Lock a folder until the handle is closed; None if another process has it, or this file system cannot say."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _put_in_place(partial: Path, root: Path, parameters: SyntheticParameters) -> bool:
    """Rename `partial` to `root`; False if another process has put the same data there in the meantime."""
    try:
        os.rename(partial, root)  # onto nothing or an empty folder; onto anything else it fails
    except OSError:
        if already_there(root, parameters):
            return False
        raise
    return True


def _write_all(folder: Path, parameters: SyntheticParameters, workers: int) -> None:
    settings = SceneSettings(parameters.height, parameters.width, parameters.max_motion, parameters.shapes)
    render = {"layers": render_scene, "smooth": render_smooth_scene}[parameters.kind]

    def write(job: tuple[str, int]) -> None:
        split, index = job
        scene = render(settings, np.random.Generator(philox(parameters.seed, _PURPOSES[split], index)))
        *frame_paths, flow_path = sample_of(folder / split, f"{index:07d}").files
        for path, frame in zip(frame_paths, scene.frames, strict=True):
            _, png = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            path.write_bytes(png.tobytes())
        write_flow(flow_path, scene.flow)

    counts = {"train": parameters.train, "val": parameters.val}
    for split in SPLITS:
        (folder / split).mkdir()
    jobs = [(split, index) for split in SPLITS for index in range(counts[split])]
    for _ in prefetch(write, jobs, workers):
        pass
    write_json(folder / MARKER, parameters.marker())


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.data.synthetic",
        __doc__.splitlines()[0],
        ("--root data/scenes --train 96 --val 16 --height 200 --width 264 --seed 7",),
    )
    parser.add_argument("--root", type=Path, required=True, help="folder to make, with train/ and val/ in it")
    parser.add_argument("--train", type=int, required=True, help="number of training scenes")
    parser.add_argument("--val", type=int, required=True, help="number of validation scenes")
    parser.add_argument("--height", type=int, required=True, help="frame height, pixels")
    parser.add_argument("--width", type=int, required=True, help="frame width, pixels")
    parser.add_argument("--seed", type=int, required=True, help="decides every scene")
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0], help="what scenes look like (%(default)s)")
    parser.add_argument("--max_motion", type=float, default=40.0, help="largest translation, pixels (%(default)s)")
    parser.add_argument(
        "--shapes", type=int, nargs=2, default=(3, 8), metavar=("MIN", "MAX"), help="foreground shapes per scene (3 8)"
    )
    parser.add_argument("--workers", type=int, default=2, help="threads (%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's text."""
    arguments = vars(_parser().parse_args(argv))
    root, workers, shapes = arguments.pop("root"), arguments.pop("workers"), tuple(arguments.pop("shapes"))
    if workers < 1:
        raise UserError(f"--workers is {workers}; expected at least 1")
    parameters = SyntheticParameters(**arguments, shapes=shapes)
    made = generate(root, parameters, workers)
    scenes = f"{parameters.train} training and {parameters.val} validation scenes, seed {parameters.seed}"
    print(f"{root}: {'generated' if made else 'already holds'} {scenes}")
    return 0


if __name__ == "__main__":
    run_command(main)
