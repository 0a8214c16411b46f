"""The list of gates, in the order in which they run. A new gate is a module in `definitions/` and an entry here."""

from edgeflownas.errors import UserError
from edgeflownas.gates.definitions import gate1, gate2, gate3, gate4, gate5, gate6, gate7
from edgeflownas.gates.gate import Gate

GATES: tuple[Gate, ...] = (
    gate1.GATE,
    gate2.GATE,
    gate3.GATE,
    gate4.GATE,
    gate5.GATE,
    gate6.GATE,
    gate7.GATE,
)
# The long run is recorded like a gate, but it is no gate: it keeps its run directory, from which it resumes.
LONG_RUN = "supernet"
BEFORE_LONG_RUN = tuple(gate for gate in GATES if not gate.after_long_run)
AFTER_LONG_RUN = GATES[len(BEFORE_LONG_RUN) :]
# Everything whose attempts are kept, in the order in which it runs.
STAGES = (*(gate.name for gate in BEFORE_LONG_RUN), LONG_RUN, *(gate.name for gate in AFTER_LONG_RUN))
# What `snakemake` without a target makes: nothing that takes a long run.
DEFAULT_TARGET = BEFORE_LONG_RUN[-1].name


def find_gate(name: str) -> Gate:
    """The gate of that name.

    Raises:
        UserError: there is none.
    """
    for gate in GATES:
        if gate.name == name:
            return gate
    raise UserError(f"gate {name!r}: expected one of {', '.join(gate.name for gate in GATES)}")
