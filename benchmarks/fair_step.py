"""How long a training step takes: fused and sequential, against masking and against hand-made fixed subnets.

python -m benchmarks.fair_step            # 180×240, width 32, batch 2
python -m benchmarks.fair_step --quick --json
KERAS_BACKEND=jax python -m benchmarks.fair_step --batch 32 --peak_tflops 67    # on a GPU, here one of 67 TFLOP/s
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks.measure import Apart, alternate, circumstances, median_ratio, seconds_since_process_start
from edgeflownas.config import resolve_config
from edgeflownas.devices import prepare_backend
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.network.cost import subnet_cost

WAYS = ("fused", "sequential", "masked", "floor")
SIZES = ("h", "w", "width", "batch")


def prepare(size: Sequence[int], way: str) -> Callable[[], Any]:
    """One step of one way, as a function without arguments, on random data of height, width, base width, batch."""
    import numpy as np

    from benchmarks.ways import floor_step, package_step

    height, width, init_neurons, batch = size
    space = load_search_space()
    codes = fair_cycle(space, seed=42, step=0)
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (batch, height, width, 6)).astype(np.float32)
    flow = rng.normal(0, 0.5, (batch, height, width, 2)).astype(np.float32)
    step = floor_step(space, init_neurons, codes) if way == "floor" else package_step(space, init_neurons, way)
    return lambda: step(frames, flow, codes)


def measure(size: Sequence[int], rounds: int, peak_tflops: float | None) -> dict[str, Any]:
    """Times (medians, seconds), ratios (medians over rounds) and peak memory (MiB) of all ways.

    Under JAX only the package's own two ways; what is not measured is None.

    Args:
        size: height, width, base width, batch.
        rounds: steps of each way.
        peak_tflops: what the device can do at most, 10¹² operations per second, for `share_of_peak`.
    """
    prepare_backend(resolve_config(None, {}))
    import keras

    ways = WAYS if keras.backend.backend() == "tensorflow" else WAYS[:2]
    turns = {way: Apart(partial(prepare, size, way)) for way in ways}
    started = time.perf_counter()

    def first_turn(way: str) -> tuple[float, float]:
        turns[way]()
        return time.perf_counter() - started, seconds_since_process_start()

    # Making a graph keeps one core busy. On a GPU the first way shall have it to itself.
    with ThreadPoolExecutor(2 if "floor" in ways else 1) as pool:
        (compiled_s, first_step_s), *_ = pool.map(first_turn, ways)
    seconds = alternate(turns, rounds)
    step_s = {way: statistics.median(seconds[way]) if way in ways else None for way in WAYS}
    tflops = 1e-12 * cycle_operations(size) / step_s["fused"]
    return {
        **{f"{way}_s": value and round(value, 4) for way, value in step_s.items()},
        "fused_over_floor": round(median_ratio(seconds, "fused", "floor"), 3) if "floor" in ways else None,
        "masked_over_fused": round(median_ratio(seconds, "masked", "fused"), 3) if "masked" in ways else None,
        "first_step_s": round(first_step_s, 1),
        "compile_s": round(compiled_s - step_s["fused"], 1),
        "peak_mb": {way: turns[way].peak_mb if way in ways else None for way in WAYS},
        "images_per_s": round(size[3] / step_s["fused"], 1),
        "tflops": round(tflops, 3),
        "share_of_peak": peak_tflops and round(tflops / peak_tflops, 3),
        **dict(zip(SIZES, size, strict=True)),
        "rounds": rounds,
        "backend": keras.backend.backend(),
        **circumstances(),
    }


def cycle_operations(size: Sequence[int]) -> float:
    """Operations of a step as three plain subnets: 2 per multiply-accumulate, forward once and backward twice."""
    height, width, init_neurons, batch = size
    space = load_search_space()
    codes = fair_cycle(space, seed=42, step=0)
    macs = sum(subnet_cost(space, tuple(map(int, code)), height, width, init_neurons)["macs"] for code in codes)
    return 6.0 * batch * macs


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fair_step", description=__doc__.splitlines()[0])
    parser.add_argument("--h", type=int, default=180)
    parser.add_argument("--w", type=int, default=240)
    parser.add_argument("--width", type=int, default=32, help="base width (%(default)s)")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peak_tflops", type=float, help="of the device, for the share of it that is reached")
    parser.add_argument("--quick", action="store_true", help="2 rounds")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    size = [getattr(arguments, name) for name in SIZES]
    result = measure(size, 2 if arguments.quick else arguments.rounds, arguments.peak_tflops)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['h']}×{result['w']}, base width {result['width']}, batch {result['batch']}")
    for way in WAYS:
        if result[f"{way}_s"]:
            print(f"{way:11s} {result[f'{way}_s']:8.4f} s/step {result['peak_mb'][way]:8.0f} MiB at most")
    if result["fused_over_floor"]:
        print(f"fused / floor {result['fused_over_floor']:.2f}, masked / fused {result['masked_over_fused']:.2f}")
    share = f", {result['share_of_peak']:.0%} of the peak" if result["share_of_peak"] else ""
    print(f"fused: {result['images_per_s']} images/s, {result['tflops']} TFLOP/s of plain convolutions{share}")
    first, compiled = result["first_step_s"], result["compile_s"]
    print(f"first fused step done {first} s after the process started, {compiled} s of it for its model and graph")
    host = result["host"]
    device = ", ".join(host["gpus"]) or host["cpu"]
    print(f"{device}, {host['cores']} cores, load {result['load_average']}, {result['versions']}")
    print(f"{result['rounds']} rounds")


if __name__ == "__main__":
    main()
