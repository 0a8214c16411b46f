"""`fairness_counts.json` and `train_manifest.json`: what was trained, how often, on what, and digests of the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from edgeflownas.artifacts import sha256_file, write_json
from edgeflownas.config import Config
from edgeflownas.data.layouts.layout import SPLITS, further_sets, further_split
from edgeflownas.data.remarks import remarks
from edgeflownas.nas.fair_sampler import fairness_gap
from edgeflownas.nas.search_space import SearchSpace
from edgeflownas.network.stages import INPUT_CHANNELS
from edgeflownas.runs.pool_names import PoolNames
from edgeflownas.runs.recovery import recoveries
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.runs.segments import Segment
from edgeflownas.runs.state import RunState


@dataclass(frozen=True)
class ManifestSettings:
    """What a manifest says of the configuration, besides its hash."""

    seed: Annotated[int, "seed"]
    height: Annotated[int, "network.height"]
    width: Annotated[int, "network.width"]
    search_space: Annotated[str, "network.search_space"]
    init_neurons: Annotated[int, "network.init_neurons"]
    source: Annotated[str, "data.source"]
    lr: Annotated[float, "train.lr"]
    warmup_steps: Annotated[int, "train.warmup_steps"]
    num_epochs: Annotated[int, "train.num_epochs"]
    weight_decay: Annotated[float, "train.weight_decay"]
    grad_clip: Annotated[float, "train.grad_clip"]
    supernet_mode: Annotated[str, "train.supernet_mode"]
    execution: Annotated[str, "train.execution"]
    precision: Annotated[str, "train.precision"]
    batch_size: Annotated[int, "train.batch_size"]


def write_counts(run: RunDirectory, supernet_mode: str, space: SearchSpace, state: RunState) -> None:
    """Write `fairness_counts.json`: how often each option of each block was trained; a skipped cycle trained none."""
    counts = {
        "search_space": space.name,
        "supernet_mode": supernet_mode,
        "cycles": state.global_step - len(state.skipped),
        "cycle_length": space.cycle_length,
        "counts": state.counts,
        "fairness_gap": fairness_gap(state.counts),
    }
    write_json(run.fairness_counts, counts, schema="fairness_counts.schema.json")


def write_manifest(
    run: RunDirectory,
    config: Config,
    names: PoolNames,
    index: Mapping[str, Any],
    steps_per_epoch: int,
    state: RunState,
    optimizer: Mapping[str, Any],
    distribution: Mapping[str, Any],
    device: Mapping[str, Any],
    segments: Sequence[Segment],
    stopped_because: str,
) -> None:
    """Write the manifest of a run that has ended, or was stopped. Paths in it are relative to its folder.

    Its top level describes the last process, its segments all of them.

    Args:
        names: of the eval pool.
        index: of the data that it was trained on.
        optimizer: its name and constants.
        distribution: over how many devices, and whose statistics batch norm took.
        device: what `devices.check_device` found.
        segments: at least one.
        stopped_because: what `Trainer.train` returned.
    """
    settings = config.view(ManifestSettings)
    last = segments[-1]
    manifest = {
        "seed": settings.seed,
        "config_hash": config.hash,
        **({"init_from": _initial_facts(state.initial)} if state.initial else {}),
        "git_commit": last["git_commit"],
        "git_dirty": last["git_dirty"],
        **({"git_unknown": last["git_unknown"]} if "git_unknown" in last else {}),
        "input_shape": [settings.height, settings.width, INPUT_CHANNELS],
        "search_space": settings.search_space,
        "init_neurons": settings.init_neurons,
        "optimizer": dict(optimizer),
        "lr_schedule": {
            "name": "cosine",
            "initial": settings.lr,
            "steps": settings.num_epochs * steps_per_epoch,
            "warmup_steps": settings.warmup_steps,
        },
        "wd": settings.weight_decay,
        "grad_clip": settings.grad_clip,
        "supernet_mode": settings.supernet_mode,
        "execution": settings.execution,
        "precision": settings.precision,
        "distribution": dict(distribution),
        "batch_size": settings.batch_size,
        "steps_per_epoch": steps_per_epoch,
        "num_epochs": settings.num_epochs,
        "epochs_done": state.epochs_done,
        "global_step": state.global_step,
        "skipped_steps": len(state.skipped),
        "recoveries": len(recoveries(run)),
        "stopped_because": stopped_because,
        "best": state.best,
        "device": dict(device),
        "backend": last["backend"],
        "versions": last["versions"],
        "segments": list(segments),
        "data": _data_facts(settings.source, index),
        "files": _file_entries(run, names),
    }
    write_json(run.manifest, manifest, schema="train_manifest.schema.json")


def _initial_facts(initial: Mapping[str, Any]) -> dict[str, Any]:
    """Whose weights a run began with, and how good they were; a run that was stopped at once does not know it."""
    subnets = [{"code": subnet["code"], "epe": subnet["epe"]} for subnet in initial.get("subnets", ())]
    return {
        **{key: initial[key] for key in ("path", "sha256", "config_hash", "epoch", "global_step")},
        "subnets": subnets,
    }


def _data_facts(source: str, index: Mapping[str, Any]) -> dict[str, Any]:
    splits = index["splits"]
    further = {
        name: {"samples": part["count"], "zero_flow_epe": part["zero_flow_epe"], "clipped_share": part["clipped_share"]}
        for name in further_sets(splits)
        for part in (splits[further_split(name)],)
    }
    unknown = {name: split["unknown_share"] for name, split in splits.items() if "unknown_share" in split}
    return {
        "source": source,
        "generated": index["generated"],
        **({"layout": index["layout"]} if "layout" in index else {}),
        "digest": index["digest"],
        "train_samples": splits["train"]["count"],
        "val_samples": splits["val"]["count"],
        "rejected": [
            {"split": name, "name": entry["name"], "reason": entry["reason"]}
            for name, split in splits.items()
            for entry in split["rejected"]
        ],
        "zero_flow_epe": splits["val"]["zero_flow_epe"],
        "clipped_share": {name: splits[name]["clipped_share"] for name in SPLITS},
        **({"further": further} if further else {}),
        **({"unknown_share": unknown} if unknown else {}),
        "remarks": remarks(index),
    }


def _file_entries(run: RunDirectory, names: PoolNames) -> dict[str, dict[str, Any]]:
    """The run's files that are there, each with its digest."""
    files = {
        "checkpoint_best": run.best,
        "checkpoint_last": run.last,
        "history": run.history,
        "pool_results": run.pool_results,
        "flow_samples": run.flow_samples,
        "fairness_counts": run.fairness_counts,
        "eval_pool": run.eval_pool(names),
        "config": run.config,
        "data_index": run.data_index,
        "nonfinite": run.nonfinite,
        "recoveries": run.recoveries,
        **{f"history_{name}": path for name, path in run.further_histories.items()},
    }
    return {name: _file_entry(path, run.path) for name, path in files.items() if path.is_file()}


def _file_entry(path: Path, folder: Path) -> dict[str, Any]:
    return {
        "path": path.relative_to(folder).as_posix(),
        "sha256": sha256_file(path),
        "bytes": path.stat().st_size,
    }
