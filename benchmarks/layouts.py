"""What the index of a data set of FlyingThings3D's size costs: in its layout, and as many pairs in FlyingChairs2's.

Frames are small, so that what counts is the work for each sample, and not reading and hashing.

python -m benchmarks.layouts            # 40,000 pairs of 48×64, hard links
"""

import argparse
import json
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.linked_data import linked, linked_things3d
from benchmarks.measure import alternate_with_work, circumstances, median_ratio
from edgeflownas.artifacts import write_json
from edgeflownas.data.changes import check_unchanged
from edgeflownas.data.index import SCHEMA, build_index, load_index
from edgeflownas.data.synthetic import SyntheticParameters, generate

CROP = (45, 60)
NAMES = ("flying_chairs2", "flying_things3d")


def measure(folder: Path, count: int, rounds: int, threads: int) -> dict[str, Any]:
    """Seconds to build, to load and to compare the index of each layout, and its size."""
    generate(folder / "pairs", SyntheticParameters(train=6, val=2, height=48, width=64, seed=7))
    roots = dict(zip(NAMES, (make(folder / "pairs", folder, count) for make in (linked, linked_things3d)), strict=True))
    paths = {name: folder / f"{name}.json" for name in NAMES}

    def build(name: str) -> None:
        index = build_index(roots[name], CROP, allow_copies=True, workers=threads, folder=folder / name)
        write_json(paths[name], index, SCHEMA)

    seconds, work = alternate_with_work({name: partial(build, name) for name in NAMES}, rounds)
    starts = {name: partial(start, paths[name]) for name in NAMES}
    start_seconds, start_work = alternate_with_work(starts, rounds)
    pairs = {name: sum(part["count"] for part in load_index(paths[name])["splits"].values()) for name in NAMES}
    return {
        "layouts": {
            name: {
                "pairs": pairs[name],
                "build_s": round(statistics.median(seconds[name]), 1),
                "build_cpu_s": round(statistics.median(work[name]), 1),
                "build_cpu_ms_per_pair": round(1000 * statistics.median(work[name]) / pairs[name], 3),
                "start_s": round(statistics.median(start_seconds[name]), 2),
                "start_cpu_s": round(statistics.median(start_work[name]), 2),
                "index_mb": round(paths[name].stat().st_size / 1e6, 1),
            }
            for name in NAMES
        },
        "things3d_over_chairs2_by_work": round(median_ratio(work, *NAMES[::-1]), 2),
        "rounds": rounds,
        "threads": threads,
        **circumstances(),
    }


def start(path: Path) -> None:
    """What a run does with an index that is there."""
    check_unchanged(load_index(path))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layouts", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40000, help="pairs, at least (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = measure(Path(name), arguments.count, arguments.rounds, arguments.threads)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, row in result["layouts"].items():
        print(
            f"{name:16s} {row['pairs']:6d} pairs: build {row['build_s']:.1f} s, {row['build_cpu_s']:.1f} s of "
            f"processor time ({row['build_cpu_ms_per_pair']:.3f} ms per pair), start {row['start_s']:.2f} s "
            f"({row['start_cpu_s']:.2f} s), {row['index_mb']:.1f} MB"
        )
    print(f"FlyingThings3D / FlyingChairs2 {result['things3d_over_chairs2_by_work']:.2f} by processor time")
    print(f"{result['host']['cpu']}, {result['host']['cores']} cores, load {result['load_average']}")


if __name__ == "__main__":
    main()
