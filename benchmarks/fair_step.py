"""How long a training step takes: fused and sequential, against masking and against hand-made fixed subnets.

python -m benchmarks.fair_step            # 180×240, width 32, batch 2
python -m benchmarks.fair_step --quick --json
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.measure import alternate, circumstances, median_ratio, peak_memory_mb, seconds_since_process_start
from edgeflownas.config import resolve_config
from edgeflownas.devices import prepare_backend
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import load_search_space

WAYS = ("fused", "sequential", "masked", "floor")
SIZES = ("h", "w", "width", "batch")


def prepare(
    height: int, width: int, init_neurons: int, batch: int, ways: Sequence[str]
) -> dict[str, Callable[[], Any]]:
    """One step of each way as a function without arguments, on random data; importing Keras is part of it."""
    prepare_backend(resolve_config(None, {}))
    import numpy as np

    from benchmarks.ways import floor_step, package_step

    space = load_search_space()
    codes = fair_cycle(space, seed=42, step=0)
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (batch, height, width, 6)).astype(np.float32)
    flow = rng.normal(0, 0.5, (batch, height, width, 2)).astype(np.float32)
    runs = {}
    for way in ways:
        step = floor_step(space, init_neurons, codes) if way == "floor" else package_step(space, init_neurons, way)
        runs[way] = lambda step=step: step(frames, flow, codes)
    return runs


def probe(way: str, flags: Sequence[str]) -> dict[str, float]:
    """Time to the end of the first step and peak memory of one way, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.fair_step", "--probe", way, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(size: Sequence[int], rounds: int, with_memory: bool) -> dict[str, Any]:
    """Times (medians, seconds), ratios (medians over rounds) and peak memory (MiB) of all ways.

    Args:
        size: height, width, base width, batch.
        rounds: steps of each way.
        with_memory: also run each way in a process of its own, which takes a minute more; else `peak_mb` is null.
    """
    flags = [text for name, value in zip(SIZES, size, strict=True) for text in (f"--{name}", str(value))]
    probes = {way: probe(way, flags) for way in (WAYS if with_memory else ("fused",))}
    runs = prepare(*size, WAYS)
    alternate(runs, 1)
    seconds = alternate(runs, rounds)
    return {
        **{f"{way}_s": round(statistics.median(seconds[way]), 3) for way in WAYS},
        "fused_over_floor": round(median_ratio(seconds, "fused", "floor"), 3),
        "masked_over_fused": round(median_ratio(seconds, "masked", "fused"), 3),
        "first_step_s": probes["fused"]["first_step_s"],
        "peak_mb": {way: probes[way]["peak_mb"] for way in WAYS} if with_memory else None,
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
    parser.add_argument("--quick", action="store_true", help="3 rounds, no memory")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--probe", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = [getattr(arguments, name) for name in SIZES]
    if arguments.probe:
        run = prepare(*size, [arguments.probe])[arguments.probe]
        run()
        first_step_s = round(seconds_since_process_start(), 1)
        run()
        print(json.dumps({"first_step_s": first_step_s, "peak_mb": peak_memory_mb()}))
        return
    result = measure(size, 3 if arguments.quick else arguments.rounds, with_memory=not arguments.quick)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['h']}×{result['w']}, base width {result['width']}, batch {result['batch']}")
    for way in WAYS:
        memory = f"{result['peak_mb'][way]:8.0f} MiB at most" if result["peak_mb"] else ""
        print(f"{way:11s} {result[f'{way}_s']:8.3f} s/step {memory}")
    print(f"fused / floor {result['fused_over_floor']:.2f}, masked / fused {result['masked_over_fused']:.2f}")
    print(f"first fused step done {result['first_step_s']} s after the process started")
    host = result["host"]
    print(f"{host['cpu']}, {host['cores']} cores, load {result['load_average']}, {result['versions']}")
    print(f"{result['rounds']} rounds")


if __name__ == "__main__":
    main()
