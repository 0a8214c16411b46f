"""A subnet alone, as a search space that leaves nothing to choose: the trainer then trains it as it trains a supernet.

Its fair cycle is one path.
"""

from pathlib import Path
from typing import Any

import yaml

from edgeflownas.artifacts import validate, write_text
from edgeflownas.nas.search_space import ArchCode, SearchSpace


def space_of_one(space: SearchSpace, code: ArchCode) -> dict[str, Any]:
    """The subnet as a search space with one option per block: the content of a file in `config/search_spaces/`."""
    blocks = [
        {"name": block.name, "kind": block.kind, "options": [block.options[digit]]}
        for block, digit in zip(space.blocks, code, strict=True)
    ]
    return {"name": f"{space.name}_{''.join(map(str, code))}", "blocks": blocks, "reference": [0] * len(blocks)}


def write_space_of_one(path: Path, space: SearchSpace, code: ArchCode) -> None:
    """Write such a space to a file, for `network.search_space` to name."""
    content = space_of_one(space, code)
    validate(content, "search_space.schema.json", where=str(path))
    write_text(path, yaml.safe_dump(content, sort_keys=False))
