"""FlyingChairs: `data/NNNNN_img1.ppm`, `_img2.ppm`, `_flow.flo`, and the list of the official split.

A. Dosovitskiy et al.: FlowNet: Learning Optical Flow with Convolutional Networks. arXiv:1504.06852.
"""

import re
from pathlib import Path

from edgeflownas.data.layouts.layout import Candidate, Layout, Names, Scan, scan_of, split_by_group
from edgeflownas.data.other_files import names_in
from edgeflownas.errors import UserError

SPLIT_LIST = "FlyingChairs_train_val.txt"
KINDS = ("img1.ppm", "img2.ppm", "flow.flo")
TREE = f"the layout is <root>/data/NNNNN_{{{','.join(KINDS)}}} and, where you have it, <root>/{SPLIT_LIST}"

_FILE = re.compile(rf"([0-9]+)_({'|'.join(map(re.escape, KINDS))})", re.ASCII)
_IN_SPLIT = {"1": "train", "2": "val"}


def _fits(root: Path) -> bool:
    return any(_FILE.fullmatch(name) for name in names_in(root / "data"))


def _scan(root: Path, split: str, passes: str) -> Scan:
    names = Names(root)
    numbers = {match[1] for match in names.matching("data", _FILE)}
    candidates = [
        Candidate(number, tuple(f"data/{number}_{kind}" for kind in KINDS), group=number) for number in sorted(numbers)
    ]
    if (root / SPLIT_LIST).exists():
        splits = _official(root / SPLIT_LIST)
        for candidate in candidates:
            if not 1 <= int(candidate.name) <= len(splits):
                raise UserError(
                    f"{root / SPLIT_LIST}: has {len(splits)} lines, none for sample {candidate.name}; fetch it again"
                )
        candidates = [candidate for candidate in candidates if splits[int(candidate.name) - 1] == split]
    elif candidates:
        candidates = split_by_group(root, split, candidates)
    return scan_of(root, split, candidates, names.there, [] if split == "val" else names.other, TREE)


def _official(path: Path) -> list[str]:
    """The split of sample 1, 2, …: a line each, 1 for training, 2 for validation."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the list of the split: {error}") from error
    wrong = [number for number, line in enumerate(lines, start=1) if line not in _IN_SPLIT]
    if wrong:
        raise UserError(f"{path}: line {wrong[0]} is {lines[wrong[0] - 1][:20]!r}; expected 1 (training) or 2")
    return [_IN_SPLIT[line] for line in lines]


LAYOUT = Layout(
    name="flying_chairs",
    title="FlyingChairs",
    tree="data/NNNNN_img1.ppm",
    split=f"{SPLIT_LIST}; without it, every tenth pair is for validation",
    uses=("data", SPLIT_LIST),
    fits=_fits,
    scan=_scan,
)
