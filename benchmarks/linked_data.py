"""Data sets of any size out of a few pairs: further samples are hard links, which take no room."""

import itertools
import os
from pathlib import Path

from edgeflownas.data.layouts.flying_chairs2 import list_samples, sample_of
from edgeflownas.data.layouts.layout import SPLITS
from edgeflownas.data.synthetic import SyntheticParameters, generate


def real_size_pairs(folder: Path) -> Path:
    """Six training and two validation scenes of FlyingChairs2's size, generated in `folder`."""
    generate(folder / "pairs", SyntheticParameters(train=6, val=2, height=384, width=512, seed=7))
    return folder / "pairs"


def linked(pairs: Path, folder: Path, count: int) -> Path:
    """A data set of `count` samples in `folder`, a quarter of them for validation, linked to the files of `pairs`."""
    root = folder / f"linked_{count}"
    for split, share in zip(SPLITS, (count - count // 4, count // 4), strict=True):
        (root / split).mkdir(parents=True)
        originals = itertools.cycle(list_samples(pairs, split))
        for number, original in zip(range(share), originals, strict=False):
            copy = sample_of(root / split, f"{number:07d}")
            for source, target in zip(original.files, copy.files, strict=True):
                os.link(source, target)
    return root
