"""How picks are retrained: the configuration of a pick's own run, from that of its supernet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from edgeflownas.config import VARIANT, Config, changed_config
from edgeflownas.retraining.picks import Taken

# The gate's folder below `<output_dir>/runs/`, and the file that it leaves there.
RUN, RETRAINED, RETRAINED_SCHEMA = "gate6", "retrained.json", "retrained.schema.json"
# Where another value means other samples, or samples cut otherwise, than the index of the supernet's data lists.
_INDEXED = ("data.", "network.height", "network.width")
_NOT_INDEXED = ("data.augment.", "data.workers", "data.cache_mb", "data.flow_scale")


@dataclass(frozen=True)
class RetrainSettings:
    """How picks are retrained; `changes` are the keys that a pick's run has otherwise than the supernet's."""

    subnets: Annotated[int, "retrain.subnets"]
    init: Annotated[str, "retrain.init"]
    must_improve: Annotated[bool, "retrain.must_improve"]
    changes: Annotated[dict[str, Any], VARIANT]
    samples: Annotated[int | None, "selection.samples"]


def space_file(runs: Path, pick: Taken) -> Path:
    """The file of the search space that holds the pick alone."""
    return runs / f"{pick.digits}.yaml"


def run_directory(runs: Path, pick: Taken) -> Path:
    """Where the pick is trained. It is named after the code: a pick keeps its training when the order changes."""
    return runs / pick.digits


def own_config(config: Config, pick: Taken, runs: Path, supernet: Path) -> Config:
    """The configuration by which a pick is trained alone: the supernet's, with what `retrain.set` has otherwise.

    It is evaluated on the samples of the selection, and trained to the end of its schedule, whatever ends the
    supernet's run.

    Args:
        config: the supernet's, with the `retrain` section.
        pick: which subnet.
        runs: the folder of the picks' runs.
        supernet: the checkpoint to begin with, where `retrain.init` says so.

    Raises:
        UserError: `retrain.set` does not fit.
    """
    settings = config.view(RetrainSettings)
    changes: dict[str, Any] = {"train.max_epochs": None, "train.max_steps": None}
    if settings.samples is not None:
        changes |= {"eval.max_samples": settings.samples, "fast_mode.max_samples": settings.samples}
    if any(key.startswith(_INDEXED) and not key.startswith(_NOT_INDEXED) for key in settings.changes):
        changes["data.index"] = None
    varied = changed_config(changed_config(config, changes, "retraining"), settings.changes, VARIANT)
    own = {
        "network.search_space": str(space_file(runs, pick)),
        "train.output_dir": str(run_directory(runs, pick)),
        "train.init_from": str(supernet) if settings.init == "supernet" else None,
    }
    return changed_config(varied, own, "retraining")
