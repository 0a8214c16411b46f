"""The four gates as data: what each runs, what it depends on and what it publishes. Imports nothing heavy.

The command lines stand in `rules/gateN.smk`, the criteria in `criteria_gateN.py`.
"""

from dataclasses import dataclass

from edgeflownas.errors import UserError
from edgeflownas.provenance import COMPUTING_PACKAGES, NETWORK_PACKAGES


@dataclass(frozen=True)
class Gate:
    """One gate.

    `commands` are the names under which its commands are recorded, in order. `run_directories` lie below
    `<output_dir>/runs/` and are emptied when an attempt starts. `config_keys` are the dotted prefixes of the
    configuration that its verdict depends on ("" is everything), `packages` those whose versions it depends on, and
    `uses_data` says whether it depends on the data index. `publishes` are the artifacts that stand below
    `<output_dir>/` once it passed.
    """

    number: int
    title: str
    commands: tuple[str, ...]
    run_directories: tuple[str, ...]
    config_keys: tuple[str, ...]
    packages: tuple[str, ...]
    uses_data: bool
    publishes: tuple[str, ...]

    @property
    def name(self) -> str:
        """`gate1` … `gate4`."""
        return f"gate{self.number}"


# What the training report shows, beside it.
REPORT_PICTURES = (
    "pictures/epe.svg",
    "pictures/subnets.svg",
    "pictures/loss.svg",
    "pictures/gradients.svg",
    "pictures/ranking.svg",
    "pictures/time.svg",
    "pictures/fairness.svg",
    "pictures/flow.png",
)
_MODEL_KEYS = ("seed", "network.", "search_space.", "train.supernet_mode", "train.precision")
_TRAINING_KEYS = (*_MODEL_KEYS, "data.", "train.", "eval.")

GATES = (
    Gate(
        number=1,
        title="foundation",
        commands=("help", "dry_run", "dry_run_imports", "self_test", "wrong_length", "wrong_digit"),
        run_directories=(),
        config_keys=("",),
        packages=(),
        uses_data=False,
        publishes=("config.json",),
    ),
    Gate(
        number=2,
        title="model and sampling",
        commands=("model_shape_check", "fair_sampler", "fair_sampler_repeat"),
        run_directories=("gate2",),
        config_keys=_MODEL_KEYS,
        packages=NETWORK_PACKAGES,
        uses_data=False,
        publishes=("fair_sampler_check.json",),
    ),
    Gate(
        number=3,
        title="training loop",
        commands=("trace", "trace_repeat", "epochs", "resume", "evaluate"),
        run_directories=("gate3_trace", "gate3_trace_repeat", "gate3_epochs"),
        config_keys=_TRAINING_KEYS,
        packages=COMPUTING_PACKAGES,
        uses_data=True,
        publishes=("checkpoints/supernet_best.ckpt", "checkpoints/supernet_last.ckpt", "eval_pool_12.json"),
    ),
    Gate(
        number=4,
        title="delivery",
        commands=("train", "check_manifest", "launch_scripts", "training_report"),
        run_directories=("gate4",),
        config_keys=(*_TRAINING_KEYS, "fast_mode.", "workflow."),
        packages=COMPUTING_PACKAGES,
        uses_data=True,
        publishes=(
            "train_manifest.json",
            "fairness_counts.json",
            "eval_epe_history.csv",
            "supernet_training_report.md",
            *REPORT_PICTURES,
            "report.html",
            "scripts/hpc/run_supernet_train.sh",
            "scripts/local/run_supernet_train.sh",
        ),
    ),
)
# The long run is recorded like a gate, but it judges nothing and keeps its run directory, from which it resumes.
LONG_RUN = "supernet"
# All of which attempts are kept, in the order in which they run.
STAGES = (*(gate.name for gate in GATES), LONG_RUN)
# What `snakemake` without a target makes.
DEFAULT_TARGET = "gate4"


def find_gate(name: str) -> Gate:
    """The gate of that name.

    Raises:
        UserError: there is none.
    """
    for gate in GATES:
        if gate.name == name:
            return gate
    raise UserError(f"gate {name!r}: expected one of {', '.join(gate.name for gate in GATES)}")
