"""Which checkpoint a resumed run continues from: the last one, or the newest intact one if that is damaged."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import put_aside, read_json, write_json
from edgeflownas.config import differences
from edgeflownas.errors import UserError
from edgeflownas.runs.checkpoints import Checkpoint, load_checkpoint, read_header
from edgeflownas.runs.run_directory import RunDirectory

RECOVERIES_SCHEMA = "recoveries.schema.json"
# What a header must contain to continue from it, with types.
STATE = {
    **{"identity": dict, "progress": dict, "global_step": int, "epoch": int},
    **{"segments": list, "source_files": dict},
}


def find_checkpoint(
    run: RunDirectory,
    identity: Mapping[str, Any],
    print_line: Callable[[str], None],
    check: Callable[[Checkpoint], object] = lambda checkpoint: None,
) -> Checkpoint:
    """The checkpoint to continue from.

    Every checkpoint of a run continues to the same bits; an older one only repeats more steps. So if the last one is
    missing or cannot be used, the newest of the others is used. What cannot be used is renamed, never overwritten, and
    `recoveries.json` says so.

    Args:
        identity: what must be the same for a resumed run to give the same result.
        print_line: is given what is wrong with each that cannot be used.
        check: looks at the one to continue from before anything is renamed, and raises what speaks against it.

    Raises:
        UserError: none can be used; says what is wrong with each.
    """
    faults: dict[Path, str] = {}
    if last := _usable(run.last, identity, faults):
        check(last)
        return last
    others = [_usable(path, identity, faults) for path in run.checkpoints if path != run.last]
    usable = [checkpoint for checkpoint in others if checkpoint]
    if not usable:
        raise UserError(f"cannot resume: {_told_together(faults)}")
    # Of an epoch that was saved before and after its evaluation, the evaluated one.
    newest = max(usable, key=lambda checkpoint: (checkpoint.header["global_step"], checkpoint.header["epoch"]))
    check(newest)
    _set_aside(run, faults, newest, print_line)
    return newest


def holds_same_run(run: RunDirectory, identity: Mapping[str, Any], source: Mapping[str, str]) -> bool:
    """Whether what lies in a run directory continues to the same result: same config, data and training source.

    A run whose checkpoints cannot be read at all is none.
    """
    for path in run.checkpoints:
        try:
            header = read_header(path)
        except UserError:
            continue
        return header.get("identity") == dict(identity) and header.get("source_files") == dict(source)
    return False


def recoveries(run: RunDirectory) -> list[dict[str, Any]]:
    """The content of `recoveries.json`: each time that the last checkpoint could not be used."""
    recorded: list[dict[str, Any]] = read_json(run.recoveries, RECOVERIES_SCHEMA) if run.recoveries.is_file() else []
    return recorded


def _usable(path: Path, identity: Mapping[str, Any], faults: dict[Path, str]) -> Checkpoint | None:
    try:
        checkpoint = load_checkpoint(path)
        if not all(isinstance(checkpoint.header.get(key), kind) for key, kind in STATE.items()):
            raise UserError(f"{path}: has no state to continue from")
        if changes := differences(checkpoint.header["identity"], identity):
            raise UserError(
                f"{path}: this would change the result: {'; '.join(changes)}. "
                "Undo the changes, or start a new run in another --output_dir"
            )
    except UserError as fault:
        faults[path] = str(fault)
        return None
    return checkpoint


def _set_aside(
    run: RunDirectory, faults: Mapping[Path, str], instead: Checkpoint, print_line: Callable[[str], None]
) -> None:
    step = instead.header["global_step"]
    set_aside = []
    for damaged, reason in faults.items():
        kept_as = None
        if damaged.exists():
            kept_as = put_aside(damaged, "damaged").relative_to(run.path).as_posix()
        set_aside.append({"file": damaged.relative_to(run.path).as_posix(), "kept_as": kept_as, "reason": reason})
        print_line(
            f"{reason}{f'; kept as {kept_as}' if kept_as else ''}; continuing from {instead.path.name} at step {step}"
        )
    entry = {
        "continued_from": instead.path.relative_to(run.path).as_posix(),
        "global_step": step,
        "set_aside": set_aside,
    }
    write_json(run.recoveries, [*recoveries(run), entry], RECOVERIES_SCHEMA)


def _told_together(faults: Mapping[Path, str]) -> str:
    """`a, b: reason; c: other reason`."""
    files: dict[str, list[str]] = {}
    for path, fault in faults.items():
        files.setdefault(fault.removeprefix(f"{path}: "), []).append(str(path))
    return "; ".join(f"{', '.join(paths)}: {reason}" for reason, paths in files.items())
