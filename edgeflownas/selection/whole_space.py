"""Evaluating every subnet of a search space along its tree: equal to `training.evaluation`, at a fraction of the work.

Each option of each stage is compiled once. A subtree is evaluated in two passes, depth-first, each a few samples at a
time, so that memory is that of one path from the root to a leaf: recalibration collects the batch-norm statistics of
all nodes, which are small, and validation computes flow with them.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from keras import ops

from edgeflownas.network.flow_network import FlowNetwork
from edgeflownas.network.layers import resize_bilinear, unfolded
from edgeflownas.network.routes import FixedPath
from edgeflownas.network.stages import size_at
from edgeflownas.network.statistics import GivenStatistics, RecordedStatistics
from edgeflownas.runs.records import METRICS
from edgeflownas.selection.compiled import compiled
from edgeflownas.selection.flow_sums import FlowSums
from edgeflownas.selection.tree import Options, Tree
from edgeflownas.training.evaluation import Batch, zero_flow_epe

RECALIBRATE, RUN, HEAD, SUMS = "recalibrate", "run", "head", "sums"

# A call is measured so often; the first ones after it was compiled are slow.
MEASURED = 3

Call = tuple[str, int, int]
"""What is computed: recalibrating or running a trunk's option, a head's option, or the sums at a leaf of the trunk; the
position of the step among the tree's; and the option."""
Watch = Callable[[Call], None]
"""Told of each call once it is done. An exception that it raises ends the evaluation."""


@dataclass(frozen=True)
class Samples:
    """All samples of an evaluation, in the chunks in which they are computed.

    recalibration: (batches of the chunk, B, H, W, 6) each; every batch is normalised by itself.
    validation: (samples of the chunk, H, W, 6) and FlowSums each; the last chunk repeats samples.
    count: validation samples.
    zero_flow_epe: of them, pixels.
    """

    recalibration: list[np.ndarray]
    validation: list[tuple[np.ndarray, FlowSums]]
    count: int
    zero_flow_epe: float


def samples_in_chunks(
    recalibration: Iterable[Batch], validation: Iterable[Batch], flow_scale: float, chunk: int
) -> Samples:
    """Read all batches. `chunk`: about how many samples are computed at a time."""
    batches = [batch.frames for batch in recalibration]
    together = max(1, chunk // len(batches[0]))
    # All groups alike, so that nothing is compiled for a smaller last one.
    while len(batches) % together:
        together -= 1
    groups = [np.stack(batches[start : start + together]) for start in range(0, len(batches), together)]
    read = list(validation)
    frames = np.concatenate([batch.frames[: batch.samples] for batch in read])
    truth = np.concatenate([batch.flow[: batch.samples] for batch in read]) * np.float32(flow_scale)
    chunks = -(-len(frames) // chunk)
    size = -(-len(frames) // chunks)
    picked = np.arange(chunks * size).reshape(chunks, size) % len(frames)
    in_chunks = [(frames[rows], FlowSums(truth[rows])) for rows in picked]
    return Samples(groups, in_chunks, len(frames), zero_flow_epe(read, flow_scale))


class SpaceEvaluator:
    """Evaluates the subtrees of one network's search space. `watch` is told of every call."""

    def __init__(self, network: FlowNetwork, tree: Tree, flow_scale: float, watch: Watch | None = None) -> None:
        self.network = network
        self.tree = tree
        self.flow_scale = flow_scale
        self._watch = watch or (lambda call: None)
        self._functions: dict[tuple[str, int, int, bool], Callable[..., Any]] = {}

    def evaluate(self, subtree: Options, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the subnets of a subtree.

        Returns:
            EPEs, (subnets, samples) float32, pixels, and the means over samples of the other metrics, (subnets, 4)
            float64; in the order of `np.sort(tree.rows(subtree), axis=None)`.
        """
        statistics = self._recalibrate(subtree, samples.recalibration)
        rows = self.tree.rows(subtree)
        places = np.argsort(np.argsort(rows, axis=None)).reshape(rows.shape)
        found = np.zeros((rows.size, samples.count, len(METRICS)))
        for index, (frames, sums) in enumerate(samples.validation):
            within = slice(index * len(frames), min((index + 1) * len(frames), samples.count))
            for options, flows in self._leaves(subtree, 0, frames[None], (), [], statistics):
                metrics = sums.measure(flows)[..., : within.stop - within.start, :]
                found[places[options[len(subtree) :]], within] = metrics
                self._watch((SUMS, len(self.tree.steps), 0))
        epe = METRICS.index("epe")
        return found[..., epe].astype(np.float32), np.delete(found.mean(axis=1), epe, axis=1)

    def _recalibrate(self, subtree: Options, groups: Sequence[np.ndarray]) -> dict[Options, np.ndarray]:
        """Statistics of every trunk node, (2, norms, channels): the cumulative average over all batches."""
        averages: dict[Options, np.ndarray] = {}
        seen = 0

        def descend(x: Any, options: Options) -> None:
            at = self.tree.trunk[len(options)]
            is_leaf = at == self.tree.trunk[-1]
            for option in self.tree.options_within(at, subtree):
                node = (*options, option)
                *y, statistics = self._function(RECALIBRATE, at, option, keeps=not is_leaf)(x)
                for number, batch in enumerate(np.asarray(statistics), start=seen + 1):
                    average = averages.get(node)
                    averages[node] = batch if average is None else average + (batch - average) / np.float32(number)
                self._watch((RECALIBRATE, at, option))
                if not is_leaf:
                    descend(y[0], node)

        for group in groups:
            descend(group, ())
            seen += len(group)
        return averages

    def _leaves(
        self,
        subtree: Options,
        at: int,
        x: Any,
        options: Options,
        flows: list[Any],
        statistics: dict[Options, np.ndarray],
    ) -> Iterator[tuple[Options, list[Any]]]:
        """The trunk's options at each leaf, and per head its flows (options, B, 2, H·W); depth-first below one node."""
        if at == len(self.tree.steps):
            yield options, flows
            return
        stage = self.tree.steps[at].stage
        if stage.head:
            of_head = []
            for option in range(len(stage.options)):
                of_head.append(self._function(HEAD, at, option)(x))
                self._watch((HEAD, at, option))
            yield from self._leaves(subtree, at + 1, x, options, [*flows, ops.stack(of_head)], statistics)
            return
        for option in self.tree.options_within(at, subtree):
            node = (*options, option)
            y = self._function(RUN, at, option)(x, statistics[node])
            self._watch((RUN, at, option))
            yield from self._leaves(subtree, at + 1, y, node, flows, statistics)

    def seconds_per_call(self, samples: Samples) -> dict[Call, float]:
        """Compile everything, and measure every call, by the clock."""
        seconds: dict[Call, float] = {}

        def timed(call: Call, run: Callable[[], Any]) -> Any:
            y = run()
            taken = []
            for _ in range(MEASURED):
                started = time.perf_counter()
                y = run()
                for result in y if isinstance(y, list) else [y]:
                    # A GPU computes while the program goes on, until a value is asked for.
                    np.asarray(ops.reshape(result, (-1,))[:1])
                taken.append(time.perf_counter() - started)
            seconds[call] = min(taken)
            return y

        frames, sums = samples.validation[0]
        x, v, flows = samples.recalibration[0], frames[None], []
        for at, step in enumerate(self.tree.steps):
            options = range(len(step.stage.options))
            if step.stage.head:
                of_head = [
                    timed((HEAD, at, option), partial(self._function(HEAD, at, option), v)) for option in options
                ]
                flows.append(ops.stack(of_head))
                continue
            keeps = at != self.tree.trunk[-1]
            for option in options:
                recalibrate = self._function(RECALIBRATE, at, option, keeps=keeps)
                *y, statistics = timed((RECALIBRATE, at, option), partial(recalibrate, x))
                w = timed((RUN, at, option), partial(self._function(RUN, at, option), v, np.asarray(statistics)[0]))
            x, v = y[0] if keeps else x, w
        timed((SUMS, len(self.tree.steps), 0), partial(sums.measure, flows))
        return seconds

    def _function(self, kind: str, at: int, option: int, keeps: bool = True) -> Callable[..., Any]:
        key = (kind, at, option, keeps)
        if key not in self._functions:
            function = {
                RECALIBRATE: partial(self._recalibrated, at, option, keeps),
                RUN: partial(self._run, at, option),
                HEAD: partial(self._flow, at, option),
            }[kind]
            self._functions[key] = compiled(function, self.network.stage_layers[at].variables)
        return self._functions[key]

    def _stage(self, at: int, option: int, x: Any, statistics: Any) -> Any:
        step = self.tree.steps[at]
        route = FixedPath((option,) * len(self.tree.space.blocks))
        return self.network.stage_layers[at](
            x, size=step.size if step.resize else None, route=route, statistics=statistics
        )

    def _recalibrated(self, at: int, option: int, keeps: bool, x: Any) -> list[Any]:
        """x (P, B, …) -> y, if it `keeps` it, and statistics (P, 2, norms, C); each batch is normalised alone."""
        recorded = RecordedStatistics()
        y = self._stage(at, option, x, recorded)
        pairs = [ops.stack([ops.reshape(m, (m.shape[0], -1)) for m in pair], axis=1) for pair in recorded.taken]
        statistics = ops.stack(pairs, axis=2)
        return [y, statistics] if keeps else [statistics]

    def _run(self, at: int, option: int, x: Any, statistics: Any) -> Any:
        """x (1, B, …), statistics (2, norms, C) -> y."""
        pairs = [
            tuple(ops.reshape(statistics[which, norm], (1, 1, 1, 1, -1)) for which in range(2))
            for norm in range(statistics.shape[1])
        ]
        return self._stage(at, option, x, GivenStatistics(pairs))

    def _flow(self, at: int, option: int, x: Any) -> Any:
        """x (1, B, …) -> its share of u and v, (B, 2, H·W), pixels."""
        flow = ops.cast(unfolded(self._stage(at, option, x, None)), "float32")[..., :2]
        for scale in range(self.tree.steps[at].stage.scale - 1, -1, -1):
            flow = resize_bilinear(flow, *size_at(scale, self.tree.height, self.tree.width))
        planes = ops.transpose(ops.reshape(flow[0], (-1, self.tree.height * self.tree.width, 2)), (0, 2, 1))
        return planes * self.flow_scale


def calls_within(tree: Tree, subtree: Options, samples: Samples) -> Counter[Call]:
    """How often each call is made to evaluate a subtree."""
    groups, chunks = len(samples.recalibration), len(samples.validation)
    calls: Counter[Call] = Counter({(SUMS, len(tree.steps), 0): tree.evaluations(len(tree.steps)) * chunks})
    for at, step in enumerate(tree.steps):
        for option in tree.options_within(at, subtree):
            if step.stage.head:
                calls[HEAD, at, option] = tree.evaluations(at) * chunks
            else:
                calls[RECALIBRATE, at, option] = tree.evaluations(at) * groups
                calls[RUN, at, option] = tree.evaluations(at) * chunks
    return calls
