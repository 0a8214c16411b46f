"""Batches for training and evaluation, as pure functions of (seed, epoch, index)."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from edgeflownas.data.augmentation import Augmentation, AugmentSettings, Crop
from edgeflownas.data.flow_files import LARGEST_KNOWN, known_pixels
from edgeflownas.data.order import central_known_crop, centre_crop, mixed_at, random_crop, random_known_crop, sample_at
from edgeflownas.data.samples import Sample, read_sample
from edgeflownas.errors import UserError

MODES = ("train", "fixed")

_SCALED = np.arange(256, dtype=np.float32) / np.float32(127.5) - 1
"""What the network takes for each value of a channel, in [−1, 1]."""
_SIX_CHANNELS = [channel for channel in range(6) for _ in ("from", "to")]


def scale_frames(frame_0: np.ndarray, frame_1: np.ndarray, out: np.ndarray) -> None:
    """Two frames, (h, w, 3) uint8 RGB, as the network takes them: (h, w, 6) float32 in [−1, 1], written to `out`."""
    # OpenCV packs the six channels and looks their values up in under half of the time that numpy computes them in.
    packed = np.empty(out.shape, np.uint8)
    cv2.mixChannels([frame_0, frame_1], [packed], _SIX_CHANNELS)
    cv2.LUT(packed.reshape(len(out), -1), _SCALED, dst=out.reshape(len(out), -1))


class FlowBatches:
    """Batch i of epoch e as a pure function of (seed, e, i): safe to read from threads, in any order, again.

    A batch is `(frames, flow)`:
        frames: (B, h, w, 6) float32 in [−1, 1], RGB of frame 0, then RGB of frame 1.
        flow: (B, h, w, 2) float32, what the network predicts: pixels, clipped to ±max_flow, over flow_scale. With
            `masked`, (B, h, w, 3): the third channel is 1 where the flow is known, and 0, as the others, where not.

    Mode "train" goes through the data pass after pass, each in a new order and each sample at a random crop, and with
    the random changes of `augment`. Epochs
    are stretches of that one stream: an epoch may end within a pass, and the next goes on where it ended.

    Mode "fixed" has the samples in the given order at their centre crop, the same in every epoch. Without
    `steps_per_epoch` it has each sample exactly once, and its last batch may be smaller. With `steps_per_epoch` all
    batches are full, and after the last sample comes the first; `first_seen` tells which are not repeats.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        crop: tuple[int, int],
        batch_size: int,
        mode: str = "train",
        steps_per_epoch: int | None = None,
        seed: int = 0,
        max_flow: float = 50.0,
        flow_scale: float = 20.0,
        read: Callable[[Sample], tuple[np.ndarray, np.ndarray, np.ndarray]] = read_sample,
        masked: bool = False,
        augment: AugmentSettings | None = None,
        shares: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        """See the class.

        Args:
            samples: what to read, for example `indexed_samples(index, "train")`.
            crop: (height, width) of a batch, pixels.
            batch_size: samples per batch.
            mode: "train" or "fixed".
            steps_per_epoch: number of batches; None for one pass (in training: as many full batches as fit in it).
            seed: of the orders and crops of mode "train"; mode "fixed" has no use for it.
            max_flow: pixels.
            flow_scale: pixels per unit of predicted flow.
            read: how a sample's frames and flow are had, for example from a `FrameCache`.
            augment: random changes of mode "train"; None for none.
            shares: in mode "train", the number of samples and the weight of each of several sets, in the order of
                `samples`; each is gone through by itself, pass after pass. None for one set.
            masked: whether flow may be unknown at some pixels. Each crop then has a known one (`order`).

        Raises:
            UserError: there are no samples, or too few for one full training batch.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
        if batch_size < 1 or (steps_per_epoch is not None and steps_per_epoch < 1):
            raise UserError(f"batch_size is {batch_size} and steps_per_epoch {steps_per_epoch}; expected at least 1")
        if not samples:
            raise UserError("there are no samples to make batches of")
        self._full_batches = mode == "train" or steps_per_epoch is not None
        if steps_per_epoch is None:
            steps_per_epoch = len(samples) // batch_size if mode == "train" else -(-len(samples) // batch_size)
        if steps_per_epoch == 0:
            raise UserError(
                f"batch_size is {batch_size}, but there are only {len(samples)} samples, so an epoch has no step; "
                "lower batch_size, or set steps_per_epoch"
            )
        self.samples, self.crop, self.batch_size, self.mode = list(samples), crop, batch_size, mode
        self.steps_per_epoch, self.seed, self.max_flow, self.flow_scale = steps_per_epoch, seed, max_flow, flow_scale
        self._shares = list(shares or [(len(self.samples), 1)])
        if sum(count for count, _ in self._shares) != len(self.samples):
            raise ValueError(f"shares are of {self._shares}, but there are {len(self.samples)} samples")
        self._read, self._masked, self._augment = read, masked, augment or AugmentSettings()

    def batch(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch `index` of epoch `epoch`; see the class.

        Raises:
            IndexError: `index` is not one of the epoch's batches.
            UserError: a file is missing or broken, smaller than the crop, or its flow is not finite, or not known where
                it must be.
        """
        positions = self._positions(epoch, index)
        frames = np.empty((len(positions), *self.crop, 6), np.float32)
        flow = np.empty((len(positions), *self.crop, 3 if self._masked else 2), np.float32)
        for number, position in enumerate(positions):
            self._load(position, frames[number], flow[number])
        return frames, flow

    def batch_samples(self, epoch: int, index: int) -> list[Sample]:
        """Which samples a batch is made of, in its order."""
        return [self._sample(position) for position in self._positions(epoch, index)]

    def first_seen(self, index: int) -> int:
        """How many samples at the head of fixed batch `index` have not been in an earlier batch."""
        return int(np.clip(len(self.samples) - index * self.batch_size, 0, self.batch_size))

    def _positions(self, epoch: int, index: int) -> range:
        """Where in the stream of samples a batch lies."""
        if not 0 <= index < self.steps_per_epoch:
            raise IndexError(f"batch {index} of an epoch of {self.steps_per_epoch}")
        step = index if self.mode == "fixed" else epoch * self.steps_per_epoch + index
        end = (step + 1) * self.batch_size
        return range(step * self.batch_size, end if self._full_batches else min(end, len(self.samples)))

    def _sample(self, position: int) -> Sample:
        if self.mode == "fixed":
            return self.samples[position % len(self.samples)]
        chosen, within = mixed_at(self.seed, position, tuple(weight for _, weight in self._shares))
        first = sum(count for count, _ in self._shares[:chosen])
        return self.samples[first + sample_at(self.seed, within, self._shares[chosen][0])]

    def _load(self, position: int, frames: np.ndarray, flow: np.ndarray) -> None:
        """Fill in one position of a batch: (h, w, 6) and (h, w, 2 or 3) float32, as the class has them."""
        sample = self._sample(position)
        frame_0, frame_1, pixels = self._read(sample)
        size, crop = pixels.shape[:2], self.crop
        if size[0] < crop[0] or size[1] < crop[1]:
            raise UserError(
                f"{sample.files[0]}: is {size[0]}x{size[1]} pixels (height x width), smaller than the crop "
                f"{crop[0]}x{crop[1]}"
            )
        known = self._known(sample, pixels) if self._masked else None
        taken = self._taken(position, Crop(frame_0, frame_1, pixels), known)
        scale_frames(taken.frame_0, taken.frame_1, frames)
        if self._masked:
            flow[..., 2] = here = known_pixels(taken.flow)
            np.multiply(np.clip(taken.flow, -self.max_flow, self.max_flow), here[..., None], out=flow[..., :2])
            flow[..., :2] /= self.flow_scale
            return
        if not np.abs(taken.flow).max() <= LARGEST_KNOWN:  # so for NaN, too
            raise UserError(f"{sample.files[2]}: flow is not finite or not known; build the data index again")
        np.clip(taken.flow, -self.max_flow, self.max_flow, out=flow)
        flow /= self.flow_scale

    def _known(self, sample: Sample, pixels: np.ndarray) -> np.ndarray:
        """Where a sample's flow is known: (H, W) bool."""
        known = known_pixels(pixels)
        if not known.any() or not np.isfinite(pixels[known]).all():
            raise UserError(f"{sample.files[2]}: flow is not finite, or known nowhere; build the data index again")
        return known

    def _taken(self, position: int, sample: Crop, known: np.ndarray | None) -> Crop:
        """What the stream has of a sample at a position: a crop, in training with random changes if any are on."""
        if self.mode == "fixed" or not self._augment.any:
            return self._window(position, sample, known)
        changes = Augmentation(self._augment, self.seed, position)
        if self._augment.resamples:
            crop = changes.resampled(sample, self.crop, known)
        else:
            crop = changes.flipped(self._window(position, sample, known))
        return changes.painted(crop)

    def _window(self, position: int, sample: Crop, known: np.ndarray | None) -> Crop:
        """The crop at a position."""
        size, crop = (sample.flow.shape[0], sample.flow.shape[1]), self.crop
        if self.mode == "fixed":
            top, left = centre_crop(size, crop) if known is None else central_known_crop(known, crop)
        elif known is None:
            top, left = random_crop(self.seed, position, size, crop)
        else:
            top, left = random_known_crop(self.seed, position, known, crop)
        window = (slice(top, top + crop[0]), slice(left, left + crop[1]))
        return Crop(sample.frame_0[window], sample.frame_1[window], sample.flow[window])
