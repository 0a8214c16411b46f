"""The checkpoint from whose weights a run begins (`train.init_from`), fitted to the network of the run. No Keras here.

A network takes the weights of another one, of the same width, whose search space has all of its options: a subnet those
that it has in the supernet, at any input size.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from edgeflownas.config import Config, differences
from edgeflownas.errors import UserError
from edgeflownas.nas.search_space import INIT_FROM, ChoiceBlock, SearchSpace, initial_weights_facts
from edgeflownas.network.kinds import KINDS
from edgeflownas.network.stages import Stage, network_stages
from edgeflownas.runs.checkpoints import READ_ERRORS, Checkpoint, load_checkpoint, read_header
from edgeflownas.runs.run_directory import RunDirectory

WEIGHTS = "weights."
# What two networks must share besides the options of their blocks; with another scale the same weights predict another
# flow.
SHARED_KEYS = ("network.init_neurons", "data.flow_scale")
_BLOCK = "search_space.block."


@dataclass(frozen=True)
class InitialSettings:
    """Which checkpoint a run begins from, and what it must share with it."""

    init_from: Annotated[str | None, INIT_FROM]
    init_neurons: Annotated[int, "network.init_neurons"]


@dataclass(frozen=True)
class InitialWeights:
    """Weights to begin with: `arrays` as a checkpoint of the run's own network has them, and `facts` that say whose.

    facts: `path`, `sha256` (of the file), `config_hash`, `epoch` and `global_step` of the checkpoint.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


def recorded_initial_weights(config: Config, run: RunDirectory) -> dict[str, Any]:
    """`initial_weights_facts` for a run that is resumed, which does not load them again: the file may be gone by now.

    Raises:
        UserError: it is gone, and no checkpoint of the run says which it was.
    """
    path = config.view(InitialSettings).init_from
    if path is not None and not Path(path).is_file():
        for checkpoint in run.checkpoints:
            try:
                recorded = read_header(checkpoint)["identity"].get(INIT_FROM)
            except (UserError, KeyError, AttributeError):
                continue
            if recorded is not None:
                return {INIT_FROM: recorded}
    return initial_weights_facts(config)


def read_initial_weights(config: Config, space: SearchSpace) -> InitialWeights | None:
    """The weights that `train.init_from` names, for a network of this space; None where it names none.

    Raises:
        UserError: no such file, a damaged one, or one of a network that differs; with the differences.
    """
    settings = config.view(InitialSettings)
    if settings.init_from is None:
        return None
    path = Path(settings.init_from)
    facts = initial_weights_facts(config)
    checkpoint = load_checkpoint(path)
    header = checkpoint.header
    identity = header.get("identity")
    if not isinstance(identity, dict):
        raise UserError(f"{INIT_FROM} {path}: is no checkpoint of a training run")
    other = _space_of(identity, path)
    faults = differences(*({key: values.get(key) for key in SHARED_KEYS} for values in (identity, config.values)))
    faults += _options_missing(other, space, settings.init_neurons)
    if faults:
        raise UserError(f"{INIT_FROM} {path}: is of another network than the config describes: {'; '.join(faults)}")
    arrays = {}
    for own, theirs in _names(other, space, settings.init_neurons, checkpoint):
        arrays[own] = checkpoint.arrays[theirs]
    return InitialWeights(
        arrays,
        {
            "path": str(path),
            "sha256": facts[INIT_FROM],
            **{key: header[key] for key in ("config_hash", "epoch", "global_step")},
        },
    )


def _space_of(identity: Mapping[str, Any], path: Path) -> SearchSpace:
    """The search space that a checkpoint's network is of."""
    try:
        blocks = [(name, *identity[f"{_BLOCK}{name}"]) for name in identity["search_space.order"]]
        choices = tuple(ChoiceBlock(name, kind, tuple(options)) for name, kind, *options in blocks)
        return SearchSpace("the checkpoint's", choices, tuple(identity["search_space.reference"]))
    except READ_ERRORS as error:
        raise UserError(f"{INIT_FROM} {path}: does not say of which search space it is: {error!r}") from error


def _options_missing(other: SearchSpace, space: SearchSpace, init_neurons: int) -> list[str]:
    faults = []
    for own, theirs in _stages(other, space, init_neurons):
        missing = [value for value in own.options if value not in theirs.options]
        if own.kind != theirs.kind:
            faults.append(f"{own.name}: {theirs.kind} -> {own.kind}")
        elif missing:
            label = KINDS[own.kind].label
            there = ", ".join(map(label, theirs.options))
            faults.append(f"{own.name}: has {there}, not {', '.join(map(label, missing))}")
    return faults


def _stages(other: SearchSpace, space: SearchSpace, init_neurons: int) -> Iterator[tuple[Stage, Stage]]:
    return zip(network_stages(space, init_neurons), network_stages(other, init_neurons), strict=True)


def _names(
    other: SearchSpace, space: SearchSpace, init_neurons: int, checkpoint: Checkpoint
) -> Iterator[tuple[str, str]]:
    """The weights of a network of `space` by their names, each with the name that it has in the checkpoint."""
    for own, theirs in _stages(other, space, init_neurons):
        # What all options of a stage share: its batch norm.
        prefixes = {f"{WEIGHTS}{own.name}.norm.": f"{WEIGHTS}{theirs.name}.norm."}
        for option, value in enumerate(own.options):
            place = theirs.options.index(value)
            prefixes[f"{WEIGHTS}{own.option_name(option)}."] = f"{WEIGHTS}{theirs.option_name(place)}."
        for mine, from_ in prefixes.items():
            for name in checkpoint.arrays:
                if name.startswith(from_):
                    yield mine + name.removeprefix(from_), name
