"""Look at every sample of a data set once, and write down what it holds: `data_index.json`.

    python -m edgeflownas.data.index --root DIR --height H --width W --max_flow 50 --out FILE

A run trains on what the index lists and on nothing else. Its `digest` is that of the listed files' bytes: the same
data have the same digest wherever they lie.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import read_json, sha256_file, sha256_of, write_json
from edgeflownas.data.flying_chairs import FILE_KINDS, SPLITS, Sample, read_sample, scan_split
from edgeflownas.data.prefetch import prefetch
from edgeflownas.errors import UserError, run_command
from edgeflownas.parsers import command_parser

SCHEMA = "data_index.schema.json"
POLICIES = ("stop", "exclude")


def build_index(
    root: Path | str,
    crop: tuple[int, int],
    max_flow: float = 50.0,
    on_bad_sample: str = "stop",
    workers: int = 2,
) -> dict[str, Any]:
    """Read and judge every sample of both splits.

    Args:
        root: folder with the FlyingChairs2 layout.
        crop: (height, width) that each sample must at least have, pixels.
        max_flow: flow is clipped to ± this before its zero-flow EPE is taken, pixels.
        on_bad_sample: "stop" refuses the data set, "exclude" lists bad samples under `rejected`.
        workers: number of threads.

    Returns:
        An index that fits `schemas/data_index.schema.json`.

    Raises:
        UserError: a folder or split is missing or empty; a sample is bad and the policy is "stop"; or no sample of
            a split is left.
    """
    if on_bad_sample not in POLICIES:
        raise UserError(f"on_bad_sample is {on_bad_sample!r}; expected one of {', '.join(POLICIES)}")
    if min(crop) < 1 or max_flow <= 0:
        raise UserError(f"crop is {crop[0]}x{crop[1]} and max_flow {max_flow}; expected values above 0")
    splits = {split: _index_split(root, split, crop, max_flow, workers) for split in SPLITS}
    _apply_policy(splits, on_bad_sample, root)
    return {
        "root": str(root),
        "digest": _digest(splits),
        "crop": list(crop),
        "max_flow": float(max_flow),
        "on_bad_sample": on_bad_sample,
        "splits": splits,
    }


def _index_split(root: Path | str, split: str, crop: tuple[int, int], max_flow: float, workers: int) -> dict[str, Any]:
    samples, missing = scan_split(root, split)

    def judge(sample: Sample) -> dict[str, Any]:
        return _judge(sample, missing.get(sample.name, []), crop, max_flow)

    entries = list(prefetch(judge, samples, workers))
    listed = [entry for entry in entries if "reason" not in entry]
    return {
        "count": len(listed),
        "zero_flow_epe": float(np.mean([entry["zero_flow_epe"] for entry in listed])) if listed else None,
        "samples": listed,
        "rejected": [entry for entry in entries if "reason" in entry],
    }


def _judge(sample: Sample, missing: Sequence[str], crop: tuple[int, int], max_flow: float) -> dict[str, Any]:
    """The index's entry of a sample: with a `reason` if it cannot be used."""
    try:
        if missing:
            raise UserError(f"{sample.folder}: missing {', '.join(missing)}")
        stats = [path.stat() for path in sample.files]
        flow = read_sample(sample)[2]
        height, width = flow.shape[:2]
        if height < crop[0] or width < crop[1]:
            raise UserError(
                f"{sample.files[0]}: is {height}x{width} pixels (height x width), smaller than the crop "
                f"{crop[0]}x{crop[1]}"
            )
        if bad := int(np.count_nonzero(~np.isfinite(flow).all(axis=2))):
            raise UserError(f"{sample.files[2]}: flow is not finite at {bad} of {height * width} pixels")
        return {
            "name": sample.name,
            "height": height,
            "width": width,
            "zero_flow_epe": zero_flow_epe(flow, max_flow),
            "bytes": [stat.st_size for stat in stats],
            "sha256": [sha256_file(path) for path in sample.files],
            "mtime_ns": [stat.st_mtime_ns for stat in stats],
        }
    except UserError as error:
        return {"name": sample.name, "reason": str(error)}
    except OSError as error:
        return {"name": sample.name, "reason": f"{error.filename}: {error.strerror}"}


def zero_flow_epe(flow: np.ndarray, max_flow: float) -> float:
    """EPE of predicting no motion: the mean length of the flow clipped to ±max_flow per component, pixels."""
    clipped = np.clip(flow, -max_flow, max_flow).astype(np.float64)
    return float(np.hypot(clipped[..., 0], clipped[..., 1]).mean())


def _apply_policy(splits: dict[str, Any], on_bad_sample: str, root: Path | str) -> None:
    rejected = [(split, entry) for split in SPLITS for entry in splits[split]["rejected"]]
    if rejected and on_bad_sample == "stop":
        faults = "; ".join(f"{split} {entry['name']}: {entry['reason']}" for split, entry in rejected[:10])
        more = f"; and {len(rejected) - 10} more" if len(rejected) > 10 else ""
        raise UserError(
            f"{root}: {len(rejected)} bad sample(s): {faults}{more}. "
            "Mend or remove them, or set data.on_bad_sample to exclude"
        )
    for split in SPLITS:
        if not splits[split]["samples"]:
            first = splits[split]["rejected"][0]
            raise UserError(
                f"{Path(root) / split}: no usable sample is left of {len(splits[split]['rejected'])}; "
                f"the first, {first['name']}: {first['reason']}"
            )


def _digest(splits: dict[str, Any]) -> str:
    return sha256_of({split: [[e["name"], *e["sha256"]] for e in splits[split]["samples"]] for split in SPLITS})


def load_index(path: Path | str) -> dict[str, Any]:
    """Read a `data_index.json`.

    Raises:
        UserError: it is missing, does not fit its schema, or its digest is not that of the samples it lists.
    """
    index: dict[str, Any] = read_json(path, SCHEMA)
    if index["digest"] != _digest(index["splits"]):
        raise UserError(f"{path}: its digest does not fit its samples: the index was edited; build it again")
    return index


def indexed_samples(index: dict[str, Any], split: str) -> list[Sample]:
    """The samples that an index lists for a split, in its order."""
    folder = Path(index["root"]) / split
    return [Sample(folder, entry["name"]) for entry in index["splits"][split]["samples"]]


def check_unchanged(index: dict[str, Any]) -> None:
    """Compare the files on disk with the index: sizes and times, and the bytes of files whose time has changed.

    Raises:
        UserError: listed files have vanished or changed (the first 10 are named).
    """
    faults = []
    for split in SPLITS:
        for sample, entry in zip(indexed_samples(index, split), index["splits"][split]["samples"], strict=True):
            for number, path in enumerate(sample.files):
                if fault := _change(path, *(entry[key][number] for key in ("bytes", "mtime_ns", "sha256"))):
                    faults.append(f"{path}: {fault}")
    if faults:
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise UserError(
            f"{index['root']}: the data are not what was indexed: {'; '.join(faults[:10])}{more}. "
            "Restore the files, or build the index again"
        )


def _change(path: Path, size: int, mtime_ns: int, sha256: str) -> str | None:
    try:
        stat = path.stat()
        if stat.st_size != size:
            return f"has {stat.st_size} bytes, was indexed with {size}"
        # A copied data set has new times and old bytes.
        if stat.st_mtime_ns != mtime_ns and sha256_file(path) != sha256:
            return "has other bytes than were indexed"
    except OSError as error:
        return error.strerror or str(error)
    return None


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.data.index",
        __doc__.splitlines()[0],
        ("--root /data/FlyingChairs2 --height 180 --width 240 --out data_index.json",),
    )
    parser.add_argument("--root", type=Path, required=True, help=f"folder with train/ and val/ of {FILE_KINDS}")
    parser.add_argument("--height", type=int, required=True, help="height of the crop, pixels")
    parser.add_argument("--width", type=int, required=True, help="width of the crop, pixels")
    parser.add_argument("--max_flow", type=float, default=50.0, help="flow is clipped to ± this, pixels (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the data_index.json to write")
    parser.add_argument("--on_bad_sample", choices=POLICIES, default="stop", help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="threads (%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's text."""
    arguments = _parser().parse_args(argv)
    if arguments.workers < 1:
        raise UserError(f"--workers is {arguments.workers}; expected at least 1")
    crop = (arguments.height, arguments.width)
    index = build_index(arguments.root, crop, arguments.max_flow, arguments.on_bad_sample, arguments.workers)
    write_json(arguments.out, index, SCHEMA)
    for split, part in index["splits"].items():
        print(
            f"{split}: {part['count']} samples, zero-flow EPE {part['zero_flow_epe']:.3f} px, "
            f"{len(part['rejected'])} rejected"
        )
    print(f"digest {index['digest']}, written to {arguments.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
