"""Rules between several keys of the configuration, which a JSON Schema of single keys cannot express."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflownas.config_schema import shown


@dataclass(frozen=True)
class Rule:
    """`contradiction` takes the values of `keys` and returns what is wrong and what to do, or None."""

    keys: tuple[str, ...]
    contradiction: Callable[..., str | None]


def _scene_holds_crop(axis: str) -> Rule:
    def contradiction(source: str, scene: int, crop: int) -> str | None:
        if source != "synthetic" or scene >= crop:
            return None
        return f"data.synthetic.{axis} {scene} is smaller than network.{axis} {crop}; expected at least as much"

    return Rule(("data.source", f"data.synthetic.{axis}", f"network.{axis}"), contradiction)


def _scenes_have_one_layout(source: str, layout: str) -> str | None:
    if source != "synthetic" or layout in ("auto", "flying_chairs2"):
        return None
    return f"data.layout {layout}: generated scenes (data.source synthetic) are in flying_chairs2; set it to auto"


def unclear_root(of_file: Mapping[str, Any], values: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """Scenes are generated only where the file, or the command line, names both the source and the root."""
    source, root = values["data.source"], values["data.root"]
    changed = [key for key in ("data.source", "data.root") if values[key] != of_file[key]]
    both_given = given.keys() >= {"data.source", "data.root"}
    if source != "synthetic" or root is None or not changed or both_given:
        return None
    return (
        f"{changed[0]} is given alone: does {shown(root)} hold your own data, or should scenes be generated there? "
        "Give data_root=FOLDER (--data_root FOLDER), or both data.source synthetic and data.root"
    )


def _fusing_needs_cycles(mode: str, execution: str) -> str | None:
    if mode == "strict_fairness" or execution != "fused":
        return None
    return (
        f"train.supernet_mode {mode} draws paths that form no fair cycle and cannot be fused: set train.execution to "
        "sequential"
    )


def _sharing_needs_fusing(distribution: str, execution: str) -> str | None:
    if distribution == "none" or execution == "fused":
        return None
    return f"train.distribution {distribution} splits whole fair cycles: set train.execution to fused"


def _run_apart_from_data(root: str | None, output: str) -> str | None:
    if root is None or not (_within(root, output) or _within(output, root)):
        return None
    return (
        f"data.root {root} and train.output_dir {output} lie in one another; expected them apart, because an earlier "
        "run in the run directory is moved aside whole"
    )


def _gates_apart_from_data(root: str | None, output: str) -> str | None:
    ours = [os.path.join(output, folder) for folder in ("gates", "runs")]
    if root is None or not (_within(output, root) or any(_within(root, folder) for folder in ours)):
        return None
    return f"data.root {root} and workflow.output_dir {output}: expected neither to lie where the other is written"


def _begins_outside_its_folder(init_from: str | None, output: str) -> str | None:
    if init_from is None or not _within(init_from, output):
        return None
    return (
        f"train.init_from {init_from} lies in train.output_dir {output}; expected another folder, because an earlier "
        "run in the run directory is moved aside whole"
    )


# What a retraining may have otherwise than the supernet, and what of that is not its own to say.
RETRAINABLE = ("seed", "network.height", "network.width", "data.", "train.", "eval.", "fast_mode.")
NOT_RETRAINABLE = {
    "data.index": "the index is built of data.root",
    "train.output_dir": "it follows from workflow.output_dir",
    "train.init_from": "retrain.init decides from which weights a pick is trained",
    "train.max_epochs": "a retraining is as long as its train.num_epochs",
    "train.max_steps": "a retraining is as long as its train.num_epochs",
}


def _retraining_is_of_training(changes: Mapping[str, Any]) -> str | None:
    for key in changes:
        if key in NOT_RETRAINABLE:
            return f"retrain.set has {key}: {NOT_RETRAINABLE[key]}; leave it out"
        if not key.startswith(RETRAINABLE):
            allowed = ", ".join(f"{name}*" if name.endswith(".") else name for name in RETRAINABLE)
            return f"retrain.set has {key}, which a pick shares with its supernet; expected keys of {allowed}"
    return None


def _inherited_flow_has_its_scale(init: str, changes: Mapping[str, Any], flow_scale: float) -> str | None:
    if init != "supernet" or changes.get("data.flow_scale", flow_scale) == flow_scale:
        return None
    return (
        f"retrain.set has data.flow_scale {changes['data.flow_scale']}, but the supernet's weights, from which a pick "
        f"is trained, predict flow divided by {flow_scale:g}: leave it out, or set retrain.init to scratch"
    )


def _within(path: str, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


RULES = (
    _scene_holds_crop("height"),
    _scene_holds_crop("width"),
    Rule(("data.source", "data.layout"), _scenes_have_one_layout),
    Rule(("train.supernet_mode", "train.execution"), _fusing_needs_cycles),
    Rule(("train.distribution", "train.execution"), _sharing_needs_fusing),
    Rule(("data.root", "train.output_dir"), _run_apart_from_data),
    Rule(("data.root", "workflow.output_dir"), _gates_apart_from_data),
    Rule(("train.init_from", "train.output_dir"), _begins_outside_its_folder),
    Rule(("retrain.set",), _retraining_is_of_training),
    Rule(("retrain.init", "retrain.set", "data.flow_scale"), _inherited_flow_has_its_scale),
)
