"""The subset of FlyingThings3D: `{train,val}/image_{clean,final}/{left,right}/NNNNNNN.png` and `flow/…/NNNNNNN.flo`.

The pairs that FlowNet 2.0 was trained on (E. Ilg et al., arXiv:1612.01925), as the authors offer them: the frames of
all scenes are numbered through, and a flow file is there where the next (or previous) frame is of the same scene.
"""

import re
from pathlib import Path

from edgeflownas.data.layouts.layout import SPLITS, Candidate, Layout, Names, Scan, chosen_passes, has_folder, scan_of

DIRECTIONS = {"into_future": 1, "into_past": -1}
SIDES = ("left", "right")
TREE = (
    "the layout is <root>/{train,val}/image_{clean,final}/{left,right}/NNNNNNN.png and "
    "<root>/{train,val}/flow/{left,right}/{into_future,into_past}/NNNNNNN.flo"
)
_FRAME = re.compile(r"[0-9]{7}\.png", re.ASCII)
_FLOW = re.compile(r"([0-9]{7})\.flo", re.ASCII)


def subset_folders(root: Path) -> bool:
    """Whether there is a split with the subset's folders in it."""
    folders = ("flow", "image_clean", "image_final")
    return any(has_folder(root, f"{split}/{folder}") for split in SPLITS for folder in folders)


def _scan(root: Path, split: str, passes: str) -> Scan:
    used = chosen_passes(root, passes, {"clean": f"{split}/image_clean", "final": f"{split}/image_final"})
    names, candidates = Names(root), []
    for side in SIDES:
        for folder in used:
            names.matching(f"{folder}/{side}", _FRAME)
        for direction, step in DIRECTIONS.items():
            flows = f"{split}/flow/{side}/{direction}"
            for match in names.matching(flows, _FLOW):
                number = int(match[1])
                for folder in used:
                    parts = (
                        f"{folder}/{side}/{number:07d}.png",
                        f"{folder}/{side}/{number + step:07d}.png",
                        f"{flows}/{match[0]}",
                    )
                    label = f"{Path(folder).name}/{side}/{direction}/{number:07d}"
                    candidates.append(Candidate(label, parts, group=f"{number:07d}"))
    return scan_of(root, split, candidates, names.there, names.other, TREE)


LAYOUT = Layout(
    name="flying_things3d_subset",
    title="FlyingThings3D subset",
    tree="train/ and val/ with flow/ and image_clean/ or image_final/",
    split="train for training, val for validation",
    uses=SPLITS,
    fits=subset_folders,
    scan=_scan,
    passes=True,
)
