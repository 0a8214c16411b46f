"""What a verdict was given for: digests of the package's source, the configuration and the data index."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import PROJECT_ROOT, read_json, sha256_file, sha256_of
from edgeflownas.config import Config
from edgeflownas.errors import UserError
from edgeflownas.gates.gate import Gate

SOURCE_PATTERNS = (
    "Snakefile",
    "rules/*.smk",
    "edgeflownas/**/*.py",
    "schemas/*.json",
    "config/search_spaces/*.yaml",
    "scripts/**/*.template",
)
# The first gate that a source file matters to; every later gate depends on it too. A file that no pattern names
# matters to all gates, so that a forgotten entry makes gates stale too often, never too seldom.
FIRST_GATE = (
    ("edgeflownas/network/*", 2),
    ("edgeflownas/devices.py", 2),
    ("edgeflownas/nas/fair_sampler.py", 2),
    ("edgeflownas/nas/model_shape_check.py", 2),
    ("edgeflownas/gates/criteria_gate2.py", 2),
    ("rules/gate2.smk", 2),
    ("schemas/fair_sampler_check.schema.json", 2),
    ("schemas/model_shape_check.schema.json", 2),
    # Reports draw with it, training only its logs for TensorBoard.
    ("edgeflownas/data/flow_colours.py", 4),
    ("edgeflownas/data/*", 3),
    ("edgeflownas/training/tensorboard.py", 5),
    ("edgeflownas/training/*", 3),
    ("edgeflownas/nas/eval_pool.py", 3),
    ("edgeflownas/nas/supernet_eval.py", 3),
    ("edgeflownas/gates/criteria_gate3.py", 3),
    ("rules/gate3.smk", 3),
    ("rules/data.smk", 3),
    ("schemas/data_index.schema.json", 3),
    ("schemas/eval_pool.schema.json", 3),
    ("schemas/supernet_eval.schema.json", 3),
    ("schemas/trace_row.schema.json", 3),
    ("schemas/history_row.schema.json", 3),
    ("edgeflownas/nas/check_manifest.py", 4),
    ("edgeflownas/nas/cost.py", 4),
    ("edgeflownas/reporting/launch_scripts.py", 4),
    # What draws the report that gate 4 publishes.
    ("edgeflownas/reporting/flow_pictures.py", 4),
    ("edgeflownas/reporting/pages.py", 4),
    ("edgeflownas/reporting/plots.py", 4),
    ("edgeflownas/reporting/report_page.py", 4),
    ("edgeflownas/reporting/run_facts.py", 4),
    ("edgeflownas/reporting/run_figures.py", 4),
    ("edgeflownas/reporting/training_report.py", 4),
    ("edgeflownas/gates/criteria_gate4.py", 4),
    ("rules/gate4.smk", 4),
    ("schemas/train_manifest.schema.json", 4),
    ("schemas/fairness_counts.schema.json", 4),
    ("schemas/pool_results.schema.json", 4),
    ("scripts/hpc/*", 4),
    ("scripts/local/*", 4),
    # What only a reader of finished gates runs: no verdict depends on it.
    ("edgeflownas/reporting/*", 5),
    ("edgeflownas/terminal.py", 5),
    ("edgeflownas/watch.py", 5),
    ("edgeflownas/gates/page.py", 5),
    ("edgeflownas/gates/quieting.py", 5),
    ("edgeflownas/gates/verifying.py", 5),
    # What decides whether and when commands run, and not what they do.
    ("edgeflownas/gates/cluster.py", 5),
    ("edgeflownas/gates/long_run.py", 5),
    ("edgeflownas/studies/*", 5),
    ("rules/learning.smk", 5),
    ("rules/fidelity.smk", 5),
    ("schemas/learning.schema.json", 5),
    ("schemas/fidelity.schema.json", 5),
    ("schemas/ablation.schema.json", 5),
    ("schemas/recalibration.schema.json", 5),
    ("scripts/*", 5),
    ("rules/supernet.smk", 5),
)
# What the result of a training run depends on besides its configuration and data.
TRAINING_SOURCE = (
    "edgeflownas/network/*",
    "edgeflownas/data/*",
    "edgeflownas/training/*",
    "edgeflownas/nas/*",
    "edgeflownas/train_supernet.py",
    "config/search_spaces/*",
)


def source_files(root: Path = PROJECT_ROOT) -> dict[str, str]:
    """SHA-256 of every source file that any gate depends on, by its path below `root`."""
    files = sorted({path for pattern in SOURCE_PATTERNS for path in root.glob(pattern) if path.is_file()})
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in files}


def relevant_source(gate: Gate, files: dict[str, str]) -> dict[str, str]:
    """Those of `source_files` that the gate's verdict depends on."""
    return {path: digest for path, digest in files.items() if _first_gate(path) <= gate.number}


def _first_gate(path: str) -> int:
    return next((number for pattern, number in FIRST_GATE if fnmatch(path, pattern)), 1)


def training_digest(files: dict[str, str]) -> str:
    """Digest of those of `source_files` that decide what a training run computes."""
    return sha256_of(
        {path: digest for path, digest in files.items() if any(fnmatch(path, pattern) for pattern in TRAINING_SOURCE)}
    )


def relevant_config(gate: Gate, config: Config) -> dict[str, Any]:
    """The configuration values that the gate's verdict depends on, by dotted key: never paths of the data."""
    values = config.result_values() | {
        key: value for key, value in config.values.items() if key.startswith("workflow.gate")
    }
    return {key: value for key, value in values.items() if key.startswith(gate.config_keys)}


def data_digest(output_dir: Path) -> str | None:
    """Digest of what `<output_dir>/data_index.json` lists; None where it has not been built.

    Where the samples lie and when they were written are left out: the same data elsewhere are the same data.
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


def gate_digests(gate: Gate, files: dict[str, str], config: Config, output_dir: Path) -> dict[str, str | None]:
    """The digests that a verdict of this gate stands on: code, config and data."""
    return {
        "code": sha256_of(relevant_source(gate, files)),
        "config": sha256_of(relevant_config(gate, config)),
        "data": data_digest(output_dir) if gate.uses_data else None,
    }
