"""The data of one run: training, recalibration and validation batches according to the config."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from edgeflownas.config import Config
from edgeflownas.data.augmentation import AugmentSettings
from edgeflownas.data.frame_cache import FrameCache
from edgeflownas.data.index import has_unknown_flow, indexed_samples, training_shares
from edgeflownas.data.layouts.layout import further_sets, further_split
from edgeflownas.data.pipeline import FlowBatches
from edgeflownas.data.prefetch import prefetch
from edgeflownas.data.samples import Sample, read_sample
from edgeflownas.errors import UserError
from edgeflownas.training.evaluation import Batch


@dataclass(frozen=True)
class DataSettings:
    """How samples become batches."""

    seed: Annotated[int, "seed"]
    height: Annotated[int, "network.height"]
    width: Annotated[int, "network.width"]
    max_flow: Annotated[float, "data.max_flow"]
    flow_scale: Annotated[float, "data.flow_scale"]
    workers: Annotated[int, "data.workers"]
    cache_mb: Annotated[int, "data.cache_mb"]
    batch_size: Annotated[int, "train.batch_size"]
    steps_per_epoch: Annotated[int | None, "train.steps_per_epoch"]
    eval_split: Annotated[str, "eval.split"]
    eval_batch_size: Annotated[int, "eval.batch_size"]
    eval_max_samples: Annotated[int | None, "eval.max_samples"]
    bn_recal_batches: Annotated[int, "eval.bn_recal_batches"]
    fast_mode: Annotated[bool, "train.fast_mode"]
    fast_steps_per_epoch: Annotated[int, "fast_mode.steps_per_epoch"]
    fast_max_samples: Annotated[int, "fast_mode.max_samples"]


class RunData:
    """Batches of an indexed data set.

    steps_per_epoch and the number of validation samples are those of the config, or of its fast mode. `further` has the
    number of samples of each validation set besides, by its name.
    """

    def __init__(self, config: Config, index: dict[str, Any]) -> None:
        """Raises: UserError if the data set is too small for one batch, or was indexed for a larger crop."""
        settings = config.view(DataSettings)
        crop = (settings.height, settings.width)
        if index["crop"][0] < crop[0] or index["crop"][1] < crop[1]:
            raise UserError(f"the data index is for crops of {index['crop']}, the network takes {list(crop)}")
        self.index = index
        self.digest: str = index["digest"]
        self._workers = settings.workers
        shared: dict[str, Any] = {
            "crop": crop,
            "max_flow": settings.max_flow,
            "flow_scale": settings.flow_scale,
            "read": FrameCache(settings.cache_mb).read if settings.cache_mb else read_sample,
        }
        further = {name: further_split(name) for name in further_sets(index["splits"])}
        # One shape of labels for all validation sets, so that there is one trace; training has no use for their mask.
        of_training = {**shared, "masked": has_unknown_flow(index, ["train"])}
        shared["masked"] = has_unknown_flow(index, [settings.eval_split, *further.values()])
        train_samples = indexed_samples(index, "train")
        self._train = FlowBatches(
            train_samples,
            batch_size=settings.batch_size,
            steps_per_epoch=settings.fast_steps_per_epoch if settings.fast_mode else settings.steps_per_epoch,
            seed=settings.seed,
            augment=config.view(AugmentSettings),
            shares=training_shares(index),
            **of_training,
        )
        self.steps_per_epoch: int = self._train.steps_per_epoch
        self._recalibration = FlowBatches(
            train_samples,
            batch_size=settings.eval_batch_size,
            mode="fixed",
            steps_per_epoch=settings.bn_recal_batches,
            **of_training,
        )
        limit = settings.fast_max_samples if settings.fast_mode else settings.eval_max_samples
        self._train_samples, self._of_training = train_samples, of_training
        self._val_samples = indexed_samples(index, settings.eval_split)[:limit]
        self.val_samples = len(self._val_samples)
        self._shared = shared
        self._eval_batch_size = settings.eval_batch_size
        self._validation = self._each_once(self._val_samples)
        self._further = {name: self._each_once(indexed_samples(index, part)[:limit]) for name, part in further.items()}
        self.further = {name: len(batches.samples) for name, batches in self._further.items()}

    def _each_once(self, samples: list[Sample]) -> FlowBatches:
        # Full batches that wrap around, so that the last one needs no other trace; its repeated samples do not count.
        return FlowBatches(
            samples,
            batch_size=self._eval_batch_size,
            mode="fixed",
            steps_per_epoch=-(-len(samples) // self._eval_batch_size),
            **self._shared,
        )

    def train_batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames and label of a training step: a pure function of the seed and the step."""
        return self._train.batch(*divmod(step, self.steps_per_epoch))

    def train_sample_names(self, step: int) -> list[str]:
        """Which samples a training step sees."""
        samples = self._train.batch_samples(*divmod(step, self.steps_per_epoch))
        return [sample.name for sample in samples]

    def recalibration(self) -> Iterator[Batch]:
        """The fixed training batches of batch-norm recalibration."""
        return self._read(self._recalibration)

    def validation(self, further: str | None = None) -> Iterator[Batch]:
        """The validation samples, each counted once; those of a `further` set, if one is named."""
        return self._read(self._validation if further is None else self._further[further])

    def calibration(self, count: int) -> tuple[list[str], np.ndarray]:
        """Names and frames, (N, H, W, 6) uint8, of `count` training samples (or all), spread evenly, centre crop."""
        picked = np.unique(np.linspace(0, len(self._train_samples) - 1, count).round().astype(int))
        samples = [self._train_samples[index] for index in picked]
        # One at a time: as bytes they take a quarter of the memory.
        batches = FlowBatches(samples, batch_size=1, mode="fixed", **self._of_training)
        frames = [np.rint((batches.batch(0, index)[0] + 1) * 127.5).astype(np.uint8) for index in range(len(samples))]
        return [sample.name for sample in samples], np.concatenate(frames)

    def examples(self, count: int) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Names, frames and labels of `count` validation samples (or all, if there are fewer), spread evenly."""
        picked = np.unique(np.linspace(0, self.val_samples - 1, count).round().astype(int))
        samples = [self._val_samples[index] for index in picked]
        frames, flow = FlowBatches(samples, batch_size=len(samples), mode="fixed", **self._shared).batch(0, 0)
        return [sample.name for sample in samples], frames, flow

    def _read(self, batches: FlowBatches) -> Iterator[Batch]:
        def load(index: int) -> Batch:
            return Batch(*batches.batch(0, index), samples=batches.first_seen(index))

        return prefetch(load, range(batches.steps_per_epoch), self._workers)
