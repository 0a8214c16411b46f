"""How large the studies are. What their runs train by is in config files of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from edgeflownas.config import resolve_settings
from edgeflownas.config_schema import STUDIES_SCHEMA


@dataclass(frozen=True)
class StudySettings:
    """The keys of `schemas/studies.schema.json`."""

    size: Annotated[str, "learning.size"]
    fidelity_size: Annotated[str, "fidelity.size"]
    fidelity_subnets: Annotated[int, "fidelity.subnets"]
    fidelity_seeds: Annotated[int, "fidelity.seeds"]
    fidelity_epochs: Annotated[int, "fidelity.epochs"]
    fidelity_cycles: Annotated[int, "fidelity.cycles"]
    ablation_seeds: Annotated[int, "ablation.seeds"]
    ablation_steps: Annotated[int, "ablation.steps"]


def study_settings(overrides: Mapping[str, Any]) -> StudySettings:
    """The defaults, and what the command line says otherwise, by dotted key.

    Raises:
        UserError: unknown key, wrong type or range; all faults in one message.
    """
    return resolve_settings(StudySettings, STUDIES_SCHEMA, overrides)
