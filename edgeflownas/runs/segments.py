"""What computed a run, stretch by stretch: a segment for every process that worked on it.

The checkpoint carries them, so that a resumed run still knows what computed the earlier steps.
"""

import platform
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import sha256_of
from edgeflownas.config import differences
from edgeflownas.errors import UserError
from edgeflownas.provenance import COMPUTING_PACKAGES, git_state, that_compute, versions_of
from edgeflownas.runs.checkpoints import Checkpoint
from edgeflownas.source_code import changed_files

Segment = dict[str, Any]
# A message names this many changed files, and counts the others.
NAMED = 5


def first_segment(precision: str, backend: str, device: Mapping[str, Any], source: Mapping[str, str]) -> Segment:
    """The segment of this process, as at the start of a run.

    Args:
        precision: `train.precision`.
        backend: the one that Keras computes with.
        device: what `devices.check_device` found.
        source: what `source_code.training_source` found.
    """
    git = git_state()
    versions = that_compute(versions_of(COMPUTING_PACKAGES), backend)
    return {
        "from_step": 0,
        "git_commit": git["commit"],
        "git_dirty": git["dirty"],
        **({"git_unknown": git["why"]} if "why" in git else {}),
        "source": sha256_of(dict(source)),
        "changed_files": [],
        "backend": backend,
        "versions": {"python": platform.python_version(), **versions},
        "precision": precision,
        "device": {key: device[key] for key in ("kind", "name")},
    }


def continued(checkpoint: Checkpoint, segment: Segment, source: Mapping[str, str], accepted: bool) -> list[Segment]:
    """The segments of a run that this process continues; other versions or another device are a warning on stderr.

    Args:
        checkpoint: the one to continue from.
        segment: this process's, from `first_segment`.
        source: what `source_code.training_source` found.
        accepted: whether the run may continue although the checkpoint was trained by other source.

    Raises:
        UserError: it was trained by other source, and that is not accepted; names the files.
    """
    before: list[Segment] = checkpoint.header["segments"]
    changed = changed_files(checkpoint.header["source_files"], source)
    if changed and not accepted:
        raise UserError(_refusal(checkpoint.path, changed, before[-1]["git_commit"]))
    if changed:
        _warn(f"other source: {', '.join(changed)}")
    now = segment | {"from_step": checkpoint.header["global_step"], "changed_files": changed}
    for line in changes_between(before[-1], now):
        _warn(f"{line}; expect the results of an uninterrupted run only up to rounding")
    return [*before, now]


def _refusal(path: Path, changed: Sequence[str], commit: str | None) -> str:
    more = [f"and {len(changed) - NAMED} more"] if len(changed) > NAMED else []
    return (
        f"cannot resume: {path}: was trained by other source: {', '.join([*changed[:NAMED], *more])}. "
        f"Undo that{f' (it was at commit {commit[:12]})' if commit else ''}, start a new run in another --output_dir, "
        "or continue with --accept_changed_code (Snakemake: --config 'train={accept_changed_code: true}'), "
        "which manifest and report then say"
    )


def _warn(what: str) -> None:
    print(f"WARNING: the run continues with {what}", file=sys.stderr)


def changes_between(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What computed a segment, against the one before: `another numpy: 2.0 -> 2.1`, one line each; not the source."""
    old, new = (
        {"backend": found["backend"], "device": found["device"]["name"], **found["versions"]} for found in (before, now)
    )
    return [f"another {line}" for line in differences(old, new)]


def segment_cautions(segments: Sequence[Segment]) -> list[str]:
    """What a reader of a result should know about changes during its run."""
    cautions = []
    for before, now in pairwise(segments):
        since = f"From step {now['from_step']} on the run continued with"
        if now["changed_files"]:
            cautions.append(f"{since} other source, which was accepted: {', '.join(now['changed_files'])}.")
        cautions += [f"{since} {change}." for change in changes_between(before, now)]
    return cautions


def segment_words(segment: Segment) -> str:
    """What computed a segment, in one line."""
    where = f"{segment['backend']} on {segment['device']['name']}"
    return f"commit {commit_words(segment)}, source {segment['source'][:12]}, {where}"


def commit_words(entry: Mapping[str, Any]) -> str:
    """The commit of a manifest or of one of its segments, and whether the files were those of the commit."""
    why = entry.get("git_unknown", "not in a git repository")
    if entry["git_commit"] is None:
        return f"(not known: {why})"
    if entry["git_dirty"] is None:
        return f"{entry['git_commit']}, local changes not known: {why}"
    return f"{entry['git_commit']}{', with local changes' if entry['git_dirty'] else ''}"
