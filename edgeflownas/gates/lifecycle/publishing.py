"""What each gate publishes to `<output_dir>/` when it passes: copied whole, under the names of the gate table."""

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgeflownas.artifacts import read_json, sha256_file, validate, write_atomic, write_json, write_text
from edgeflownas.errors import UserError
from edgeflownas.gates.definitions import gate2, gate3, gate4
from edgeflownas.gates.gate import REPORT_PICTURES
from edgeflownas.gates.lifecycle.evidence import BEST, HISTORY, LAST, Evidence
from edgeflownas.reporting.launch_scripts import SCRIPT_NAME
from edgeflownas.reporting.pages import REPORT, REPORT_MARKDOWN, rebased_page
from edgeflownas.runs.manifest_checks import manifest_faults

MANIFEST_SCHEMA = "train_manifest.schema.json"


@dataclass(frozen=True)
class Artifact:
    """A published file: its path below `<output_dir>/`, its schema if it is JSON, and how it is written there."""

    path: str
    schema: str | None
    publish: Callable[[Evidence, Path], None]


def _copy_of(run: str, file: str) -> Callable[[Evidence, Path], None]:
    def publish(evidence: Evidence, target: Path) -> None:
        source = evidence.run(run) / file

        with open(source, "rb") as content:

            def write(out: BinaryIO) -> None:
                shutil.copyfileobj(content, out)

            write_atomic(target, write)
        target.chmod(source.stat().st_mode & 0o777)

    return publish


def _resolved_config(evidence: Evidence, target: Path) -> None:
    config = evidence.config
    write_json(target, {"values": config.values, "origins": config.origins, "hash": config.hash})


def _rebased_manifest(evidence: Evidence, target: Path) -> None:
    """The run's manifest, with the paths of its files as seen from where it is published."""
    manifest = read_json(evidence.run(gate4.RUN) / "train_manifest.json", schema=MANIFEST_SCHEMA)
    beside = {artifact.path for artifact in ARTIFACTS[evidence.gate.name]}
    write_json(target, rebased(manifest, Path("runs") / gate4.RUN, beside))


def rebased(manifest: Mapping[str, Any], run: Path, beside: Collection[str]) -> dict[str, Any]:
    """A manifest whose files lie in `run`, relative to the manifest's new folder, or `beside` it."""
    files = {
        name: {**file, "path": file["path"] if file["path"] in beside else (run / file["path"]).as_posix()}
        for name, file in manifest["files"].items()
    }
    return {**manifest, "files": files}


def _rebased_report(evidence: Evidence, target: Path) -> None:
    """The run's page, with its links as seen from where it is published."""
    run = evidence.run(gate4.RUN)
    write_text(target, rebased_page((run / REPORT).read_text(encoding="utf-8"), run, target.parent))


_GATE4 = gate4.RUN
_LAUNCH = gate4.LAUNCH_FOLDER
ARTIFACTS: dict[str, tuple[Artifact, ...]] = {
    "gate1": (Artifact("config.json", "resolved_config.schema.json", _resolved_config),),
    "gate2": (
        Artifact(
            "fair_sampler_check.json",
            "fair_sampler_check.schema.json",
            _copy_of(gate2.RUN, gate2.SAMPLER),
        ),
    ),
    "gate3": (
        Artifact(BEST, None, _copy_of(gate3.EPOCHS_RUN, BEST)),
        Artifact(LAST, None, _copy_of(gate3.EPOCHS_RUN, LAST)),
        Artifact("eval_pool_12.json", "eval_pool.schema.json", _copy_of(gate3.EPOCHS_RUN, "eval_pool_12.json")),
    ),
    "gate4": (
        Artifact("fairness_counts.json", "fairness_counts.schema.json", _copy_of(_GATE4, "fairness_counts.json")),
        Artifact(HISTORY, None, _copy_of(_GATE4, HISTORY)),
        Artifact(REPORT_MARKDOWN, None, _copy_of(_GATE4, REPORT_MARKDOWN)),
        *(Artifact(path, None, _copy_of(_GATE4, path)) for path in REPORT_PICTURES),
        Artifact(REPORT, None, _rebased_report),
        Artifact(f"scripts/hpc/{SCRIPT_NAME}", None, _copy_of(_GATE4, f"{_LAUNCH}/hpc/{SCRIPT_NAME}")),
        Artifact(f"scripts/local/{SCRIPT_NAME}", None, _copy_of(_GATE4, f"{_LAUNCH}/local/{SCRIPT_NAME}")),
        # Last, because it names others of these, which must be found beside it.
        Artifact("train_manifest.json", MANIFEST_SCHEMA, _rebased_manifest),
    ),
}


def publish_artifacts(evidence: Evidence) -> list[dict[str, Any]]:
    """Publish a gate's artifacts and describe them: path, sha256, bytes, schema.

    Raises:
        UserError: one does not fit its schema, or the published manifest does not hold where it is.
    """
    published = []
    for artifact in ARTIFACTS[evidence.gate.name]:
        target = evidence.output_dir / artifact.path
        artifact.publish(evidence, target)
        if artifact.schema is not None:
            validate(read_json(target), artifact.schema, where=str(target))
        published.append(
            {
                "path": artifact.path,
                "sha256": sha256_file(target),
                "bytes": target.stat().st_size,
                "schema": artifact.schema,
            }
        )
        # A manifest names other files, which must be found from where it now stands.
        if artifact.schema == MANIFEST_SCHEMA and (faults := manifest_faults(target)):
            raise UserError(f"the published manifest is not valid: {faults[0]}")
    return published
