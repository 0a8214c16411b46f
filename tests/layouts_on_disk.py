"""Tiny data sets in each real layout, with the exact names, by the formats' own definitions and not by our readers."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

SIZE = (48, 64)


class Made(NamedTuple):
    """What a writer made.

    names: by split, of all samples.
    unknown: pixels without known flow in each sample.
    """

    names: dict[str, list[str]]
    unknown: int = 0


def frame(seed: int) -> np.ndarray:
    """Random pixels, RGB."""
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def flow(seed: int) -> np.ndarray:
    """Random flow in sixty-fourths of a pixel, which every format can say."""
    return np.rint(np.random.default_rng(seed).normal(0, 5, (*SIZE, 2)) * 64).astype(np.float32) / 64


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def ppm(image: np.ndarray) -> bytes:
    return b"P6\n%d %d\n255\n" % (image.shape[1], image.shape[0]) + image.tobytes()


def flo(field: np.ndarray) -> bytes:
    return b"PIEH" + struct.pack("<ii", field.shape[1], field.shape[0]) + field.astype("<f4").tobytes()


def pfm(field: np.ndarray) -> bytes:
    """Bottom row first, three channels, as in FlyingThings3D."""
    three = np.dstack([field, np.full(field.shape[:2], 7.5)]).astype("<f4")
    return b"PF\n%d %d\n-1.0\n" % (field.shape[1], field.shape[0]) + three[::-1].tobytes()


def kitti_png(field: np.ndarray, known: np.ndarray) -> bytes:
    """R, G: flow × 64 + 2^15; B: whether it is known."""
    values = np.where(known[..., None], np.rint(field * 64) + 2**15, 0)
    return png(np.dstack([values, known]).astype(np.uint16))


def flying_chairs(root: Path) -> Made:
    """Twelve pairs: the tenth is for validation."""
    for number in range(1, 13):
        put(root / f"data/{number:05d}_img1.ppm", ppm(frame(2 * number)))
        put(root / f"data/{number:05d}_img2.ppm", ppm(frame(2 * number + 1)))
        put(root / f"data/{number:05d}_flow.flo", flo(flow(number)))
    names = [f"{number:05d}" for number in range(1, 13)]
    return Made({"train": names[:9] + names[10:], "val": names[9:10]})


def flying_chairs2(root: Path) -> Made:
    names = {"train": ["0000000", "0000001"], "val": ["0000002"]}
    for split, name in (("train", "0000000"), ("train", "0000001"), ("val", "0000002")):
        put(root / split / f"{name}-img_0.png", png(frame(2 * int(name))))
        put(root / split / f"{name}-img_1.png", png(frame(2 * int(name) + 1)))
        put(root / split / f"{name}-flow_01.flo", flo(flow(int(name))))
    return Made(names)


def flying_things3d(root: Path) -> Made:
    """A scene of three frames in each split: two pairs in each direction, and flow out of the scene at its ends."""
    names: dict[str, list[str]] = {}
    for split, part, scene in (("train", "TRAIN", "A/0000"), ("val", "TEST", "C/0149")):
        names[split] = []
        for side, letter in (("left", "L"), ("right", "R")):
            for number in (6, 7, 8):
                for passes, folder in enumerate(("frames_cleanpass", "frames_finalpass")):
                    seed = hash_of(split, side, number, passes)
                    put(root / folder / part / scene / side / f"{number:04d}.png", png(frame(seed)))
                for direction, word in (("into_future", "IntoFuture"), ("into_past", "IntoPast")):
                    name = f"OpticalFlow{word}_{number:04d}_{letter}.pfm"
                    field = flow(hash_of(split, side, number, direction))
                    put(root / "optical_flow" / part / scene / direction / side / name, pfm(field))
            names[split] += [
                f"{folder}/{part}/{scene}/{direction}/{side}/{number:04d}"
                for folder in ("frames_cleanpass", "frames_finalpass")
                for direction, numbers in (("into_future", (6, 7)), ("into_past", (7, 8)))
                for number in numbers
            ]
        names[split].sort()
    return Made(names)


def hash_of(*words: object) -> int:
    """A seed."""
    return zlib.crc32(repr(words).encode())


def flying_things3d_subset(root: Path) -> Made:
    """Two scenes of two frames each, numbered through."""
    names: dict[str, list[str]] = {}
    for split in ("train", "val"):
        names[split] = []
        for side in ("left", "right"):
            for number in range(4):
                for folder in ("image_clean", "image_final"):
                    put(
                        root / split / folder / side / f"{number:07d}.png",
                        png(frame(hash_of(split, side, number, folder))),
                    )
            for direction, numbers in (("into_future", (0, 2)), ("into_past", (1, 3))):
                for number in numbers:
                    field = flow(hash_of(split, side, direction, number))
                    put(root / split / "flow" / side / direction / f"{number:07d}.flo", flo(field))
                    names[split] += [
                        f"{folder}/{side}/{direction}/{number:07d}" for folder in ("image_clean", "image_final")
                    ]
        names[split].sort()
    return Made(names)


def sintel(root: Path) -> Made:
    """Two scenes of three frames, of which the second is for validation; 5 pixels of each flow are invalid."""
    training = root / "training"
    invalid = np.zeros(SIZE, np.uint8)
    invalid[3, 10:15] = 255
    for scene in ("alley_1", "cave_2"):
        for number in (1, 2, 3):
            for passes in ("clean", "final"):
                put(training / passes / scene / f"frame_{number:04d}.png", png(frame(hash_of(scene, number, passes))))
            if number < 3:
                put(training / "flow" / scene / f"frame_{number:04d}.flo", flo(flow(hash_of(scene, number))))
                put(training / "occlusions" / scene / f"frame_{number:04d}.png", png(invalid))
                put(training / "invalid" / scene / f"frame_{number:04d}.png", png(invalid))
    return Made(
        {
            split: [f"{passes}/{scene}/frame_{number:04d}" for passes in ("clean", "final") for number in (1, 2)]
            for split, scene in (("train", "alley_1"), ("val", "cave_2"))
        },
        unknown=5,
    )


def kitti(root: Path) -> Made:
    """Three pairs, of which the last is for validation; flow is known at every third pixel of the lower half."""
    known = np.zeros(SIZE, bool)
    known[SIZE[0] // 2 :, ::3] = True
    for number in range(3):
        put(root / f"training/image_2/{number:06d}_10.png", png(frame(2 * number)))
        put(root / f"training/image_2/{number:06d}_11.png", png(frame(2 * number + 1)))
        put(root / f"training/flow_occ/{number:06d}_10.png", kitti_png(flow(number), known))
    return Made({"train": ["000000_10", "000001_10"], "val": ["000002_10"]}, unknown=int((~known).sum()))


def middlebury(root: Path) -> Made:
    """Two sequences with flow, and one without; a row of each flow is marked as unknown."""
    for number, sequence in enumerate(("Dimetrodon", "RubberWhale", "Walking")):
        for name in ("frame10.png", "frame11.png"):
            put(root / f"other-data/{sequence}/{name}", png(frame(hash_of(sequence, name))))
        if sequence != "Walking":
            field = flow(number)
            field[7] = 1.666666752e9
            put(root / f"other-gt-flow/{sequence}/flow10.flo", flo(field))
    return Made({"train": ["Dimetrodon"], "val": ["RubberWhale"]}, unknown=SIZE[1])


WRITERS: dict[str, Callable[[Path], Made]] = {
    writer.__name__: writer
    for writer in (
        flying_chairs2,
        flying_chairs,
        flying_things3d,
        flying_things3d_subset,
        sintel,
        kitti,
        middlebury,
    )
}
