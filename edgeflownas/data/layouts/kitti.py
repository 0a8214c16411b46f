"""KITTI 2012 and 2015: `training/{image_2,colored_0}/NNNNNN_10.png`, `_11.png`, `training/{flow_occ,flow_noc}/…`.

A. Geiger, P. Lenz, R. Urtasun: Are we ready for Autonomous Driving? CVPR 2012. M. Menze, A. Geiger: Object Scene Flow
for Autonomous Vehicles. CVPR 2015. flow_occ is taken where it is there: flow_noc lacks the occluded pixels. The grey
frames of 2012 (`image_0`) are not used.
"""

import re
from pathlib import Path

import numpy as np

from edgeflownas.data.flow_files import LARGEST_KNOWN
from edgeflownas.data.layouts.layout import Candidate, Layout, Names, Scan, has_folder, scan_of, split_by_group
from edgeflownas.data.readers import read_flow
from edgeflownas.data.samples import Sample

FRAMES = ("image_2", "colored_0")
FLOWS = ("flow_occ", "flow_noc")
TREE = (
    "the layout is <root>/training/image_2 (2015) or colored_0 (2012) with NNNNNN_10.png and NNNNNN_11.png, and "
    "training/flow_occ or flow_noc with NNNNNN_10.png"
)
_FRAME = re.compile(r"([0-9]{6})_1[01]\.png", re.ASCII)
_FLOW = re.compile(r"([0-9]{6})_10\.png", re.ASCII)


def _first(root: Path, folders: tuple[str, ...]) -> str | None:
    return next((f"training/{folder}" for folder in folders if has_folder(root, f"training/{folder}")), None)


def _fits(root: Path) -> bool:
    return _first(root, FRAMES) is not None or _first(root, FLOWS) is not None


def _scan(root: Path, split: str, passes: str) -> Scan:
    frames, flows = _first(root, FRAMES) or "training/image_2", _first(root, FLOWS) or "training/flow_occ"
    names = Names(root)
    numbers = {
        match[1] for folder, pattern in ((frames, _FRAME), (flows, _FLOW)) for match in names.matching(folder, pattern)
    }
    candidates = [
        Candidate(
            f"{number}_10",
            (f"{frames}/{number}_10.png", f"{frames}/{number}_11.png", f"{flows}/{number}_10.png"),
            group=number,
        )
        for number in sorted(numbers)
    ]
    if candidates:
        candidates = split_by_group(root, split, candidates)
    return scan_of(root, split, candidates, names.there, [] if split == "val" else names.other, TREE, unknown=True)


def _matched(sample: Sample) -> np.ndarray | None:
    """What flow_noc knows, where both it and flow_occ are there."""
    path = sample.folder / sample.parts[2].replace("/flow_occ/", "/flow_noc/")
    if path == sample.files[2] or not path.exists():
        return None
    return np.asarray((np.abs(read_flow(path)) <= LARGEST_KNOWN).all(axis=-1))


LAYOUT = Layout(
    name="kitti",
    title="KITTI",
    tree="training/image_2/ or training/colored_0/, and training/flow_occ/ or training/flow_noc/",
    split="every tenth pair is for validation, or the last of fewer",
    uses=("training",),
    fits=_fits,
    scan=_scan,
    judged="all",
    matched=_matched,
    # The frames of the multi-view extension.
    expected=re.compile(r"[0-9]{6}_[0-9]{2}\.png", re.ASCII),
)
