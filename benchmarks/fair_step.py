"""How long a training step takes: fused and sequential, against masking and against hand-made fixed subnets.

python -m benchmarks.fair_step            # 180×240, width 32, batch 2
python -m benchmarks.fair_step --quick --json
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.measure import Apart, alternate, circumstances, median_ratio, seconds_since_process_start
from edgeflownas.config import resolve_config
from edgeflownas.devices import prepare_backend
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import load_search_space

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


def measure(size: Sequence[int], rounds: int) -> dict[str, Any]:
    """Times (medians, seconds), ratios (medians over rounds) and peak memory (MiB) of all ways.

    Args:
        size: height, width, base width, batch.
        rounds: steps of each way.
    """
    prepare_backend(resolve_config(None, {}))
    turns = {way: Apart(partial(prepare, size, way)) for way in WAYS}
    turns["fused"]()
    first_step_s = seconds_since_process_start()
    for way in WAYS[1:]:
        turns[way].start_turn()
    for way in WAYS[1:]:
        turns[way].end_turn()
    seconds = alternate(turns, rounds)
    return {
        **{f"{way}_s": round(statistics.median(seconds[way]), 3) for way in WAYS},
        "fused_over_floor": round(median_ratio(seconds, "fused", "floor"), 3),
        "masked_over_fused": round(median_ratio(seconds, "masked", "fused"), 3),
        "first_step_s": round(first_step_s, 1),
        "peak_mb": {way: turns[way]() for way in WAYS},
        **dict(zip(SIZES, size, strict=True)),
        "rounds": rounds,
        **circumstances(),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fair_step", description=__doc__.splitlines()[0])
    parser.add_argument("--h", type=int, default=180)
    parser.add_argument("--w", type=int, default=240)
    parser.add_argument("--width", type=int, default=32, help="base width (%(default)s)")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    size = [getattr(arguments, name) for name in SIZES]
    result = measure(size, 3 if arguments.quick else arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['h']}×{result['w']}, base width {result['width']}, batch {result['batch']}")
    for way in WAYS:
        print(f"{way:11s} {result[f'{way}_s']:8.3f} s/step {result['peak_mb'][way]:8.0f} MiB at most")
    print(f"fused / floor {result['fused_over_floor']:.2f}, masked / fused {result['masked_over_fused']:.2f}")
    print(f"first fused step done {result['first_step_s']} s after the process started")
    host = result["host"]
    print(f"{host['cpu']}, {host['cores']} cores, load {result['load_average']}, {result['versions']}")
    print(f"{result['rounds']} rounds")


if __name__ == "__main__":
    main()
