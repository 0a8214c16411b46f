"""What each gate publishes to `<output_dir>/` when it passes: as its module in `definitions/` says."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgeflownas.artifacts import read_json, sha256_file, validate, write_atomic
from edgeflownas.errors import writing
from edgeflownas.gates.lifecycle.evidence import Evidence


@dataclass(frozen=True)
class Artifact:
    """A published file: its path below `<output_dir>/`, its schema if it is JSON, and how it is written there.

    A path with the eval pool's name has that of the 9-block space; `PoolNames.renamed` makes others of it.
    """

    path: str
    schema: str | None
    publish: Callable[[Evidence, Path], None]


@dataclass(frozen=True)
class Folder:
    """A published folder, whose files are known only when the gate's commands have run; it is replaced as a whole.

    path: below `<output_dir>/`. run: the run directory that its files are copied from. files: of the evidence, the
    schema of each file (None if it is no JSON) by its path in both folders.
    """

    path: str
    run: str
    files: Callable[[Evidence], Mapping[str, str | None]]


def copy_of(run: str, file: str) -> Callable[[Evidence, Path], None]:
    """How a file of a run is published: as it is, with its permissions."""

    def publish(evidence: Evidence, target: Path) -> None:
        _copy(evidence.run(run) / evidence.pool_names.renamed(file), target)

    return publish


def _copy(source: Path, target: Path) -> None:
    with open(source, "rb") as content:

        def write(out: BinaryIO) -> None:
            shutil.copyfileobj(content, out)

        write_atomic(target, write)
    target.chmod(source.stat().st_mode & 0o777)


def publish_artifacts(evidence: Evidence) -> list[dict[str, Any]]:
    """Publish a gate's artifacts and describe them: path, sha256, bytes, schema.

    Raises:
        UserError: one does not fit its schema, or does not hold where it is published.
    """
    published = []
    for artifact in evidence.gate.artifacts:
        if isinstance(artifact, Folder):
            schemas = _publish_folder(artifact, evidence)
        else:
            schemas = _publish_file(artifact, evidence)
        for path, schema in schemas.items():
            target = evidence.output_dir / path
            facts = {"path": path, "sha256": sha256_file(target), "bytes": target.stat().st_size, "schema": schema}
            published.append(facts)
    return published


def _publish_file(artifact: Artifact, evidence: Evidence) -> dict[str, str | None]:
    """The schema by path of what was published."""
    path = evidence.pool_names.renamed(artifact.path)
    target = evidence.output_dir / path
    artifact.publish(evidence, target)
    _check(target, artifact.schema)
    return {path: artifact.schema}


def _publish_folder(folder: Folder, evidence: Evidence) -> dict[str, str | None]:
    """The schemas by path of what was published: complete before it gets its name, and nothing of earlier attempts."""
    target = evidence.output_dir / folder.path
    new, former = (target.with_name(f".{target.name}.{word}") for word in ("new", "former"))
    files = folder.files(evidence)
    with writing(target):
        for left in (new, former):
            if left.exists():
                shutil.rmtree(left)
        for name, schema in files.items():
            _copy(evidence.run(folder.run) / name, new / name)
            _check(new / name, schema)
        if target.exists():
            target.rename(former)
        new.rename(target)
    # One that stays does no harm: the next attempt that passes removes it.
    shutil.rmtree(former, ignore_errors=True)
    return {f"{folder.path}/{name}": schema for name, schema in files.items()}


def _check(path: Path, schema: str | None) -> None:
    if schema is not None:
        validate(read_json(path), schema, where=str(path))
