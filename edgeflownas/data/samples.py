"""One sample, whatever layout it is from: two frames, a flow and, where the set has one, a mask of unknown pixels."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeflownas.data.files import Opened
from edgeflownas.data.flow_files import UNKNOWN
from edgeflownas.data.png_files import decode_mask, open_mask
from edgeflownas.data.readers import decode_flow, decode_frame, open_flow, open_frame
from edgeflownas.errors import UserError

_OPENERS = (open_frame, open_frame, open_flow, open_mask)


@dataclass(frozen=True, order=True)
class Sample:
    """One frame pair with its flow.

    Attributes:
        folder: what error messages leave out.
        name: unique in its split.
        parts: names of frame 0, frame 1, the flow from 0 to 1 and, in some sets, the mask of unknown pixels, each
            relative to `folder`.
    """

    folder: Path
    name: str
    parts: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Paths of frame 0, frame 1, the flow, and the mask if there is one."""
        return tuple(self.folder / part for part in self.parts)


@contextmanager
def open_sample(sample: Sample) -> Iterator[list[Opened]]:
    """Open a sample's files, in their order, and compare their sizes before anything is decoded.

    Raises:
        UserError: a file is missing or broken, or they do not have the same size.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(opens(path)) for opens, path in zip(_OPENERS, sample.files, strict=False)]
        first = opened[0]
        for one in opened:
            if (one.height, one.width) != (first.height, first.width):
                raise UserError(
                    f"{one.path}: is {one.width}x{one.height} pixels, but its frame 0 is "
                    f"{first.width}x{first.height} (width x height); the files of a sample have one size"
                )
        yield opened


def read_sample(sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a frame pair and its flow.

    Returns:
        frame 0 and frame 1, (H, W, 3) uint8 RGB each, and the flow, (H, W, 2) float32, pixels; where it is not known,
        it is beyond `flow_files.LARGEST_KNOWN`.

    Raises:
        UserError: as `open_sample`, or a file cannot be decoded.
    """
    with open_sample(sample) as (frame_0, frame_1, *labels):
        return decode_frame(frame_0), decode_frame(frame_1), decode_labels(labels)


def read_sample_flow(sample: Sample) -> np.ndarray:
    """The flow alone, as `read_sample` has it.

    Raises:
        UserError: as `read_sample`.
    """
    with ExitStack() as stack:
        return decode_labels(
            [stack.enter_context(opens(path)) for opens, path in zip(_OPENERS[2:], sample.files[2:], strict=False)]
        )


def decode_labels(labels: Sequence[Opened]) -> np.ndarray:
    """The flow of an open flow file and, if there is one, its mask: as `read_sample` has it.

    Raises:
        UserError: a file is damaged, or they have not the same size.
    """
    flow = decode_flow(labels[0])
    if len(labels) > 1:
        mask = decode_mask(labels[1])
        if mask.shape != flow.shape[:2]:
            raise UserError(f"{labels[1].path}: has another size than its flow; fetch both again")
        flow[mask] = UNKNOWN
    return flow
