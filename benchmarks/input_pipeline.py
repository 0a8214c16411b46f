"""How fast samples are read, indexed and found again, and how long a training step waits for them.
Reading compares rates (above 1: the pipeline is the faster), building an index compares times (below 1 would be). On a
machine that has other work to do, trust the ratios of processor time.

python -m benchmarks.input_pipeline            # 384×512, 2 threads, up to 22,000 samples
python -m benchmarks.input_pipeline --data_root ../shared/data/flying_chairs_examples --json
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.linked_data import linked, real_size_pairs
from benchmarks.measure import alternate, alternate_with_work, circumstances, median_ratio
from edgeflownas.artifacts import write_json
from edgeflownas.command_line import DEFAULT_CONFIG
from edgeflownas.config import resolve_config
from edgeflownas.data.changes import check_unchanged
from edgeflownas.data.generated import SyntheticParameters
from edgeflownas.data.index import SCHEMA, build_index, load_index
from edgeflownas.data.layouts.flying_chairs2 import list_samples
from edgeflownas.data.layouts.layout import SPLITS
from edgeflownas.data.synthetic import generate
from edgeflownas.devices import prepare_backend

SIZES = (8, 1000, 22000)
MOST_REPEATED = 1000
WARM_UP_STEPS = 2


def reading(root: Path, pairs: int, rounds: int, threads: int) -> dict[str, Any]:
    """Pairs per second of each way to read (medians), and the pipeline against the others."""
    from benchmarks.input_ways import CROP, FLIPS_AND_COLOURS, decode_limit, pipeline, thread_pool

    samples = list_samples(root, "train")
    ways = {
        "pipeline": pipeline(samples, pairs, threads),
        "augmented": pipeline(samples, pairs, threads, augment=FLIPS_AND_COLOURS),
        "cached": pipeline(samples, pairs, threads, cached=True),
        "thread_pool": thread_pool(samples, pairs, threads),
        "decode_limit": decode_limit(samples, pairs, threads),
    }
    alternate(ways, 1)
    seconds, work = alternate_with_work(ways, rounds)
    return {
        "pairs_per_s": {way: round(pairs / statistics.median(seconds[way]), 1) for way in ways},
        # Rates, not times: above 1 the pipeline is the faster.
        "pipeline_over_limit": round(median_ratio(seconds, "decode_limit", "pipeline"), 3),
        "pipeline_over_pool": round(median_ratio(seconds, "thread_pool", "pipeline"), 3),
        "augmented_over_pipeline": round(median_ratio(seconds, "pipeline", "augmented"), 3),
        "augmented_over_pipeline_by_work": round(median_ratio(work, "pipeline", "augmented"), 3),
        "cached_over_pipeline": round(median_ratio(seconds, "pipeline", "cached"), 2),
        "pipeline_over_limit_by_work": round(median_ratio(work, "decode_limit", "pipeline"), 3),
        "pipeline_over_pool_by_work": round(median_ratio(work, "thread_pool", "pipeline"), 3),
        "crop": list(CROP),
    }


def growth(pairs: Path, folder: Path, sizes: Sequence[int], read: int, threads: int) -> list[dict[str, Any]]:
    """What a data set of each size costs: building its index, starting with it, and reading from it."""
    from benchmarks.input_ways import CROP, pipeline, read_and_hash

    rows = []
    for size in sizes:
        root = linked(pairs, folder, size)
        path = folder / f"index_{size}.json"
        every_sample = [sample for split in SPLITS for sample in list_samples(root, split)]

        def build(root: Path = root, path: Path = path) -> None:
            index = build_index(root, CROP, allow_copies=True, workers=threads, folder=folder)
            write_json(path, index, SCHEMA)

        rounds = 5 if size <= MOST_REPEATED else 1
        ways = {"hash": read_and_hash(every_sample, threads), "build": build}
        seconds, work = alternate_with_work(ways, rounds)
        start = alternate({"start": lambda path=path: check_unchanged(load_index(path))}, 3)["start"]
        reads = alternate({"read": pipeline(list_samples(root, "train"), read, threads)}, 3)["read"]
        rows.append(
            {
                "samples": size,
                "hash_s": round(statistics.median(seconds["hash"]), 3),
                "build_s": round(statistics.median(seconds["build"]), 3),
                "build_over_hash": round(median_ratio(seconds, "build", "hash"), 2),
                "build_over_hash_by_work": round(median_ratio(work, "build", "hash"), 2),
                "start_s": round(statistics.median(start), 3),
                "index_mb": round(path.stat().st_size / 1e6, 2),
                "pairs_per_s": round(read / statistics.median(reads), 1),
            }
        )
    return rows


def waiting(folder: Path, steps: int) -> dict[str, Any]:
    """The share of the default config's training steps that is spent waiting for the next batch.

    Batches come as `Trainer.train` takes them. The wait for the first batch counts; the first steps' time, in which
    the graph is made, does not.
    """
    config = resolve_config(DEFAULT_CONFIG, {"data.source": "synthetic", "data.root": str(folder / "scenes")})
    generate(config["data.root"], config.view(SyntheticParameters))
    crop = (config["network.height"], config["network.width"])
    prepare_backend(config)

    from edgeflownas.data.prefetch import prefetch
    from edgeflownas.nas.fair_sampler import fair_cycle
    from edgeflownas.nas.search_space import load_search_space
    from edgeflownas.network.flow_network import network_of
    from edgeflownas.training.run_data import RunData
    from edgeflownas.training.supernet_model import TrainingModel

    data = RunData(config, build_index(config["data.root"], crop))
    space = load_search_space(config["network.search_space"])
    network = network_of(config, space)
    settings = {"learning_rate": 1e-4, "weight_decay": config["train.weight_decay"], "grad_clip": 5.0}
    model = TrainingModel(network, config["train.execution"], **settings)
    waits, works = [], []
    batches = prefetch(data.train_batch, range(steps), config["data.workers"])
    for step in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        got = time.perf_counter()
        model.train_cycle(*batch, fair_cycle(space, config["seed"], step), lr=1e-4)
        waits.append(got - asked)
        works.append(time.perf_counter() - got)
    batches.close()
    working = sum(works[WARM_UP_STEPS:])
    return {
        "wait_share": round(sum(waits) / (sum(waits) + working), 4),
        "wait_ms": round(1000 * statistics.mean(waits), 2),
        "step_s": round(statistics.median(works[WARM_UP_STEPS:]), 3),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input_pipeline", description=__doc__.splitlines()[0])
    parser.add_argument("--data_root", type=Path, help="pairs to read; without it scenes of 384×512 are generated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=96, help="pairs per round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="3 rounds, up to 1,000 samples")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rounds, sizes = (3, SIZES[:-1]) if arguments.quick else (arguments.rounds, SIZES)
    # Beside the pairs' folder hard links to them are possible; in another file system they are not.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = arguments.data_root or real_size_pairs(folder)
        result = {
            **reading(pairs, arguments.pairs, rounds, arguments.threads),
            "growth": growth(pairs, folder, sizes, arguments.pairs, arguments.threads),
            **waiting(folder, steps=12 if arguments.quick else 30),
            "pairs": str(arguments.data_root or "generated"),
            "threads": arguments.threads,
            "rounds": rounds,
            **circumstances(),
        }
    print(json.dumps(result) if arguments.json else table(result))


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [f"{way:13s} {rate:8.1f} pairs/s" for way, rate in result["pairs_per_s"].items()]
    for what, other in (("limit", "decode limit"), ("pool", "thread pool")):
        ratio, by_work = result[f"pipeline_over_{what}"], result[f"pipeline_over_{what}_by_work"]
        lines.append(f"pipeline / {other} {ratio:.2f}; by processor time {by_work:.2f}")
    lines += [
        f"augmented / pipeline {result['augmented_over_pipeline']:.2f}; by processor time "
        f"{result['augmented_over_pipeline_by_work']:.2f}",
        f"cached / pipeline {result['cached_over_pipeline']:.1f}",
        "",
        "samples  read+hash (s)  build index (s)  build / hash  by processor time  start (s)  index (MB)  pairs/s",
    ]
    for row in result["growth"]:
        lines.append(
            f"{row['samples']:7d}  {row['hash_s']:13.2f}  {row['build_s']:15.2f}  {row['build_over_hash']:12.2f}  "
            f"{row['build_over_hash_by_work']:17.2f}  "
            f"{row['start_s']:9.3f}  {row['index_mb']:10.2f}  {row['pairs_per_s']:7.1f}"
        )
    host = result["host"]
    lines += [
        "",
        f"default config: waits {result['wait_ms']:.1f} ms for input at a step of {result['step_s']:.3f} s: "
        f"{result['wait_share']:.1%}",
        f"{host['cpu']}, {host['cores']} cores, load {result['load_average']}, {result['versions']}",
        f"{result['pairs']} pairs, {result['threads']} threads, {result['rounds']} rounds",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
