"""Videos by OpenCV: their frames one after another, and writing one."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from edgeflownas.errors import UserError, make_folder, writing

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
"""The codec that a video to write has, by its suffix."""
FRAMES_PER_SECOND = 25.0
"""Of a video that is made of single frames."""


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of a video, (H, W, 3) uint8 RGB each.

    Raises:
        UserError: it is not there, or OpenCV reads fewer than two frames of it.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    video = cv2.VideoCapture(str(path))
    count = 0
    while True:
        there, frame = video.read()
        if not there:
            break
        count += 1
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    video.release()
    if count < 2:
        raise UserError(f"{path}: OpenCV reads {count} frame(s) of it; expected a video of at least two")


def frames_per_second(path: Path) -> float:
    """Of a video; `FRAMES_PER_SECOND` where it does not say."""
    video = cv2.VideoCapture(str(path))
    found = float(video.get(cv2.CAP_PROP_FPS))
    video.release()
    return found if 0 < found < 1000 else FRAMES_PER_SECOND


def require_codec(path: Path) -> None:
    """Refuse a video that OpenCV could not write here, before anything is computed for it.

    Raises:
        UserError: no codec for its suffix, by the list here or in this build of OpenCV.
    """
    if path.suffix.lower() not in CODECS:
        raise UserError(f"{path}: expected a video with the suffix {' or '.join(CODECS)}")
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder) / f"try{path.suffix.lower()}", [np.zeros((64, 64, 3), np.uint8)], 1.0, path)


def write_video(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    """Write frames of one size, (H, W, 3) uint8 RGB, as a video of `rate` frames per second.

    Where a side is odd, its last pixels come twice: these codecs would leave them out.

    Raises:
        CannotWrite: the system refuses.
        UserError: OpenCV cannot write it.
    """
    make_folder(path.parent)
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix.lower()}")
    try:
        with writing(path):
            unfinished.touch()
            _write(unfinished, frames, rate, path)
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write(target: Path, frames: Iterable[np.ndarray], rate: float, named: Path) -> None:
    codec, count = CODECS[target.suffix], 0
    writer = cv2.VideoWriter()
    for picture in frames:
        odd = picture.shape[0] % 2, picture.shape[1] % 2
        frame = np.pad(picture, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
        if not count and not writer.open(
            str(target), cv2.VideoWriter.fourcc(*codec), rate, (frame.shape[1], frame.shape[0])
        ):
            others = " or ".join(suffix for suffix in CODECS if suffix != target.suffix)
            raise UserError(
                f"{named}: OpenCV {cv2.__version__} cannot write {target.suffix} here, because its codec {codec} is "
                f"missing; give a name that ends in {others}, or make a video of the pictures with another program"
            )
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        count += 1
    writer.release()
    # OpenCV does not say when a frame could not be written.
    written = cv2.VideoCapture(str(target))
    found = int(written.get(cv2.CAP_PROP_FRAME_COUNT))
    written.release()
    if found != count:
        raise UserError(f"{named}: {found} of {count} frames could be written; is there space left?")
