"""What each gate publishes to `<output_dir>/` when it passes: as its module in `definitions/` says."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgeflownas.artifacts import read_json, sha256_file, validate, write_atomic
from edgeflownas.gates.lifecycle.evidence import Evidence


@dataclass(frozen=True)
class Artifact:
    """A published file: its path below `<output_dir>/`, its schema if it is JSON, and how it is written there.

    A path with the eval pool's name has that of the 9-block space; `PoolNames.renamed` makes others of it.
    """

    path: str
    schema: str | None
    publish: Callable[[Evidence, Path], None]


def copy_of(run: str, file: str) -> Callable[[Evidence, Path], None]:
    """How a file of a run is published: as it is, with its permissions."""

    def publish(evidence: Evidence, target: Path) -> None:
        source = evidence.run(run) / evidence.pool_names.renamed(file)

        with open(source, "rb") as content:

            def write(out: BinaryIO) -> None:
                shutil.copyfileobj(content, out)

            write_atomic(target, write)
        target.chmod(source.stat().st_mode & 0o777)

    return publish


def publish_artifacts(evidence: Evidence) -> list[dict[str, Any]]:
    """Publish a gate's artifacts and describe them: path, sha256, bytes, schema.

    Raises:
        UserError: one does not fit its schema, or does not hold where it is published.
    """
    published = []
    for artifact in evidence.gate.artifacts:
        path = evidence.pool_names.renamed(artifact.path)
        target = evidence.output_dir / path
        artifact.publish(evidence, target)
        if artifact.schema is not None:
            validate(read_json(target), artifact.schema, where=str(target))
        published.append(
            {
                "path": path,
                "sha256": sha256_file(target),
                "bytes": target.stat().st_size,
                "schema": artifact.schema,
            }
        )
    return published
