"""What a generated data set is made from, and whether one lies in a folder: `synthetic.json` says so."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from edgeflownas.artifacts import read_json
from edgeflownas.data.files import MAX_SIDE
from edgeflownas.data.layouts.flying_chairs2 import list_samples
from edgeflownas.data.layouts.layout import SPLITS
from edgeflownas.errors import UserError

MARKER = "synthetic.json"
GENERATOR = 1
"""Raised whenever the same parameters give other files, so that old data are not taken for new."""

KINDS = ("layers", "smooth")


@dataclass(frozen=True)
class SyntheticParameters:
    """All that decides a synthetic data set.

    Attributes:
        train, val: number of scenes per split.
        height, width: frame size, pixels.
        seed: 0 to 2^64 − 1.
        kind: layers (scenes.py) or smooth (smooth_scenes.py).
        max_motion: largest translation of a layer's centre, or displacement of smooth motion along each axis, pixels.
        shapes: fewest and most foreground shapes in a scene of layers.

    Raises:
        UserError: on a value out of range.
    """

    train: Annotated[int, "data.synthetic.train"]
    val: Annotated[int, "data.synthetic.val"]
    height: Annotated[int, "data.synthetic.height"]
    width: Annotated[int, "data.synthetic.width"]
    seed: Annotated[int, "data.synthetic.seed"]
    kind: Annotated[str, "data.synthetic.kind"] = "layers"
    max_motion: Annotated[float, "data.synthetic.max_motion"] = 40.0
    shapes: tuple[int, int] = (3, 8)

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("train", self.train, 1, 10_000_000),
            ("val", self.val, 1, 10_000_000),
            ("height", self.height, 8, MAX_SIDE),
            ("width", self.width, 8, MAX_SIDE),
            ("seed", self.seed, 0, 2**64 - 1),
            ("max_motion", self.max_motion, 0, MAX_SIDE),
            ("shapes, fewest", self.shapes[0], 0, 100),
            ("shapes, most", self.shapes[1], self.shapes[0], 100),
        ):
            if not least <= value <= most:
                raise UserError(f"synthetic data: {name} is {value}; expected {least} to {most}")
        if self.kind not in KINDS:
            raise UserError(f"synthetic data: kind is {self.kind}; expected {' or '.join(KINDS)}")

    def marker(self) -> dict[str, Any]:
        """What `synthetic.json` says."""
        return {"generator": GENERATOR, **asdict(self), "shapes": list(self.shapes)}


def already_there(root: Path | str, parameters: SyntheticParameters) -> bool:
    """Whether `root` holds the data set of these parameters; False if there is nothing yet.

    Raises:
        UserError: there is something else, which only its owner may remove; or it cannot be read.
    """
    root = Path(root)
    try:
        return not _free(root) and _require_same(root, parameters)
    except OSError as error:
        raise UserError(f"{root}: cannot see what lies there: {error.strerror}") from error


def _free(root: Path) -> bool:
    """Whether scenes may be generated in a place: nothing is there, or an empty folder."""
    nearest = next(path for path in (root, *root.absolute().parents) if os.path.lexists(path))
    if not nearest.exists():
        raise UserError(
            f"{root}: {nearest} is a link to nowhere: {os.readlink(nearest)}; no scenes are generated behind it"
        )
    if not nearest.is_dir():
        raise UserError(f"{root}: {nearest} is no folder, so no scenes can be generated there; give another folder")
    return nearest != root or not any(root.iterdir())


def _require_same(root: Path, parameters: SyntheticParameters) -> bool:
    """True, or what is there is something else."""
    if not (root / MARKER).is_file():
        raise UserError(
            f"{root}: holds files that were not generated (it has no {MARKER}), and is left as it is. If they are your "
            f"own data, give data_root={root} (--data_root {root}); to generate scenes, give another folder"
        )
    advice = "give another folder to generate these"
    found, expected = read_json(root / MARKER), parameters.marker()
    # There was one kind until there were two.
    found = {"kind": KINDS[0], **found} if isinstance(found, dict) else {}
    if found != expected:
        changes = [
            f"{key} is {found.get(key)}, wanted {value}" for key, value in expected.items() if found.get(key) != value
        ]
        raise UserError(f"{root}: was generated with other parameters ({'; '.join(changes) or 'more keys'}); {advice}")
    for split in SPLITS:
        count = len(list_samples(root, split))
        if count != expected[split]:
            raise UserError(f"{root / split}: holds {count} samples, expected {expected[split]}; {advice}")
    return True
