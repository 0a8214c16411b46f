"""A trained network from a checkpoint, ready to recalibrate and evaluate subnets on the data of its run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from edgeflownas.config import Config, differences
from edgeflownas.errors import UserError
from edgeflownas.nas.search_space import SearchSpace, load_search_space

if TYPE_CHECKING:
    from edgeflownas.network.flow_network import FlowNetwork
    from edgeflownas.runs.checkpoints import Checkpoint
    from edgeflownas.training.evaluation import Evaluator
    from edgeflownas.training.run_data import RunData

# What identifies a network: keys of a checkpoint's identity, and prefixes of keys.
NETWORK_KEYS = (
    "network.init_neurons",
    "train.precision",
    "data.flow_scale",
    "search_space.order",
    "search_space.block.",
)


@dataclass(frozen=True)
class RestoreSettings:
    """Which run's network is restored, and how wide it is."""

    output_dir: Annotated[str, "train.output_dir"]
    search_space: Annotated[str, "network.search_space"]
    init_neurons: Annotated[int, "network.init_neurons"]
    flow_scale: Annotated[float, "data.flow_scale"]


@dataclass(frozen=True)
class Restorable:
    """A checkpoint, its search space and the index of its run's data: all that is known without the backend."""

    path: Path
    checkpoint: "Checkpoint"
    space: SearchSpace
    index: dict[str, Any]


def find_restorable(config: Config, checkpoint_name: str) -> Restorable:
    """A checkpoint whose network can be restored, and evaluated on the run's data. Imports no backend.

    Args:
        config: `train.output_dir` is the run directory.
        checkpoint_name: `best`, `last` or a file.

    Raises:
        UserError: no such checkpoint, a damaged one, one of another network, or no data.
    """
    from edgeflownas.devices import check_backend
    from edgeflownas.runs.checkpoints import load_checkpoint
    from edgeflownas.runs.data_index import find_index
    from edgeflownas.runs.run_directory import RunDirectory

    check_backend(config)
    settings = config.view(RestoreSettings)
    run = RunDirectory(settings.output_dir)
    path = {"best": run.best, "last": run.last}.get(checkpoint_name, Path(checkpoint_name))
    checkpoint = load_checkpoint(path)
    space = load_search_space(settings.search_space)
    _check_network(path, checkpoint.header["identity"], {**config.values, **space.facts()})
    index = find_index(config, run.data_index if run.data_index.is_file() else None)
    return Restorable(path, checkpoint, space, index)


def restored_network(config: Config, found: Restorable) -> tuple["FlowNetwork", "RunData", dict[str, Any]]:
    """The network with the checkpoint's weights, the run's data, and the device in use (`devices.check_device`).

    This imports the backend, which takes ten seconds and more.

    Raises:
        UserError: the backend does not start, or weights are missing or left over.
    """
    from edgeflownas.devices import check_device, prepare_backend

    prepare_backend(config)

    from edgeflownas.network.flow_network import network_of
    from edgeflownas.training.run_data import RunData
    from edgeflownas.training.weights import restore_weights

    data = RunData(config, found.index)
    device = check_device(config)
    network = network_of(config, found.space)
    restore_weights(network, found.checkpoint.arrays, str(found.path))
    return network, data, device


def load_evaluator(config: Config, checkpoint_name: str) -> tuple[Path, "Checkpoint", "Evaluator", "RunData"]:
    """A checkpoint's path and content, and its network, ready to recalibrate and evaluate on the run's data.

    Args and errors as `find_restorable`.
    """
    found = find_restorable(config, checkpoint_name)
    network, data, _ = restored_network(config, found)

    from edgeflownas.training.evaluation import Evaluator

    settings = config.view(RestoreSettings)
    evaluator = Evaluator(network, settings.init_neurons, settings.flow_scale)
    return found.path, found.checkpoint, evaluator, data


def _check_network(path: Path, identity: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    before, now = (
        {key: value for key, value in found.items() if key.startswith(NETWORK_KEYS)} for found in (identity, values)
    )
    changes = differences(before, now)
    if changes:
        raise UserError(f"{path}: was trained with another network than the config describes: {'; '.join(changes)}")
