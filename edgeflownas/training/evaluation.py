"""Evaluating subnets: recalibrate batch norm on fixed training batches, then measure on the validation set.

Subnets are evaluated one fair cycle at a time through the same graph that trains them, so any number of cycles needs
only two traces. Nothing here assigns a variable: evaluating a subnet changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.fair_sampler import complete_cycle
from edgeflownas.nas.ranking import standard_errors
from edgeflownas.nas.search_space import ArchCode, SearchSpace
from edgeflownas.network.flow_network import FlowNetwork
from edgeflownas.network.stages import network_stages
from edgeflownas.network.statistics import BATCH_NORM_EPSILON
from edgeflownas.runs.records import METRICS
from edgeflownas.training.labels import split_label
from edgeflownas.training.supernet_model import MetricsModel, PredictionModel, RecalibrationModel, SubnetModel

Watch = Callable[[dict[str, Any]], None]
"""Called before each batch with what comes next: `part` of the evaluation, `batch`, `subnet` (the first of them),
`at_once` and `subnets` (all), numbered from 1. An exception that it raises ends the evaluation, which has changed
nothing."""
CycleStatistics = list[list[np.ndarray]]
"""[mean, variance] of every batch norm in order of execution; each (paths that ran it, 1, 1, 1, channels)."""


@dataclass(frozen=True)
class Batch:
    """frames (B, H, W, 6) in [-1, 1]; flow, the `labels` of a batch; the first `samples` count."""

    frames: np.ndarray
    flow: np.ndarray
    samples: int


class Evaluator:
    """Recalibrates and evaluates the subnets of one network."""

    def __init__(self, network: FlowNetwork, init_neurons: int, flow_scale: float) -> None:
        self.space = network.space
        self._network = network
        self._predictions: dict[tuple[int, ...], PredictionModel] = {}
        self.flow_scale = flow_scale
        self._owners = batch_norm_owners(network.space, init_neurons)
        self._recalibration = RecalibrationModel(network)
        self._prediction = PredictionModel(network, flow_scale)
        self._metrics = MetricsModel(network, flow_scale)

    def evaluate(
        self,
        cycles: np.ndarray,
        recalibration: Iterable[Batch],
        validation: Iterable[Batch],
        watch: Watch | None = None,
        among: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Evaluate every subnet of some fair cycles.

        Args:
            cycles: (cycles, paths, blocks) int32.
            recalibration: fixed training batches; the statistics are their cumulative average, starting from none.
            validation: batches of one size, each sample once.
            watch: called with what is being evaluated.
            among: as `measure` takes it.

        Returns:
            Per subnet, in order: what `measure` gives, `bn_recal_batches`, and `bn_shift`, how much the last batch
            still changed the statistics.
        """
        (results,) = self.evaluate_on(cycles, recalibration, [validation], watch, among)
        return results

    def evaluate_on(
        self,
        cycles: np.ndarray,
        recalibration: Iterable[Batch],
        sets: Iterable[Iterable[Batch]],
        watch: Watch | None = None,
        among: Sequence[str] | None = None,
    ) -> list[list[dict[str, Any]]]:
        """As `evaluate`, on each of several validation sets, with the statistics of one recalibration."""
        statistics, shifts, batches = self.recalibrate(cycles, recalibration, watch)
        return [
            [
                {**result, "bn_recal_batches": batches, "bn_shift": shift}
                for result, shift in zip(
                    self.measure(cycles, statistics, validation, watch, among), shifts, strict=True
                )
            ]
            for validation in sets
        ]

    def measure(
        self,
        cycles: np.ndarray,
        statistics: list[CycleStatistics],
        validation: Iterable[Batch],
        watch: Watch | None = None,
        among: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Measure every subnet with the batch-norm statistics of its cycle.

        Args:
            among: arch codes of the subnets that are compared; None for all. The cycles may have others besides.

        Returns:
            Per subnet, in order: `code`, the metrics of `training.metrics` averaged over samples, and `epe_error`, the
            standard error of its EPE against the mean of those compared (`standard_errors`), pixels.
        """
        seen: list[np.ndarray] = []
        for number, batch in enumerate(validation, start=1):
            by_cycle = [
                self._metrics.predict_on_batch(
                    {"frames": batch.frames, "codes": codes, "statistics": statistics[index], "flow": batch.flow}
                )
                for index, codes in _watched(cycles, "validation", number, watch)
            ]
            seen.append(np.concatenate(by_cycle, dtype=np.float64)[:, : batch.samples])
        per_sample = np.concatenate(seen, axis=1)
        names = [format_code(code) for code in cycles.reshape(-1, cycles.shape[-1])]
        epes = per_sample[..., METRICS.index("epe")]
        errors = standard_errors(epes, epes if among is None else epes[[names.index(code) for code in among]])
        return [
            {"code": name, **dict(zip(METRICS, means.tolist(), strict=True)), "epe_error": float(error)}
            for name, means, error in zip(names, per_sample.mean(axis=1), errors, strict=True)
        ]

    def predict(
        self, codes: np.ndarray, recalibration: Iterable[Batch], frames: np.ndarray, watch: Watch | None = None
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """What the subnets of one fair cycle predict for some frame pairs, recalibrated as in the evaluation.

        Args:
            codes: (paths, blocks) int32.
            recalibration: fixed training batches.
            frames: (B, H, W, 6) float32 in [-1, 1].
            watch: called during the recalibration.

        Returns:
            Flow and its uncertainty, (paths, B, H, W, 2) each, pixels; and the number of recalibration batches.
        """
        statistics, _, batches = self.recalibrate(codes[None], recalibration, watch)
        inputs = {"frames": frames, "codes": codes, "statistics": statistics[0]}
        flow, sigma = self._prediction.predict_on_batch(inputs)
        return np.asarray(flow), np.asarray(sigma), batches

    def flow_at_any_size(self, codes: np.ndarray, statistics: CycleStatistics, frames: np.ndarray) -> np.ndarray:
        """What the subnets of one fair cycle predict, with given statistics, for frames of any size.

        Args:
            codes: (paths, blocks) int32.
            statistics: of the cycle.
            frames: (B, H, W, 6) float32 in [-1, 1].

        Returns:
            (paths, B, H, W, 2) float32, pixels.
        """
        size = frames.shape[1:3]
        if size not in self._predictions:
            # A model each: Keras would take the second size as a sign that none is fixed, which the network needs.
            self._predictions[size] = PredictionModel(self._network, self.flow_scale)
        inputs = {"frames": frames, "codes": codes, "statistics": statistics}
        return np.asarray(self._predictions[size].predict_on_batch(inputs)[0])

    def subnet(self, code: ArchCode, recalibration: Iterable[Batch], watch: Watch | None = None) -> SubnetModel:
        """One subnet, recalibrated as in the evaluation: it maps frames (B, H, W, 6) in [-1, 1] to flow, pixels."""
        cycle = complete_cycle(code, self.space)
        statistics, _, _ = self.recalibrate(cycle[None], recalibration, watch)
        own = path_statistics(statistics[0], self._owners, cycle, path=0)
        return SubnetModel(self._network, code, own, self.flow_scale)

    def recalibrate(
        self, cycles: np.ndarray, batches: Iterable[Batch], watch: Watch | None = None
    ) -> tuple[list[CycleStatistics], list[float], int]:
        """Estimate the statistics of every cycle as the cumulative average over `batches`.

        Returns:
            Statistics per cycle, the shift of the last batch per subnet, and the number of batches seen.
        """
        averages: list[CycleStatistics] = []
        previous: list[CycleStatistics] = []
        count = 0
        for count, batch in enumerate(batches, start=1):
            new = [
                self._recalibration.predict_on_batch({"frames": batch.frames, "codes": codes})
                for _, codes in _watched(cycles, "recalibration", count, watch)
            ]
            previous = averages if count > 1 else new
            averages = new if count == 1 else _cumulative_average(averages, new, count)
        shifts = [
            statistics_shift(
                path_statistics(previous[index], self._owners, codes, path),
                path_statistics(averages[index], self._owners, codes, path),
            )
            for index, codes in enumerate(cycles)
            for path in range(len(codes))
        ]
        return averages, shifts, count

    def zero_flow_epe(self, validation: Iterable[Batch]) -> float:
        """End-point error of predicting no motion, over the known pixels: what every subnet must beat."""
        return zero_flow_epe(validation, self.flow_scale)


def zero_flow_epe(validation: Iterable[Batch], flow_scale: float) -> float:
    """End-point error of predicting no motion, pixels, over the samples that count and their known pixels."""
    magnitudes = []
    for batch in validation:
        flow, known = split_label(batch.flow[: batch.samples])
        for number, lengths in enumerate(np.sqrt(np.square(flow).sum(axis=-1))):
            counted = lengths if known is None else lengths[known[number, ..., 0] > 0]
            magnitudes.append(counted.mean(dtype=np.float64) * flow_scale)
    return float(np.mean(magnitudes))


def _watched(cycles: np.ndarray, part: str, batch: int, watch: Watch | None) -> Iterator[tuple[int, np.ndarray]]:
    paths = cycles.shape[1]
    for index, codes in enumerate(cycles):
        if watch:
            numbers = {"subnet": index * paths + 1, "at_once": paths, "subnets": len(cycles) * paths}
            watch({"part": part, "batch": batch, **numbers})
        yield index, codes


def uncalibrated(statistics: list[CycleStatistics]) -> list[CycleStatistics]:
    """Statistics of the same shapes with which a batch norm changes nothing: mean 0, variance 1."""
    return [[[np.zeros_like(mean), np.ones_like(variance)] for mean, variance in cycle] for cycle in statistics]


def _cumulative_average(
    averages: list[CycleStatistics], new: list[CycleStatistics], count: int
) -> list[CycleStatistics]:
    return [
        [
            [average + (value - average) / np.float32(count) for average, value in zip(old_norm, new_norm, strict=True)]
            for old_norm, new_norm in zip(old_cycle, new_cycle, strict=True)
        ]
        for old_cycle, new_cycle in zip(averages, new, strict=True)
    ]


def batch_norm_owners(space: SearchSpace, init_neurons: int) -> list[tuple[int, int] | None]:
    """For every batch norm in order of execution: the (digit, option) it belongs to, None if all paths pass it."""
    owners: list[tuple[int, int] | None] = []
    for stage in network_stages(space, init_neurons):
        for option in range(len(stage.options)):
            owner = None if stage.digit is None else (stage.digit, option)
            owners += [owner] * stage.option_norms(option)
        owners += [None] * stage.shared_norms
    return owners


def path_statistics(
    statistics: CycleStatistics, owners: Sequence[tuple[int, int] | None], codes: np.ndarray, path: int
) -> CycleStatistics:
    """Pick one subnet's statistics out of its cycle's: what a `FixedPath` with its code takes."""
    picked = []
    for norm, owner in zip(statistics, owners, strict=True):
        users = np.arange(len(codes)) if owner is None else np.flatnonzero(codes[:, owner[0]] == owner[1])
        if path not in users:
            continue
        # Before the first choice all paths are the same, and a batch norm there has a single row.
        row = 0 if len(norm[0]) == 1 else int(np.flatnonzero(users == path)[0])
        picked.append([values[row : row + 1] for values in norm])
    return picked


def statistics_shift(before: CycleStatistics, after: CycleStatistics) -> float:
    """Largest root-mean-square shift of a batch norm's means, in standard deviations of what it normalises."""
    return max(
        float(np.sqrt(np.mean(np.square(new[0] - old[0]) / (new[1] + BATCH_NORM_EPSILON))))
        for old, new in zip(before, after, strict=True)
    )


def pool_summary(results: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """Mean and (population) standard deviation of the subnets' EPE, and the RMS of their standard errors, pixels."""
    epes = np.array([result["epe"] for result in results])
    errors = np.array([result["epe_error"] for result in results])
    return float(epes.mean()), float(epes.std()), float(np.sqrt(np.mean(np.square(errors))))
