"""Whether two runs left the same bits, and whether a killed one left nothing broken."""

import json
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json
from edgeflownas.errors import UserError
from edgeflownas.runs.checkpoints import load_checkpoint
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.runs.records import read_history
from edgeflownas.runs.run_directory import RunDirectory


def broken_files(run: RunDirectory) -> list[str]:
    """What a killed run must never leave: under its own name, a file that is not whole."""
    faults = []
    for checkpoint in run.checkpoints:
        try:
            load_checkpoint(checkpoint)
        except UserError as error:
            faults.append(str(error))
    for file in run.path.glob("*.json"):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            faults.append(f"{file}: {error}")
    if run.history.is_file():
        try:
            read_history(run.history)
        except UserError as error:
            faults.append(str(error))
    return faults


def differences_between(mine: Path, reference: Path) -> list[str]:
    """What differs between two finished runs; clocks may."""
    faults = manifest_faults(mine / "train_manifest.json")
    for name in ("supernet_last.ckpt", "supernet_best.ckpt"):
        ours, theirs = (_checkpoint(run / "checkpoints" / name) for run in (mine, reference))
        faults += [f"{name}: {part} differs" for part in theirs if ours[part] != theirs[part]]
    if (mine / "trace.jsonl").read_bytes() != (reference / "trace.jsonl").read_bytes():
        faults.append("trace.jsonl differs")
    for name, read in (("eval_epe_history.csv", _history), ("fairness_counts.json", read_json)):
        if read(mine / name) != read(reference / name):
            faults.append(f"{name} differs")
    for name in ("pool_results.json", "flow_samples.npz"):
        if (reference / name).is_file() and (mine / name).read_bytes() != (reference / name).read_bytes():
            faults.append(f"{name} differs")
    names, expected = ({path.relative_to(run) for path in run.rglob("*")} for run in (mine, reference))
    return faults + [f"{name} is only in one of them" for name in sorted(names ^ expected)]


def _checkpoint(path: Path) -> dict[str, Any]:
    header = load_checkpoint(path).header
    progress = {key: value for key, value in header["progress"].items() if key not in ("history", "epoch_seconds")}
    history = [_without_seconds(row) for row in header["progress"]["history"]]
    return {"weights and optimizer": header["sha256"], "progress": progress, "history": history}


def _history(path: Path) -> list[dict[str, float]]:
    return [_without_seconds(row) for row in read_history(path)]


def _without_seconds(row: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in row.items() if not key.startswith("seconds")}
