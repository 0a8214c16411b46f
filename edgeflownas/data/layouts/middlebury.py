"""Middlebury: `other-data/SEQUENCE/frame10.png`, `frame11.png` and `other-gt-flow/SEQUENCE/flow10.flo`.

S. Baker et al.: A Database and Evaluation Methodology for Optical Flow. IJCV 92 (2011). Sequences without flow, and
frames besides these two, are not used.
"""

import re
from pathlib import Path

from edgeflownas.data.layouts.layout import (
    Candidate,
    Layout,
    Names,
    Scan,
    has_folder,
    scan_of,
    split_by_group,
    subfolders,
)

FRAMES, FLOWS = "other-data", "other-gt-flow"
TREE = f"the layout is <root>/{FRAMES}/SEQUENCE/frame10.png, frame11.png and {FLOWS}/SEQUENCE/flow10.flo"
_USED = {FRAMES: re.compile(r"frame1[01]\.png"), FLOWS: re.compile(r"flow10\.flo")}


def _fits(root: Path) -> bool:
    return has_folder(root, FRAMES) or has_folder(root, FLOWS)


def _scan(root: Path, split: str, passes: str) -> Scan:
    names = Names(root)
    for folder, pattern in _USED.items():
        for sequence in subfolders(root, folder):
            names.matching(f"{folder}/{sequence}", pattern)
    candidates = [
        Candidate(
            sequence,
            (f"{FRAMES}/{sequence}/frame10.png", f"{FRAMES}/{sequence}/frame11.png", f"{FLOWS}/{sequence}/flow10.flo"),
            group=sequence,
        )
        for sequence in subfolders(root, FLOWS)
    ]
    if candidates:
        candidates = split_by_group(root, split, candidates)
    return scan_of(root, split, candidates, names.there, [] if split == "val" else names.other, TREE, unknown=True)


LAYOUT = Layout(
    name="middlebury",
    title="Middlebury",
    tree=f"{FRAMES}/ and {FLOWS}/",
    split="every tenth sequence is for validation, or the last of fewer",
    uses=(FRAMES, FLOWS),
    fits=_fits,
    scan=_scan,
    judged="all",
    expected=re.compile(r"frame[0-9]{2}\.png|flow10\.png", re.ASCII),
)
