"""Whether a training manifest, and all that it names, is correct. The command is `edgeflownas.nas.check_manifest`.

Checked: the manifest's schema, the digest and size of each file it names, the fairness counts (equal over complete
cycles), the history (finite, one row per epoch), the eval pool, the config hash, the segments and the headers of the
checkpoints.
`strict` requires more than a valid run: a commit to check out again, the same source from the first step to the last,
no sample left out, no step without an update, and a run that came to its own end.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json, sha256_file
from edgeflownas.errors import UserError
from edgeflownas.runs.checkpoints import read_header
from edgeflownas.runs.pool_names import mean_epe, names_in
from edgeflownas.runs.records import COMPLETED, read_further_history, read_history, subnet_epes


def manifest_faults(path: Path, strict: bool = False) -> list[str]:
    """Everything that is wrong with a manifest and the files it names, one line each; empty if nothing is.

    Raises:
        UserError: there is no manifest at `path`.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such manifest")
    try:
        manifest = read_json(path, schema="train_manifest.schema.json")
    except UserError as error:
        return [str(error)]
    faults = _file_faults(manifest, path.parent)
    present = {name for name, file in manifest["files"].items() if (path.parent / file["path"]).is_file()}
    checks: dict[str, Callable[[dict[str, Any], Path], list[str]]] = {
        "fairness_counts": _fairness_faults,
        "history": _history_faults,
        "eval_pool": lambda manifest, file: _pool_faults(manifest, file, path.parent),
        "config": _config_faults,
        "checkpoint_last": _last_faults,
        "checkpoint_best": _best_faults,
    }
    for name, check in checks.items():
        if name not in present:
            continue
        file = path.parent / manifest["files"][name]["path"]
        try:
            faults += [f"{file}: {fault}" for fault in check(manifest, file)]
        except UserError as error:
            faults.append(str(error))
    for name in manifest["data"].get("further", {}) if manifest["epochs_done"] else ():
        faults += _further_faults(manifest, name, path.parent)
    faults += [f"{path}: {fault}" for fault in _segment_faults(manifest)]
    return faults + (_strict_faults(manifest, path) if strict else [])


def _file_faults(manifest: dict[str, Any], folder: Path) -> list[str]:
    faults = []
    for name, file in manifest["files"].items():
        path = folder / file["path"]
        if not path.is_file():
            faults.append(f"{path}: {name} is missing")
        elif path.stat().st_size != file["bytes"]:
            faults.append(f"{path}: {path.stat().st_size} bytes, the manifest says {file['bytes']}")
        elif (digest := sha256_file(path)) != file["sha256"]:
            faults.append(f"{path}: sha256 {digest}, the manifest says {file['sha256']}")
    return faults


def _segment_faults(manifest: dict[str, Any]) -> list[str]:
    steps = [segment["from_step"] for segment in manifest["segments"]]
    faults = []
    if steps[0] != 0 or steps != sorted(steps) or steps[-1] > manifest["global_step"]:
        faults.append(f"its segments begin with steps {steps}, expected 0 to {manifest['global_step']} in order")
    for key in ("git_commit", "git_dirty", "backend", "versions"):
        if manifest["segments"][-1][key] != manifest[key]:
            faults.append(f"{key} {manifest[key]!r} is not that of its last segment")
    return faults


def _fairness_faults(manifest: dict[str, Any], path: Path) -> list[str]:
    report = read_json(path, schema="fairness_counts.schema.json")
    faults = []
    if report["supernet_mode"] != manifest["supernet_mode"]:
        faults.append(f"supernet_mode {report['supernet_mode']}, the manifest says {manifest['supernet_mode']}")
    if report["cycles"] + manifest["skipped_steps"] != manifest["global_step"]:
        faults.append(
            f"{report['cycles']} cycles, the manifest's global_step is {manifest['global_step']} "
            f"with {manifest['skipped_steps']} skipped_steps"
        )
    paths = report["cycles"] * report["cycle_length"]
    gap = max(max(counts) - min(counts) for counts in report["counts"].values())
    if report["fairness_gap"] != gap:
        faults.append(f"fairness_gap {report['fairness_gap']}, the counts say {gap}")
    for block, counts in report["counts"].items():
        if sum(counts) != paths:
            faults.append(f"{block}: {sum(counts)} paths counted, {paths} trained")
        elif report["supernet_mode"] == "strict_fairness" and set(counts) != {paths // len(counts)}:
            faults.append(f"{block}: counts {counts}, expected {paths // len(counts)} each")
    return faults


def _history_faults(manifest: dict[str, Any], path: Path) -> list[str]:
    rows = read_history(path)
    faults = []
    if len(rows) != manifest["epochs_done"]:
        faults.append(f"{len(rows)} rows, the manifest says epochs_done {manifest['epochs_done']}")
    for number, row in enumerate(rows, start=1):
        if row["epoch"] != number:
            faults.append(f"row {number} is of epoch {row['epoch']}")
        if row["global_step"] != number * manifest["steps_per_epoch"]:
            faults.append(
                f"epoch {number} ends at step {row['global_step']}, not {number * manifest['steps_per_epoch']}"
            )
        if manifest["supernet_mode"] == "strict_fairness" and row["fairness_gap"] != 0:
            faults.append(f"epoch {number} has fairness_gap {row['fairness_gap']}")
    if rows and manifest["best"]:
        best = min(rows, key=mean_epe)
        if {key: best[key] for key in ("epoch", names_in(best).mean_epe)} != manifest["best"]:
            faults.append(f"best is epoch {best['epoch']}, the manifest says {manifest['best']}")
    return faults


def _further_faults(manifest: dict[str, Any], name: str, folder: Path) -> list[str]:
    """What is wrong with the history of a further validation set."""
    entry = manifest["files"].get(f"history_{name}")
    if entry is None:
        return [f"history_{name} is not among the manifest's files"]
    path = folder / entry["path"]
    if not path.is_file():
        return []  # said already
    try:
        rows = read_further_history(path)
    except UserError as error:
        return [str(error)]
    found, steps = [(row["epoch"], row["global_step"]) for row in rows], manifest["steps_per_epoch"]
    expected = [(epoch, epoch * steps) for epoch in range(1, manifest["epochs_done"] + 1)]
    return [] if found == expected else [f"{path}: its rows are not one for each of {len(expected)} epochs, in order"]


def _pool_faults(manifest: dict[str, Any], path: Path, folder: Path) -> list[str]:
    pool = read_json(path, schema="eval_pool.schema.json")
    # A run that finished no epoch has none.
    entry = manifest["files"].get("history")
    history = folder / entry["path"] if entry else None
    rows = read_history(history) if history and history.is_file() else []
    codes = {code.replace(",", "") for code in pool["codes"]}
    return [f"epoch {row['epoch']} of the history has other subnets" for row in rows if set(subnet_epes(row)) != codes]


def _config_faults(manifest: dict[str, Any], path: Path) -> list[str]:
    config = read_json(path, schema="resolved_config.schema.json")
    if config["hash"] != manifest["config_hash"]:
        return [f"hash {config['hash']}, the manifest says {manifest['config_hash']}"]
    return []


def _last_faults(manifest: dict[str, Any], path: Path) -> list[str]:
    header = read_header(path)
    expected = {
        "epoch": manifest["epochs_done"],
        "global_step": manifest["global_step"],
        "config_hash": manifest["config_hash"],
    }
    return _header_faults(header, expected)


def _best_faults(manifest: dict[str, Any], path: Path) -> list[str]:
    best = manifest["best"] or {}
    return _header_faults(read_header(path), {"epoch": best.get("epoch"), "config_hash": manifest["config_hash"]})


def _header_faults(header: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return [
        f"its {key} is {header.get(key)!r}, the manifest says {value!r}"
        for key, value in expected.items()
        if header.get(key) != value
    ]


def _strict_faults(manifest: dict[str, Any], path: Path) -> list[str]:
    faults = []
    for segment in manifest["segments"]:
        since = f"{path}: from step {segment['from_step']} on"
        if segment["git_commit"] is None:
            faults.append(f"{since}: git_commit is null: the code cannot be checked out again")
        elif segment["git_dirty"]:
            faults.append(f"{since}: git_dirty: the code differed from commit {segment['git_commit']}")
        if segment["changed_files"]:
            faults.append(f"{since}: other source than before: {', '.join(segment['changed_files'])}")
    if manifest["data"]["rejected"]:
        faults.append(f"{path}: {len(manifest['data']['rejected'])} samples were left out of the data")
    if manifest["skipped_steps"]:
        faults.append(f"{path}: {manifest['skipped_steps']} steps made no update")
    if manifest["stopped_because"] not in COMPLETED:
        faults.append(f"{path}: stopped_because is {manifest['stopped_because']}, not one of {', '.join(COMPLETED)}")
    return faults
