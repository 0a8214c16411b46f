"""The data of one run: training, recalibration and validation batches according to the config."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeflownas.config import Config
from edgeflownas.data.flying_chairs import read_sample
from edgeflownas.data.frame_cache import FrameCache
from edgeflownas.data.index import indexed_samples
from edgeflownas.data.pipeline import FlowBatches
from edgeflownas.data.prefetch import prefetch
from edgeflownas.errors import UserError
from edgeflownas.training.evaluation import Batch


class RunData:
    """Batches of an indexed data set.

    steps_per_epoch and the number of validation samples are those of the config, or of its fast mode.
    """

    def __init__(self, config: Config, index: dict[str, Any]) -> None:
        """Raises: UserError if the data set is too small for one batch, or was indexed for a larger crop."""
        crop = (config["network.height"], config["network.width"])
        if index["crop"][0] < crop[0] or index["crop"][1] < crop[1]:
            raise UserError(f"the data index is for crops of {index['crop']}, the network takes {list(crop)}")
        fast = config["train.fast_mode"]
        self.index = index
        self.digest: str = index["digest"]
        self._workers: int = config["data.workers"]
        shared: dict[str, Any] = {
            "crop": crop,
            "max_flow": config["data.max_flow"],
            "flow_scale": config["data.flow_scale"],
            "read": FrameCache(config["data.cache_mb"]).read if config["data.cache_mb"] else read_sample,
        }
        train_samples = indexed_samples(index, "train")
        self._train = FlowBatches(
            train_samples,
            batch_size=config["train.batch_size"],
            steps_per_epoch=config["fast_mode.steps_per_epoch"] if fast else config["train.steps_per_epoch"],
            seed=config["seed"],
            **shared,
        )
        self.steps_per_epoch: int = self._train.steps_per_epoch
        self._recalibration = FlowBatches(
            train_samples,
            batch_size=config["eval.batch_size"],
            mode="fixed",
            steps_per_epoch=config["eval.bn_recal_batches"],
            **shared,
        )
        limit = config["fast_mode.max_samples"] if fast else config["eval.max_samples"]
        val_samples = indexed_samples(index, config["eval.split"])[:limit]
        self.val_samples = len(val_samples)
        self._val_samples = val_samples
        self._shared = shared
        # Full batches that wrap around, so that the last one needs no other trace; its repeated samples do not count.
        self._validation = FlowBatches(
            val_samples,
            batch_size=config["eval.batch_size"],
            mode="fixed",
            steps_per_epoch=-(-len(val_samples) // config["eval.batch_size"]),
            **shared,
        )

    def train_batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames and flow of a training step: a pure function of the seed and the step."""
        return self._train.batch(*divmod(step, self.steps_per_epoch))

    def train_sample_names(self, step: int) -> list[str]:
        """Which samples a training step sees."""
        samples = self._train.batch_samples(*divmod(step, self.steps_per_epoch))
        return [sample.name for sample in samples]

    def recalibration(self) -> Iterator[Batch]:
        """The fixed training batches of batch-norm recalibration."""
        return self._read(self._recalibration)

    def validation(self) -> Iterator[Batch]:
        """The validation samples, each counted once."""
        return self._read(self._validation)

    def examples(self, count: int) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Names, frames and flow of `count` validation samples (or all, if there are fewer), spread evenly."""
        picked = np.unique(np.linspace(0, self.val_samples - 1, count).round().astype(int))
        samples = [self._val_samples[index] for index in picked]
        frames, flow = FlowBatches(samples, batch_size=len(samples), mode="fixed", **self._shared).batch(0, 0)
        return [sample.name for sample in samples], frames, flow

    def _read(self, batches: FlowBatches) -> Iterator[Batch]:
        def load(index: int) -> Batch:
            return Batch(*batches.batch(0, index), samples=batches.first_seen(index))

        return prefetch(load, range(batches.steps_per_epoch), self._workers)
