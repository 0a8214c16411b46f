"""The Snakemake run that a process works for: the main process names itself to its jobs through the environment."""

import json
import os
import shlex
from collections.abc import Sequence
from typing import Any

from edgeflownas.processes import this_process

OWNER_VARIABLE = "EDGEFLOWNAS_OWNER"
# What was typed to start the run, for reports that say what to type next.
INVOCATION_VARIABLE = "EDGEFLOWNAS_INVOCATION"


def name_owner(arguments: Sequence[str]) -> None:
    """Tell the jobs of this Snakemake run, started with these arguments, that they work for it."""
    os.environ[OWNER_VARIABLE] = json.dumps(this_process())
    os.environ[INVOCATION_VARIABLE] = shlex.join(["snakemake", *arguments])


def owner_from_environment() -> dict[str, Any] | None:
    """The Snakemake run that this process works for, or the Slurm job; None outside both."""
    if os.environ.get("SLURM_JOB_ID"):
        return this_process()
    text = os.environ.get(OWNER_VARIABLE)
    owner: dict[str, Any] | None = json.loads(text) if text else None
    return owner


def typed_invocation() -> str | None:
    """What was typed to start the Snakemake run; None outside one."""
    return os.environ.get(INVOCATION_VARIABLE)
