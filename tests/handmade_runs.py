"""Run directories made by hand, in milliseconds: what training leaves, without training anything."""

import atexit
import csv
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import canonical_json, sha256_file, write_json
from edgeflownas.config import Config, resolve_config
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.eval_pool import pool_report
from edgeflownas.nas.fair_sampler import add_counts, empty_counts, fair_cycle, fairness_gap
from edgeflownas.nas.search_space import SearchSpace, load_search_space
from edgeflownas.network.initial_weights import option_kernels
from edgeflownas.runs.checkpoints import save_checkpoint
from edgeflownas.runs.flow_samples import FlowSamples, save_flow_samples
from edgeflownas.runs.pool_names import PoolNames, mean_epe, pool_names

SPACE = load_search_space()
STEPS_PER_EPOCH = 4
DIGEST = "ab" * 32
OVERRIDES = {
    "data.source": "synthetic",
    "data.root": "unused",
    "network.init_neurons": 2,
    "network.height": 45,
    "network.width": 64,
    "train.num_epochs": 6,
    "train.batch_size": 2,
    "target": "arm_high_end",
}


def make_config(**overrides: Any) -> Config:
    """The configuration of the handmade runs."""
    return resolve_config(None, OVERRIDES | {key.replace("__", "."): value for key, value in overrides.items()})


def make_index(path: Path) -> None:
    """A data index that fits its schema; the files it lists do not exist."""
    sample = {
        "name": "0000001",
        "height": 60,
        "width": 80,
        "zero_flow_epe": 9.0,
        "clipped_pixels": 0,
        "bytes": [1, 1, 1],
        "sha256": [DIGEST] * 3,
        "mtime_ns": [1, 1, 1],
    }
    split = {"count": 1, "zero_flow_epe": 9.0, "clipped_share": 0, "samples": [sample], "rejected": [], "other": []}
    train = split | {"samples": [sample | {"sha256": ["cd" * 32] * 3}]}
    index = {"root": "unused", "digest": DIGEST, "crop": [45, 64], "max_flow": 50.0}
    index |= {"on_bad_sample": "stop", "allow_copies": False, "generated": True, "other": []}
    write_json(path, index | {"splits": {"train": train, "val": split}}, schema="data_index.schema.json")


def make_run(run: Path, epochs: int, config: Config, trace: bool = True) -> None:
    """A run directory as `train_supernet` leaves it after `epochs` epochs of four steps."""
    key = canonical_json([epochs, config.resolved(), trace])
    if key not in _made:
        folder = _folder() / str(len(_made))
        _write_run(folder, epochs, config, trace)
        _made[key] = folder
    shutil.copytree(_made[key], run, dirs_exist_ok=True)


# Every run that was made in this process, by what it was made from; copies of it take a tenth of the time.
_made: dict[str, Path] = {}


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="handmade-runs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _space(config: Config) -> SearchSpace:
    return load_search_space(config["network.search_space"])


@cache
def _pool(space: SearchSpace) -> dict[str, Any]:
    return pool_report(space)


def _write_run(run: Path, epochs: int, config: Config, trace: bool) -> None:
    space = _space(config)
    pool, names = _pool(space), pool_names(space)
    write_json(run / "config.json", {"values": config.values, "origins": config.origins, "hash": config.hash})
    write_json(run / names.file, pool)
    make_index(run / "data_index.json")
    steps = epochs * STEPS_PER_EPOCH
    counts = empty_counts(space)
    lines = []
    for step in range(steps):
        codes = fair_cycle(space, config["seed"], step)
        add_counts(counts, codes, space)
        lines.append(_trace_line(step, [format_code(code) for code in codes]))
    if trace:
        (run / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_json(
        run / "fairness_counts.json",
        {
            "search_space": space.name,
            "supernet_mode": "strict_fairness",
            "cycles": steps,
            "cycle_length": space.cycle_length,
            "counts": counts,
            "fairness_gap": fairness_gap(counts),
        },
        schema="fairness_counts.schema.json",
    )
    rows = [_history_row(epoch, pool["codes"]) for epoch in range(1, epochs + 1)]
    write_history(run, rows)
    make_pool_results(run, rows[-1], space)
    if epochs == config["train.num_epochs"]:
        make_flow_samples(run, rows[-1], config)
    # The second-last epoch is the best one.
    best = min(rows, key=mean_epe)
    for name, row in (("best", best), ("last", rows[-1])):
        save_checkpoint(
            run / "checkpoints" / f"supernet_{name}.ckpt",
            {"epoch": row["epoch"], "global_step": row["global_step"], "config_hash": config.hash},
            {f"weights.{name}": 1.01 * kernel for name, kernel in initial_kernels(config).items()},
        )
    write_manifest(run, config, epochs, {key: best[key] for key in ("epoch", names.mean_epe)})


def initial_kernels(config: Config) -> dict[str, np.ndarray]:
    """What the kernels of all options start from, by name."""
    options = option_kernels(_space(config), config["network.init_neurons"], config["seed"])
    return {name: kernel for _, _, kernels in options for name, kernel in kernels.items()}


def _trace_line(step: int, codes: list[str]) -> dict[str, Any]:
    return {
        "step": step,
        "epoch": step // STEPS_PER_EPOCH + 1,
        "codes": codes,
        "losses": [1.0, 1.5, *[2.0] * (len(codes) - 2)],
        "forward": len(codes),
        "backward": len(codes),
        "optimizer_step": 1,
        "global_grad_norm_before": 7.0,
        "global_grad_norm_after": 5.000001,
        "lr": 1e-4,
    }


def _history_row(epoch: int, codes: list[str]) -> dict[str, Any]:
    names = PoolNames(len(codes))
    # 8.5, 8.0, 7.5, 7.0 and then, at the fifth epoch, 7.25 px.
    mean = 9.0 - 0.5 * epoch if epoch < 5 else 7.25
    epes = {f"epe_{code.replace(',', '')}": mean + 0.25 * (-1) ** i for i, code in enumerate(codes)}
    return {
        "epoch": epoch,
        "global_step": epoch * STEPS_PER_EPOCH,
        **dict(zip(names.columns, (mean, 0.25, 0.125, min(mean, 7.0) if epoch > 4 else mean), strict=True)),
        "zero_flow_epe": 9.0,
        "fairness_gap": 0,
        "lr": 1e-4,
        "train_loss": 1.5,
        "grad_norm_p50": 7.0,
        "grad_norm_p90": 7.0,
        "grad_norm_p99": 7.0,
        "clip_rate": 1.0,
        "skipped_steps": 0,
        "seconds_waiting": 0.125,
        "seconds_training": 1.25,
        "seconds_recalibration": 0.25,
        "seconds_validation": 0.125,
        "seconds_saving": 0.25,
        "seconds": 2.0,
        **epes,
    }


def make_pool_results(run: Path, row: dict[str, Any], space: SearchSpace = SPACE) -> None:
    """`pool_results.json` of the epoch of a history row."""
    codes = _pool(space)["codes"]
    subnets = [_judged(code, row[f"epe_{code.replace(',', '')}"], index) for index, code in enumerate(codes)]
    last = {"epoch": row["epoch"], "global_step": row["global_step"], "samples": 1}
    write_json(run / "pool_results.json", last | {"subnets": subnets}, schema="pool_results.schema.json")


def _judged(code: str, epe: float, index: int) -> dict[str, Any]:
    shares = {"outliers_1px": 0.5 + index / 100, "outliers_3px": 0.25, "outliers_5px": 0.125, "fl_all": 0.25}
    return {"code": code, "epe": epe, "epe_error": 0.125, **shares, "bn_recal_batches": 8, "bn_shift": 0.01}


def make_flow_samples(run: Path, row: dict[str, Any], config: Config) -> None:
    """`flow_samples.npz` of two samples that turn round their centre; subnet k is off by k + 1 px to the right."""
    height, width = config["network.height"], config["network.width"]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    turning = np.stack([y - height / 2, width / 2 - x], axis=-1) / 4
    flow = np.stack([turning, 2 * turning])
    codes = tuple(_pool(_space(config))["codes"][:3])
    predicted = np.stack([flow + np.float32([1 + index, 0]) for index in range(len(codes))])
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 6), np.uint8)
    origin = {"checkpoint": "supernet_last.ckpt", "epoch": row["epoch"], "global_step": row["global_step"]}
    origin |= {"config_hash": config.hash, "bn_recal_batches": 8}
    samples = FlowSamples(origin, ("0000001", "0000002"), codes, frames, flow, predicted, predicted[..., 0] * 0 + 2)
    save_flow_samples(run / "flow_samples.npz", samples)


def write_history(run: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as `eval_epe_history.csv`."""
    with open(run / "eval_epe_history.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_manifest(run: Path, config: Config, epochs: int, best: dict[str, Any]) -> None:
    """Write `train_manifest.json` with the digests of the files that are there."""
    names = {
        "checkpoint_best": "checkpoints/supernet_best.ckpt",
        "checkpoint_last": "checkpoints/supernet_last.ckpt",
        "history": "eval_epe_history.csv",
        "pool_results": "pool_results.json",
        "flow_samples": "flow_samples.npz",
        "fairness_counts": "fairness_counts.json",
        "eval_pool": pool_names(_space(config)).file,
        "config": "config.json",
        "data_index": "data_index.json",
    }
    segment = {
        "from_step": 0,
        "git_commit": "0" * 40,
        "git_dirty": False,
        "source": DIGEST,
        "changed_files": [],
        "backend": "tensorflow",
        "versions": {"keras": "3", "numpy": "2", "python": "3"},
        "precision": config["train.precision"],
        "device": {"kind": "cpu", "name": "a processor"},
    }
    manifest = {
        "seed": config["seed"],
        "config_hash": config.hash,
        "git_commit": segment["git_commit"],
        "git_dirty": segment["git_dirty"],
        "input_shape": [config["network.height"], config["network.width"], 6],
        "optimizer": {"name": "Adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "smallest_rate": 9 / 49},
        "lr_schedule": {
            "name": "cosine",
            "initial": config["train.lr"],
            "steps": config["train.num_epochs"] * STEPS_PER_EPOCH,
            "warmup_steps": config["train.warmup_steps"],
        },
        "wd": config["train.weight_decay"],
        "grad_clip": config["train.grad_clip"],
        "search_space": config["network.search_space"],
        "init_neurons": config["network.init_neurons"],
        "supernet_mode": config["train.supernet_mode"],
        "execution": config["train.execution"],
        "precision": config["train.precision"],
        "distribution": {"kind": config["train.distribution"], "devices": 1, "batch_norm": "whole batch"},
        "batch_size": config["train.batch_size"],
        "steps_per_epoch": STEPS_PER_EPOCH,
        "num_epochs": config["train.num_epochs"],
        "epochs_done": epochs,
        "global_step": epochs * STEPS_PER_EPOCH,
        "skipped_steps": 0,
        "recoveries": 0,
        "stopped_because": "num_epochs" if epochs == config["train.num_epochs"] else "max_epochs",
        "best": best,
        "device": {"kind": "cpu", "name": "a processor", "requested": None},
        "backend": segment["backend"],
        "versions": segment["versions"],
        "segments": [segment],
        "data": {
            "source": "synthetic",
            "generated": True,
            "digest": DIGEST,
            "train_samples": 1,
            "val_samples": 1,
            "rejected": [],
            "zero_flow_epe": 9.0,
            "clipped_share": {"train": 0.0229, "val": 0.0031},
            "remarks": [],
        },
        "files": {
            name: {"path": path, "sha256": sha256_file(run / path), "bytes": (run / path).stat().st_size}
            for name, path in names.items()
            if (run / path).is_file()
        },
    }
    write_json(run / "train_manifest.json", manifest, schema="train_manifest.schema.json")


def make_evaluation(run: Path, config: Config) -> None:
    """`supernet_eval.json` of the last checkpoint after five epochs."""
    subnets = [_judged(code, 7.25 + 0.25 * (-1) ** i, i) for i, code in enumerate(_pool(_space(config))["codes"])]
    report = {
        "checkpoint": {
            "path": "last",
            "sha256": DIGEST,
            "epoch": 5,
            "global_step": 20,
            "config_hash": config.hash,
        },
        "config_hash": config.hash,
        "bn_recal_batches": 8,
        "samples": 1,
        "zero_flow_epe": 9.0,
        "mean_epe": 7.25,
        "std_epe": 0.25,
        "noise_epe": 0.125,
        "subnets": subnets,
    }
    write_json(run / "supernet_eval.json", report, schema="supernet_eval.schema.json")


def edit_json(path: Path, **changes: Any) -> None:
    """Replace top-level keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_trace(path: Path, at: int, /, **changes: Any) -> None:
    """Replace keys of one step of a trace."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[at] |= changes
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def edit_history(run: Path, at: int, /, **changes: Any) -> None:
    """Replace cells of one epoch of a history."""
    with open(run / "eval_epe_history.csv", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    rows[at - 1] |= changes
    write_history(run, rows)
