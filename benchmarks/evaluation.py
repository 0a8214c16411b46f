"""How long recalibrating and evaluating subnets takes, against the bare forward passes of the same fixed subnets.

python -m benchmarks.evaluation            # the pool of 12, 8 recalibration and 4 validation batches, 180×240, width 32
python -m benchmarks.evaluation --quick --json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import alternate, circumstances, median_ratio, peak_memory_mb
from edgeflownas.config import resolve_config
from edgeflownas.devices import prepare_backend
from edgeflownas.nas.eval_pool import eval_pool
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import SearchSpace, load_search_space

HEIGHT, WIDTH, FLOW_SCALE = 180, 240, 20.0


def compare(base_width: int, batch: int, recalibration: int, validation: int, rounds: int) -> dict[str, Any]:
    """Seconds, ratio, traces and growth.

    Args:
        base_width: of the network.
        batch: samples per batch.
        recalibration, validation: number of batches.
        rounds: evaluations of each way.
    """
    prepare_backend(resolve_config(None, {}))
    from edgeflownas.network.flow_network import FlowNetwork
    from edgeflownas.training.evaluation import Batch, Evaluator

    space = load_search_space()
    pool = eval_pool(space)
    rng = np.random.default_rng(0)
    batches = [
        Batch(
            rng.uniform(-1, 1, (batch, HEIGHT, WIDTH, 6)).astype(np.float32),
            rng.normal(0, 0.5, (batch, HEIGHT, WIDTH, 2)).astype(np.float32),
            batch,
        )
        for _ in range(recalibration + validation)
    ]
    network = FlowNetwork(space, base_width, seed=0)
    traces = count_calls(network)
    evaluator = Evaluator(network, base_width, FLOW_SCALE)

    def judge(cycles: np.ndarray) -> None:
        evaluator.evaluate(cycles, batches[:recalibration], batches[recalibration:])

    plain = FlowNetwork(space, base_width, seed=0, rewritten=False)
    forwards = [bare_forward(plain, tuple(int(digit) for digit in code)) for code in pool.reshape(-1, pool.shape[-1])]

    def bare() -> None:
        for forward in forwards:
            for one in batches:
                np.asarray(forward(one.frames))

    ways = {"judge": lambda: judge(pool), "bare": bare}
    alternate(ways, 1)
    of_first = len(traces)
    seconds = alternate(ways, rounds)
    growth = [grown(space, judge, cycles) for cycles in (1, 4, 16)]
    return {
        **{f"{way}_s": round(statistics.median(seconds[way]), 3) for way in ways},
        "judge_over_bare": round(median_ratio(seconds, "judge", "bare"), 3),
        "traces_of_the_first": of_first,
        "traces_after": len(traces) - of_first,
        "growth": growth,
        "recalibration_batches": recalibration,
        "validation_batches": validation,
        "h": HEIGHT,
        "w": WIDTH,
        "width": base_width,
        "batch": batch,
        "rounds": rounds,
        **circumstances(),
    }


def count_calls(network: Any) -> list[None]:
    """Grows by one whenever the network is built into a graph."""
    calls: list[None] = []
    build = network.call

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return build(*args, **kwargs)

    network.call = call
    return calls


def bare_forward(network: Any, code: tuple[int, ...]) -> Callable[[np.ndarray], Any]:
    """A compiled function from frames to the finest flow of one fixed subnet, of plain operations."""
    import tensorflow as tf

    from edgeflownas.network.routes import FixedPath
    from edgeflownas.network.statistics import BatchStatistics

    def forward(frames: Any) -> Any:
        return network(frames, route=FixedPath(code), statistics=BatchStatistics())[-1]

    compiled = tf.function(forward, autograph=False)
    return lambda frames: compiled(tf.convert_to_tensor(frames))


def grown(space: SearchSpace, judge: Callable[[np.ndarray], None], cycles: int) -> dict[str, Any]:
    """Seconds per subnet, and peak memory afterwards, for subnets that were never evaluated before."""
    never_seen = np.stack([fair_cycle(space, seed=100 + cycles, step=step) for step in range(cycles)])
    subnets = cycles * space.cycle_length
    started = time.perf_counter()
    judge(never_seen)
    return {
        "subnets": subnets,
        "s_per_subnet": round((time.perf_counter() - started) / subnets, 3),
        "peak_mb": peak_memory_mb(),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=32, help="base width (%(default)s)")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--recalibration", type=int, default=8, help="batches (%(default)s)")
    parser.add_argument("--validation", type=int, default=4, help="batches (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="1 round of half the batches")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    batches = (arguments.recalibration, arguments.validation)
    if arguments.quick:
        batches, arguments.rounds = (batches[0] // 2, batches[1] // 2), 1
    result = compare(arguments.width, arguments.batch, *batches, arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"12 subnets, {batches[0]} recalibration and {batches[1]} validation batches of {arguments.batch}")
    print(f"judged        {result['judge_s']:8.3f} s")
    print(f"bare forwards {result['bare_s']:8.3f} s      evaluation / bare {result['judge_over_bare']:.2f}")
    print(f"traces: {result['traces_of_the_first']} in the first evaluation, {result['traces_after']} afterwards")
    for row in result["growth"]:
        print(f"{row['subnets']:4d} other subnets: {row['s_per_subnet']:.3f} s each, {row['peak_mb']:.0f} MiB at most")
    host = result["host"]
    print(f"{host['cpu']}, {host['cores']} cores, load {result['load_average']}, {result['versions']}")


if __name__ == "__main__":
    main()
