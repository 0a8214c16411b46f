"""How long a training step takes: fused and sequential, against masking and against hand-made fixed subnets.

python -m benchmarks.fair_step            # 180×240, width 32, batch 2
python -m benchmarks.fair_step --quick --json
"""

import argparse
import json
import statistics
from typing import Any

from benchmarks.measure import alternate, circumstances, median_ratio, seconds_since_process_start, working_memory_mb
from edgeflownas.config import resolve_config
from edgeflownas.devices import prepare_backend
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import load_search_space

WAYS = ("fused", "sequential", "masked", "floor")


def measure(height: int, width: int, init_neurons: int, batch: int, rounds: int) -> dict[str, Any]:
    """Times (medians, seconds), ratios (medians over rounds) and working memory (MiB) of all ways."""
    prepare_backend(resolve_config(None, {}))
    import numpy as np

    from benchmarks.ways import floor_step, package_step

    space = load_search_space()
    codes = fair_cycle(space, seed=42, step=0)
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (batch, height, width, 6)).astype(np.float32)
    flow = rng.normal(0, 0.5, (batch, height, width, 2)).astype(np.float32)
    runs, first_step_s, peak_mb = {}, 0.0, {}
    for way in WAYS:
        step = floor_step(space, init_neurons, codes) if way == "floor" else package_step(space, init_neurons, way)
        runs[way] = lambda step=step: step(frames, flow, codes)
        runs[way]()
        if way == "fused":  # the first, so nothing else is in its time
            first_step_s = seconds_since_process_start()
        peak_mb[way] = working_memory_mb(runs[way])
    seconds = alternate(runs, rounds)
    return {
        **{f"{way}_s": round(statistics.median(seconds[way]), 3) for way in WAYS},
        "fused_over_floor": round(median_ratio(seconds, "fused", "floor"), 3),
        "masked_over_fused": round(median_ratio(seconds, "masked", "fused"), 3),
        "first_step_s": round(first_step_s, 1),
        "peak_mb": peak_mb,
        "height": height,
        "width": width,
        "init_neurons": init_neurons,
        "batch": batch,
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
    rounds = 3 if arguments.quick else arguments.rounds
    result = measure(arguments.h, arguments.w, arguments.width, arguments.batch, rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['height']}×{result['width']}, base width {result['init_neurons']}, batch {result['batch']}")
    for way in WAYS:
        print(f"{way:11s} {result[f'{way}_s']:8.3f} s/step {result['peak_mb'][way]:9.0f} MiB working memory")
    print(f"fused / floor {result['fused_over_floor']:.2f}, masked / fused {result['masked_over_fused']:.2f}")
    print(f"first fused step done {result['first_step_s']} s after the process started")
    host, load = result["host"], result["load_average"]
    print(f"{host['cpu']}, {host['cores']} cores, load {load}, {result['versions']}, {rounds} rounds")


if __name__ == "__main__":
    main()
