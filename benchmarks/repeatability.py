"""Whether training steps and evaluations repeat bit for bit: each from the same weights, again and again.

python -m benchmarks.repeatability            # 200 times each at three sizes
python -m benchmarks.repeatability --load 2 --threads 8 --quick --json
TF_ENABLE_ONEDNN_OPTS=0 python -m benchmarks.repeatability      # with Eigen
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.measure import circumstances
from edgeflownas.config import resolve_config
from edgeflownas.devices import prepare_backend
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import load_search_space

WAYS = ("fused", "sequential", "evaluation", "masked")
SIZES = ("48x64x8x2", "93x125x12x3", "180x240x16x2")
BATCHES = 5
"""A sum in another order is not always another sum: more than one batch is tried."""
FLOW_SCALE = 5.0

Compute = Callable[[np.ndarray, np.ndarray], Iterable[np.ndarray]]
"""Of frames and flow."""


def repeat(size: str, way: str, times: int) -> dict[str, Any]:
    """Do the same `times` times.

    Args:
        size: height, width, base width and batch, such as 180x240x16x2.
        way: `fused` or `sequential`, a training step; `evaluation`: recalibrate, evaluate and predict with one cycle;
            `masked`: a fused step and an evaluation with labels half of which are not known.

    Returns:
        `different`, how often the result was not the commonest of its batch; `s`, seconds each.
    """
    height, width, init_neurons, batch = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    batches = [
        (
            rng.uniform(-1, 1, (batch, height, width, 6)).astype(np.float32),
            rng.normal(0, 0.5, (batch, height, width, 2)).astype(np.float32),
        )
        for _ in range(BATCHES)
    ]
    if way == "masked":
        batches = [(frames, _half_known(flow, rng)) for frames, flow in batches]
    ways = {"evaluation": evaluation, "masked": both}
    compute = ways[way](init_neurons) if way in ways else training(init_neurons, way)
    found: list[Counter[str]] = [Counter() for _ in batches]
    started = time.perf_counter()
    for turn in range(times):
        digest = hashlib.sha256()
        for array in compute(*batches[turn % BATCHES]):
            digest.update(np.ascontiguousarray(array).data)
        found[turn % BATCHES][digest.hexdigest()] += 1
    return {
        "size": size,
        "way": way,
        "times": times,
        "different": times - sum(max(results.values(), default=0) for results in found),
        "s": round((time.perf_counter() - started) / times, 4),
    }


def _half_known(flow: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels (B, H, W, 3) of flow (B, H, W, 2): the third channel says what is known."""
    known = rng.integers(0, 2, (*flow.shape[:-1], 1)).astype(np.float32)
    return np.concatenate([flow * known, known], axis=-1)


def _network(init_neurons: int) -> Any:
    """A network whose residual blocks do something, as after some training: at first no gradient reaches their
    convolutions, and what does not repeat there would not be seen."""
    from edgeflownas.network.flow_network import FlowNetwork

    network = FlowNetwork(load_search_space(), init_neurons, seed=0)
    for weight in network.trainable_variables:
        if weight.name.endswith(".norm1.gamma"):
            weight.assign([1.0] * weight.shape[0])
    return network


def training(init_neurons: int, way: str) -> Compute:
    """One step from the same weights, as a function that returns all it observed and changed."""
    from keras import ops

    from edgeflownas.training.supernet_model import TrainingModel

    space = load_search_space()
    network = _network(init_neurons)
    model = TrainingModel(network, way, learning_rate=1e-4, weight_decay=4e-5, grad_clip=5.0)
    variables = [*network.trainable_variables, *model.optimizer.variables]
    initial = [ops.convert_to_numpy(variable) for variable in variables]
    codes = fair_cycle(space, seed=42, step=0)

    def step(frames: np.ndarray, flow: np.ndarray) -> Iterator[np.ndarray]:
        for variable, value in zip(variables, initial, strict=True):
            variable.assign(value)
        observed = model.train_cycle(frames, flow, codes, lr=1e-4)
        yield np.array([*observed.pop("losses"), *observed.values()])
        yield from (ops.convert_to_numpy(variable) for variable in variables)

    return step


def evaluation(init_neurons: int) -> Compute:
    """Recalibrating, evaluating, predicting with the subnets of one cycle, as a function that returns all results."""
    from edgeflownas.training.evaluation import Batch, Evaluator

    space = load_search_space()
    evaluator = Evaluator(_network(init_neurons), init_neurons, FLOW_SCALE)
    codes = fair_cycle(space, seed=42, step=0)

    def judge(frames: np.ndarray, flow: np.ndarray) -> Iterator[np.ndarray]:
        batch = Batch(frames, flow, len(frames))
        moments, shifts, _ = evaluator.recalibrate(codes[None], [batch, batch])
        yield from (np.asarray(values) for norm in moments[0] for values in norm)
        rows = evaluator.measure(codes[None], moments, [batch])
        yield np.array([*shifts, *(value for row in rows for value in row.values() if isinstance(value, float))])
        yield from evaluator.predict(codes, [batch], frames)[:2]

    return judge


def both(init_neurons: int) -> Compute:
    """A fused step, then an evaluation."""
    step, judge = training(init_neurons, "fused"), evaluation(init_neurons)

    def compute(frames: np.ndarray, flow: np.ndarray) -> Iterator[np.ndarray]:
        return itertools.chain(step(frames, flow), judge(frames, flow))

    return compute


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """This many other processes that only keep a core busy."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> int:
    """The command; exit code 1 where something did not repeat."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repeatability", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="height x width x base width x batch (%(default)s)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--times", type=int, default=200, help="repetitions of each (%(default)s)")
    parser.add_argument("--threads", type=int, help="of TensorFlow, within and between operations (as many as cores)")
    parser.add_argument("--load", type=int, default=0, help="other busy processes (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="20 repetitions")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.threads:
        os.environ |= dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(arguments.threads))
    prepare_backend(resolve_config(None, {}))
    import keras

    times = 20 if arguments.quick else arguments.times
    with busy(arguments.load):
        rows = [repeat(size, way, times) for size in arguments.sizes for way in arguments.ways]
        around = circumstances()
    repeats = not any(row["different"] for row in rows)
    if arguments.json:
        print(json.dumps({"rows": rows, "repeats": repeats, "backend": keras.backend.backend(), **around}))
        return int(not repeats)
    for row in rows:
        print(f"{row['size']:14s} {row['way']:11s} {row['different']} of {row['times']} differ, {row['s']:.3f} s each")
    host = around["host"]
    print(f"{keras.backend.backend()}, {host['cpu']}, {host['cores']} cores, load {around['load_average']}")
    return int(not repeats)


if __name__ == "__main__":
    sys.exit(main())
