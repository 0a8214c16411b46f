"""The search space as data: a named list of choice blocks, read from `config/search_spaces/`."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import PROJECT_ROOT, sha256_file, validate
from edgeflownas.config import Config
from edgeflownas.errors import UserError
from edgeflownas.yaml_files import read_yaml, yaml_path

SEARCH_SPACE_FOLDER = PROJECT_ROOT / "config" / "search_spaces"
DEFAULT_SEARCH_SPACE = "edgeflow_9x3"
INIT_FROM = "train.init_from"

ArchCode = tuple[int, ...]


@dataclass(frozen=True)
class ChoiceBlock:
    """A place in the network with several options, of which a subnet has exactly one.

    `options` are what the kind (`network.kinds`) makes of them, depths or kernel sizes, lightest first.
    """

    name: str
    kind: str
    options: tuple[int, ...]


@dataclass(frozen=True)
class SearchSpace:
    """Choice blocks in the order of an arch code's digits, and one reference subnet."""

    name: str
    blocks: tuple[ChoiceBlock, ...]
    reference: ArchCode

    @property
    def cycle_length(self) -> int:
        """Paths in a fair cycle: the least common multiple of the option counts."""
        return math.lcm(*(len(block.options) for block in self.blocks))

    @property
    def size(self) -> int:
        """Number of subnets."""
        return math.prod(len(block.options) for block in self.blocks)

    def facts(self) -> dict[str, Any]:
        """Everything that defines the space, as JSON values by dotted key; not its name, whose file may change."""
        return {
            "search_space.order": [block.name for block in self.blocks],
            "search_space.reference": list(self.reference),
            **{f"search_space.block.{block.name}": [block.kind, *block.options] for block in self.blocks},
        }


def result_values(config: Config) -> dict[str, Any]:
    """The values that change what a run computes, with the current content of the files that they name: its search
    space, and the checkpoint that it begins from, if it does.

    Raises:
        UserError: one of them cannot be read.
    """
    return {
        **config.result_values(),
        **load_search_space(config["network.search_space"]).facts(),
        **initial_weights_facts(config),
    }


def initial_weights_facts(config: Config) -> dict[str, Any]:
    """The digest of the checkpoint from whose weights a run begins, as JSON values by dotted key; empty without one.

    Raises:
        UserError: there is no such file.
    """
    path = config[INIT_FROM]
    if path is None:
        return {}
    if not Path(path).is_file():
        raise UserError(f"{INIT_FROM} {path}: no such checkpoint; name one of another run, or leave it out")
    return {INIT_FROM: sha256_file(path)}


def load_search_space(name_or_path: str = DEFAULT_SEARCH_SPACE) -> SearchSpace:
    """Read a search space by name (a file in `config/search_spaces/`) or by path (ending in .yaml).

    Raises:
        UserError: no such space, or its file does not fit `schemas/search_space.schema.json`.
    """
    path = yaml_path(name_or_path, SEARCH_SPACE_FOLDER, "search space")
    values = read_yaml(path)
    validate(values, "search_space.schema.json", where=str(path))
    blocks = tuple(
        ChoiceBlock(block["name"], block["kind"], tuple(map(int, block["options"]))) for block in values["blocks"]
    )
    names = [block.name for block in blocks]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: choice block {name} is listed {names.count(name)} times")
    space = SearchSpace(values["name"], blocks, tuple(map(int, values["reference"])))
    fits = len(space.reference) == len(blocks) and all(
        digit < len(block.options) for digit, block in zip(space.reference, blocks, strict=True)
    )
    if not fits:
        raise UserError(f"{path}: reference {list(space.reference)} is not an arch code of this space")
    return space
