"""What evaluating a whole search space along its tree costs per subnet, against the ordinary evaluator.

python -m benchmarks.whole_space --width 8            # the small config: 8 batches of 4 recalibrate, 8 samples validate
python -m benchmarks.whole_space --width 32 --rounds 1
python -m benchmarks.whole_space --width 8 --whole    # all subtrees, and the memory of a ninth against all of them
KERAS_BACKEND=jax python -m benchmarks.whole_space --width 32 --batch 32 --validation 640 --whole    # on a GPU
"""

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.measure import Apart, alternate_with_work, circumstances, median_ratio
from edgeflownas.config import resolve_config
from edgeflownas.console.durations import duration
from edgeflownas.devices import prepare_backend
from edgeflownas.nas.eval_pool import eval_pool
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.selection.space_evaluation import CHUNK_ON_CPU, CHUNK_ON_GPU
from edgeflownas.selection.tree import Options, Tree

HEIGHT, WIDTH, FLOW_SCALE = 180, 240, 5.0


class Setting:
    """One network and its samples, for both ways."""

    def __init__(self, base_width: int, batch: int, recalibration: int, validation: int) -> None:
        """Args: base_width: of the network. batch: samples per batch. recalibration, validation: samples."""
        from edgeflownas.devices import gpu_visible
        from edgeflownas.network.flow_network import FlowNetwork
        from edgeflownas.selection.whole_space import Call, SpaceEvaluator, samples_in_chunks
        from edgeflownas.training.evaluation import Batch, Evaluator

        self.space = load_search_space()
        rng = np.random.default_rng(0)
        batches = [
            Batch(
                rng.uniform(-1, 1, (batch, HEIGHT, WIDTH, 6)).astype(np.float32),
                rng.normal(0, 0.5, (batch, HEIGHT, WIDTH, 2)).astype(np.float32),
                batch,
            )
            for _ in range((recalibration + validation) // batch)
        ]
        self.recalibration = batches[: recalibration // batch]
        self.validation = batches[recalibration // batch :]
        network = FlowNetwork(self.space, base_width, seed=0)
        self.tree = Tree(self.space, base_width, HEIGHT, WIDTH)
        self.ordinary = Evaluator(network, base_width, FLOW_SCALE)
        self.seconds: Counter[str] = Counter()
        self._last = 0.0
        chunk = CHUNK_ON_GPU if gpu_visible() else CHUNK_ON_CPU
        self.samples = samples_in_chunks(self.recalibration, self.validation, FLOW_SCALE, chunk)

        def watch(call: Call) -> None:
            now = time.process_time()
            self.seconds[call[0]] += now - self._last
            self._last = now

        self._evaluator = SpaceEvaluator(network, self.tree, FLOW_SCALE, watch)

    def along_the_tree(self, subtrees: Sequence[Options]) -> None:
        """Evaluate some subtrees; `seconds` gets the processor time of each kind of call."""
        for subtree in subtrees:
            self._last = time.process_time()
            self._evaluator.evaluate(subtree, self.samples)

    def one_by_one(self, cycles: np.ndarray) -> None:
        """Evaluate the subnets of some fair cycles with the ordinary evaluator."""
        self.ordinary.evaluate(cycles, self.recalibration, self.validation)


def compare(setting: Setting, rounds: int) -> dict[str, Any]:
    """Processor and wall-clock seconds per subnet of both ways, and where those of the tree go."""
    pool = eval_pool(setting.space)
    middle = setting.tree.subtrees[len(setting.tree.subtrees) // 2]
    subnets = {"tree": setting.tree.rows(middle).size, "ordinary": pool.shape[0] * pool.shape[1]}
    ways: dict[str, Callable[[], None]] = {
        "tree": lambda: setting.along_the_tree([middle]),
        "ordinary": lambda: setting.one_by_one(pool),
    }
    for compile_it in ways.values():
        compile_it()
    setting.seconds.clear()
    seconds, work = alternate_with_work(ways, rounds)
    per_subnet = {way: [value / subnets[way] for value in work[way]] for way in ways}
    total = sum(setting.seconds.values())
    return {
        **{f"{way}_cpu_ms": round(1e3 * statistics.median(per_subnet[way]), 3) for way in ways},
        **{f"{way}_ms": round(1e3 * statistics.median(seconds[way]) / subnets[way], 3) for way in ways},
        "cheaper": round(median_ratio(per_subnet, "ordinary", "tree"), 1),
        "shares": {kind: round(value / total, 3) for kind, value in sorted(setting.seconds.items())},
        "space_cpu_s": round(statistics.median(per_subnet["tree"]) * setting.space.size, 1),
        "subtrees": len(setting.tree.subtrees),
    }


def whole(make: Callable[[], Setting]) -> dict[str, Any]:
    """Seconds and peak memory of a ninth of the space and of all of it, each in a process of its own."""
    result: dict[str, Any] = {}
    for name, part in (("ninth", 9), ("all", 1)):

        def prepare(part: int = part) -> Callable[[], None]:
            setting = make()
            subtrees = setting.tree.subtrees
            return lambda: setting.along_the_tree(subtrees[: -(-len(subtrees) // part)])

        apart = Apart(prepare)
        started = time.perf_counter()
        apart()
        result |= {f"{name}_s": round(time.perf_counter() - started, 1), f"{name}_peak_mb": apart.peak_mb}
    return result


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole_space", description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=8, help="base width (%(default)s)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--recalibration", type=int, help="samples (8 batches)")
    parser.add_argument("--validation", type=int, default=8, help="samples (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="also all of the space, and its memory")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    recalibration = arguments.recalibration or 8 * arguments.batch
    prepare_backend(resolve_config(None, {}))

    def make() -> Setting:
        return Setting(arguments.width, arguments.batch, recalibration, arguments.validation)

    result = {"width": arguments.width, "recalibration": recalibration, "validation": arguments.validation}
    # Before anything is computed here: a process that has computed must not fork.
    result |= whole(make) if arguments.whole else {}
    result |= compare(make(), arguments.rounds) | circumstances()
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"width {result['width']}, {HEIGHT}x{WIDTH}, {recalibration} + {result['validation']} samples")
    for way in ("ordinary", "tree"):
        print(f"{way:9s} {result[f'{way}_cpu_ms']:9.2f} CPU ms per subnet, {result[f'{way}_ms']:9.2f} ms by the clock")
    print(f"cheaper by a factor of {result['cheaper']}; all: {duration(result['space_cpu_s'])} of processor time")
    print("of the tree's time: " + ", ".join(f"{kind} {share:.0%}" for kind, share in result["shares"].items()))
    if arguments.whole:
        for name in ("ninth", "all"):
            print(f"{name:6s} {duration(result[f'{name}_s']):>12s}, {result[f'{name}_peak_mb']:.0f} MiB at most")
    host = result["host"]
    print(f"{host['cpu']}, {host['cores']} cores, load {result['load_average']}, {result['versions']}")


if __name__ == "__main__":
    main()
