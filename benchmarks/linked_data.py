"""Data sets of any size out of a few pairs: further samples are hard links, which take no room."""

import itertools
import os
from pathlib import Path

import numpy as np

from edgeflownas.data.layouts.flying_chairs2 import list_samples, sample_of
from edgeflownas.data.layouts.flying_things3d import DIRECTIONS, FLOWS, PASSES, SIDES
from edgeflownas.data.layouts.layout import SPLITS
from edgeflownas.data.samples import read_sample
from edgeflownas.data.synthetic import SyntheticParameters, generate

FRAMES_PER_SCENE = 10
PAIRS_PER_SCENE = 2 * 2 * 2 * (FRAMES_PER_SCENE - 1)


def real_size_pairs(folder: Path) -> Path:
    """Six training and two validation scenes of FlyingChairs2's size, generated in `folder`."""
    generate(folder / "pairs", SyntheticParameters(train=6, val=2, height=384, width=512, seed=7))
    return folder / "pairs"


def linked_things3d(pairs: Path, folder: Path, count: int) -> Path:
    """A FlyingThings3D of at least `count` pairs in `folder`: ten frames a scene, both passes, cameras and directions.

    Frames and flow are linked to those of `pairs`; a fifth of the scenes are in TEST.
    """
    root = folder / f"things3d_{count}"
    links = {}
    for split, part in zip(SPLITS, ("TRAIN", "TEST"), strict=True):
        samples = list_samples(pairs, split)
        flows = [folder / f"{part}_{number}.pfm" for number in range(len(samples))]
        for sample, path in zip(samples, flows, strict=True):
            flow = read_sample(sample)[2]
            three = np.dstack([flow, np.zeros(flow.shape[:2], "<f4")])[::-1]
            path.write_bytes(b"PF\n%d %d\n-1.0\n" % flow.shape[1::-1] + three.tobytes())
        links[part] = itertools.cycle(zip(samples, flows, strict=True))
    for scene in range(-(-count // PAIRS_PER_SCENE)):
        part = "TEST" if scene % 5 == 4 else "TRAIN"
        place = f"{part}/A/{scene:04d}"
        for side, letter in SIDES.items():
            for folder_of_pass in PASSES.values():
                (root / folder_of_pass / place / side).mkdir(parents=True)
            for direction in DIRECTIONS:
                (root / FLOWS / place / direction / side).mkdir(parents=True)
            for number in range(FRAMES_PER_SCENE):
                sample, flow = next(links[part])
                for kind, folder_of_pass in enumerate(PASSES.values()):
                    os.link(sample.files[kind], root / folder_of_pass / place / side / f"{number:04d}.png")
                for direction, (word, _) in DIRECTIONS.items():
                    name = f"OpticalFlow{word}_{number:04d}_{letter}.pfm"
                    os.link(flow, root / FLOWS / place / direction / side / name)
    return root


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
