"""The list of gates, in the order in which they run. A new gate is a module in `definitions/` and an entry here."""

from edgeflownas.errors import UserError
from edgeflownas.gates.definitions import gate1, gate2, gate3, gate4
from edgeflownas.gates.gate import Gate

GATES: tuple[Gate, ...] = (gate1.GATE, gate2.GATE, gate3.GATE, gate4.GATE)
# The long run is recorded like a gate, but it is no gate: it keeps its run directory, from which it resumes.
LONG_RUN = "supernet"
# Everything whose attempts are kept, in the order in which it runs.
STAGES = (*(gate.name for gate in GATES), LONG_RUN)
# What `snakemake` without a target makes.
DEFAULT_TARGET = GATES[-1].name


def find_gate(name: str) -> Gate:
    """The gate of that name.

    Raises:
        UserError: there is none.
    """
    for gate in GATES:
        if gate.name == name:
            return gate
    raise UserError(f"gate {name!r}: expected one of {', '.join(gate.name for gate in GATES)}")
