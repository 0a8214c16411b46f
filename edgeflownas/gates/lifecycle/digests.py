"""What a verdict depends on: digests of the package's source, the configuration, the data index and the versions of
what computes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import PROJECT_ROOT, read_json, sha256_file, sha256_of
from edgeflownas.config import Config
from edgeflownas.deploy.targets import load_target
from edgeflownas.devices import backend_name
from edgeflownas.errors import UserError
from edgeflownas.gates.gate import Gate
from edgeflownas.gates.lifecycle.sources import depends_on
from edgeflownas.gates.registry import LONG_RUN
from edgeflownas.nas.search_space import result_values
from edgeflownas.provenance import VERDICT_PACKAGES, that_compute, versions_of

SOURCE_PATTERNS = (
    "Snakefile",
    "rules/*.smk",
    "edgeflownas/**/*",
    "schemas/*.json",
    "config/search_spaces/*.yaml",
    "scripts/**/*.template",
)


def source_files(root: Path = PROJECT_ROOT) -> dict[str, str]:
    """SHA-256 of every source file that any gate depends on, by its path below `root`."""
    found = sorted({path for pattern in SOURCE_PATTERNS for path in root.glob(pattern) if path.is_file()})
    # Compiled files and hidden files of editors are next to the sources.
    own = [path for path in found if path.suffix != ".pyc" and not path.name.startswith(".")]
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in own}


def relevant_source(gate: Gate, files: dict[str, str]) -> dict[str, str]:
    """Those of `source_files` that the gate's verdict depends on."""
    return {path: digest for path, digest in files.items() if depends_on(gate, path)}


def relevant_source_of(gate: Gate, start: Mapping[str, Any]) -> dict[str, str]:
    """The source files of an attempt's start that its gate depended on then: other code may depend on other files."""
    files: dict[str, str] = start["source_files"]
    if "depends_on" not in start:
        return relevant_source(gate, files)
    return {path: files[path] for path in start["depends_on"] if path in files}


def relevant_config(gate: Gate, config: Config) -> dict[str, Any]:
    """The configuration values that the gate's verdict depends on, by dotted key: never paths of the data.

    Where the chip counts, the content of the target's file is among them, as `target.clock_mhz` and so on.

    Raises:
        UserError: the search space or the target cannot be read.
    """
    values = result_values(config) | {
        key: value for key, value in config.values.items() if key.startswith("workflow.gate")
    }
    relevant = {key: value for key, value in values.items() if key.startswith(gate.config_keys)}
    relevant |= {key: config.values[key] for key in gate.own_keys}
    if relevant.get("target") is not None:
        relevant |= {f"target.{key}": value for key, value in load_target(relevant["target"]).facts().items()}
    return relevant


def relevant_versions(gate: Gate, provenance: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, str]:
    """The backend and the versions of packages that the gate's verdict depends on.

    Args:
        gate: the gate.
        provenance: backend and versions, as an attempt's start has them.
        values: the gate's `relevant_config`.
    """
    if not gate.packages:
        return {}
    backend, versions = provenance.get("backend"), provenance["versions"]
    found = {"backend": str(backend), **that_compute(versions, backend, gate.packages)}
    if values.get("target") is not None:
        found |= {name: versions[name] for name in gate.chip_packages if name in versions}
    return found


def computing_now() -> dict[str, Any]:
    """What `relevant_versions` looks at, as it is installed now."""
    return {"backend": backend_name(), "versions": versions_of(VERDICT_PACKAGES)}


def data_digest(output_dir: Path) -> str | None:
    """Digest of what `<output_dir>/data_index.json` lists; None if it has not been built.

    Paths and times of the samples are left out: the same data elsewhere are the same data.
    """
    path = output_dir / "data_index.json"
    if not path.is_file():
        return None
    index = read_json(path)
    try:
        facts = {key: index[key] for key in ("digest", "crop", "max_flow", "on_bad_sample", "allow_copies")}
        facts["splits"] = {
            name: {
                "count": split["count"],
                "zero_flow_epe": split["zero_flow_epe"],
                "rejected": [[entry["name"], entry["reason"]] for entry in split["rejected"]],
            }
            for name, split in index["splits"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: does not fit schemas/data_index.schema.json: {error!r}") from error
    return sha256_of(facts)


def long_run_digest(output_dir: Path) -> str | None:
    """Digest of what the long run reached: its checkpoints and what they were trained with; None if there is none.

    Times and paths are left out: the same supernet elsewhere is the same supernet.
    """
    path = output_dir / "runs" / LONG_RUN / "train_manifest.json"
    if not path.is_file():
        return None
    manifest = read_json(path, schema="train_manifest.schema.json")
    checkpoints = ("checkpoint_best", "checkpoint_last")
    return sha256_of(
        {
            **{key: manifest[key] for key in ("config_hash", "global_step", "epochs_done", "stopped_because")},
            **{name: manifest["files"][name]["sha256"] for name in checkpoints if name in manifest["files"]},
        }
    )


def gate_digests(gate: Gate, files: dict[str, str], config: Config, output_dir: Path) -> dict[str, str | None]:
    """The digests that a verdict rests on: code, config, data, versions of packages, the long run, and what it takes of
    gates before it.
    """
    values = relevant_config(gate, config)
    return {
        "code": sha256_of(relevant_source(gate, files)),
        "config": sha256_of(values),
        "data": data_digest(output_dir) if gate.uses_data else None,
        "versions": sha256_of(relevant_versions(gate, computing_now(), values)) if gate.packages else None,
        **({"long_run": long_run_digest(output_dir)} if gate.after_long_run else {}),
        **({"built_on": sha256_of(gate.built_on(output_dir, config))} if gate.built_on else {}),
    }
