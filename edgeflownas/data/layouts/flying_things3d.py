"""FlyingThings3D, the full data set: `frames_{clean,final}pass/` and `optical_flow/`, TRAIN and TEST, .pfm flow.

N. Mayer et al.: A Large Dataset to Train Convolutional Networks for Disparity, Optical Flow, and Scene Flow Estimation.
CVPR 2016, arXiv:1512.02134. Both directions of time and both cameras are used; TEST is for validation.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from edgeflownas.data.layouts.layout import (
    Candidate,
    Layout,
    Names,
    Scan,
    chosen_passes,
    has_folder,
    scan_of,
    subfolders,
)

FLOWS = "optical_flow"
PASSES = {"clean": "frames_cleanpass", "final": "frames_finalpass"}
DIRECTIONS = {"into_future": ("IntoFuture", 1), "into_past": ("IntoPast", -1)}
SIDES = {"left": "L", "right": "R"}
TREE = (
    "the layout is <root>/frames_{cleanpass,finalpass}/{TRAIN,TEST}/{A,B,C}/NNNN/{left,right}/NNNN.png and "
    "optical_flow/{TRAIN,TEST}/{A,B,C}/NNNN/{into_future,into_past}/{left,right}/OpticalFlowInto…_NNNN_{L,R}.pfm"
)
_SPLITS = {"train": "TRAIN", "val": "TEST"}
_FRAME = re.compile(r"([0-9]{4})\.png", re.ASCII)
_FLOW = re.compile(r"OpticalFlowInto(?:Future|Past)_([0-9]{4})_[LR]\.pfm", re.ASCII)


def _fits(root: Path) -> bool:
    return any(has_folder(root, folder) for folder in (FLOWS, *PASSES.values()))


def _scan(root: Path, split: str, passes: str) -> Scan:
    used, part = chosen_passes(root, passes, PASSES), _SPLITS[split]
    names = Names(root)
    scenes = sorted(
        {
            f"{part}/{letter}/{scene}"
            for folder in (*used, FLOWS)
            for letter in subfolders(root, f"{folder}/{part}")
            for scene in subfolders(root, f"{folder}/{part}/{letter}")
        }
    )
    candidates = [candidate for scene in scenes for side in SIDES for candidate in _of_camera(names, used, scene, side)]
    return scan_of(root, split, candidates, names.there, names.other, TREE)


def _of_camera(names: Names, passes: list[str], scene: str, side: str) -> Iterator[Candidate]:
    frames = {folder: _numbers(names, f"{folder}/{scene}/{side}", _FRAME) for folder in passes}
    for direction, (word, step) in DIRECTIONS.items():
        flow_folder = f"{FLOWS}/{scene}/{direction}/{side}"
        flows = _numbers(names, flow_folder, _FLOW)
        for folder, numbers in frames.items():
            # The flow out of a scene's last (or first) frame is there, and the frame that it leads to is not.
            known = numbers or flows
            pairs = {number for number in numbers | flows if min(known) <= number + step <= max(known)}
            for number in sorted(pairs):
                if number not in flows and not {number, number + step} <= numbers:
                    continue
                parts = (
                    f"{folder}/{scene}/{side}/{number:04d}.png",
                    f"{folder}/{scene}/{side}/{number + step:04d}.png",
                    f"{flow_folder}/OpticalFlow{word}_{number:04d}_{SIDES[side]}.pfm",
                )
                yield Candidate(f"{folder}/{scene}/{direction}/{side}/{number:04d}", parts, group=scene)


def _numbers(names: Names, folder: str, pattern: re.Pattern[str]) -> set[int]:
    return {int(match[1]) for match in names.matching(folder, pattern)}


LAYOUT = Layout(
    name="flying_things3d",
    title="FlyingThings3D",
    tree="optical_flow/ and frames_cleanpass/ or frames_finalpass/",
    split="TRAIN for training, TEST for validation",
    uses=(FLOWS, *PASSES.values()),
    fits=_fits,
    scan=_scan,
    passes=True,
)
