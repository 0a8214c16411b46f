"""MPI Sintel: `training/{clean,final}/SCENE/frame_NNNN.png`, `training/flow/…`, and `training/invalid/…` as the mask.

D. J. Butler, J. Wulff, G. B. Stanley, M. J. Black: A Naturalistic Open Source Movie for Optical Flow Evaluation.
ECCV 2012. The test scenes have no flow and are not used.
"""

import re
from pathlib import Path

import numpy as np

from edgeflownas.data.layouts.layout import (
    Candidate,
    Layout,
    Names,
    Scan,
    chosen_passes,
    has_folder,
    scan_of,
    split_by_group,
    subfolders,
)
from edgeflownas.data.png_files import decode_mask, open_mask
from edgeflownas.data.samples import Sample

TREE = (
    "the layout is <root>/training/{clean,final}/SCENE/frame_NNNN.png, training/flow/SCENE/frame_NNNN.flo and, where "
    "you have it, training/invalid/SCENE/frame_NNNN.png"
)
_FRAME = re.compile(r"frame_([0-9]{4})\.(?:png|flo)", re.ASCII)


def _fits(root: Path) -> bool:
    passes = has_folder(root, "training/clean") or has_folder(root, "training/final")
    return passes and has_folder(root, "training/flow")


def _scan(root: Path, split: str, passes: str) -> Scan:
    used = chosen_passes(root, passes, {"clean": "training/clean", "final": "training/final"})
    masked = has_folder(root, "training/invalid")
    names = Names(root)
    flows = _numbers(root, "training/flow", names)
    if masked:
        _numbers(root, "training/invalid", names)
    candidates = []
    for folder in used:
        frames = _numbers(root, folder, names)
        for scene in sorted(frames.keys() | flows.keys()):
            pictures = frames.get(scene, set())
            pairs = flows.get(scene, set()) | {number for number in pictures if number + 1 in pictures}
            candidates += [_candidate(folder, scene, number, masked) for number in sorted(pairs)]
    if candidates:
        candidates = split_by_group(root, split, candidates)
    return scan_of(root, split, candidates, names.there, [] if split == "val" else names.other, TREE, unknown=True)


def _numbers(root: Path, folder: str, names: Names) -> dict[str, set[int]]:
    """By scene, the numbers of a folder's frames."""
    return {
        scene: {int(match[1]) for match in names.matching(f"{folder}/{scene}", _FRAME)}
        for scene in subfolders(root, folder)
    }


def _candidate(folder: str, scene: str, number: int, masked: bool) -> Candidate:
    parts = [
        f"{folder}/{scene}/frame_{number:04d}.png",
        f"{folder}/{scene}/frame_{number + 1:04d}.png",
        f"training/flow/{scene}/frame_{number:04d}.flo",
    ]
    if masked:
        parts.append(f"training/invalid/{scene}/frame_{number:04d}.png")
    return Candidate(f"{Path(folder).name}/{scene}/frame_{number:04d}", tuple(parts), group=scene)


def _matched(sample: Sample) -> np.ndarray | None:
    """What `training/occlusions/` does not mark."""
    path = sample.folder / sample.parts[2].replace("/flow/", "/occlusions/").replace(".flo", ".png")
    if not path.exists():
        return None
    with open_mask(path) as mask:
        return ~decode_mask(mask)


LAYOUT = Layout(
    name="sintel",
    title="MPI Sintel",
    tree="training/flow/ and training/clean/ or training/final/",
    split="every tenth scene is for validation, or the last of fewer",
    uses=("training",),
    fits=_fits,
    scan=_scan,
    judged="all",
    matched=_matched,
    passes=True,
)
