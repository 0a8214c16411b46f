"""What must hold of the costs on a chip, checked on what `selection.chip_costs` left: faults in words, or none.

From the compilations that it lists, everything else is computed again here.
"""

import numpy as np

from edgeflownas.deploy.additive import AdditiveCycles, held_out_codes
from edgeflownas.nas.arch_codec import format_code, parse_code
from edgeflownas.nas.search_space import ArchCode, SearchSpace
from edgeflownas.selection.chip_costs import allowed_error
from edgeflownas.selection.chip_tables import ChipTable
from edgeflownas.selection.tables import all_codes


def off_the_npu(chip: ChipTable) -> list[str]:
    """Compiled subnets of which a part runs on the CPU, whose time nobody knows."""
    faults = []
    for subnet in chip.facts["compiled"]:
        faults += [f"{subnet['code']} has {operator} on the CPU" for operator in subnet["cpu_operators"][:1]]
        faults += [f"{subnet['code']} takes 0 cycles"] if subnet["cycles"] <= 0 else []
    return faults


def too_large(chip: ChipTable) -> list[str]:
    """Compiled subnets that need more SRAM or flash than the chip has."""
    return [
        f"{subnet['code']} needs {subnet[key]:,.0f} KiB, {key} of {chip.facts['target']} is {room:,.0f}"
        for key in ("sram_kib", "flash_kib")
        for room in (chip.facts["chip"][key],)
        for subnet in chip.facts["compiled"]
        if not subnet[key] <= room
    ]


def largest_error(chip: ChipTable, space: SearchSpace) -> tuple[float, float]:
    """How far the additive model is off on the held-out subnets, and how far it may be, as shares.

    Raises:
        ValueError: the held-out subnets are others, or were not compiled.
    """
    facts, cycles, model = chip.facts, _compiled(chip, space), _model(chip, space)
    held_out = [parse_code(subnet["code"], space) for subnet in facts["held_out"]]
    expected = held_out_codes(space)
    if held_out != expected or not set(expected) <= cycles.keys():
        raise ValueError(f"{len(held_out)} subnets are held out, expected {len(expected)} that were compiled")
    errors = [abs(model.of(code) / cycles[code] - 1) for code in held_out]
    return max(errors, default=0.0), allowed_error(facts["chip"], max(one["sram_kib"] for one in facts["compiled"]))


def unlike_cycles(chip: ChipTable, space: SearchSpace) -> list[str]:
    """Subnets of the front that were not compiled themselves, and those whose time is not that of their cycles: as
    compiled, or as the additive model gives them."""
    codes, cycles = all_codes(space), _compiled(chip, space)
    own = np.array([code in cycles for code in codes])
    expected = _model(chip, space).of_all().astype(np.float64)
    expected[own] = [cycles[code] for code in codes if code in cycles]
    expected /= chip.facts["chip"]["clock_mhz"] * 1e3
    marked, on_front = (chip.table[name].to_numpy(bool) for name in ("compiled", "on_front"))

    def names(rows: np.ndarray) -> list[str]:
        return [format_code(codes[row]) for row in np.flatnonzero(rows)]

    faults = [f"{code}: the table is wrong about whether it was compiled" for code in names(marked != own)]
    faults += [f"{code} is on the front, and was not compiled" for code in names(on_front & ~own)]
    # Written so that a time that is no number is unlike.
    unlike = ~np.isclose(chip.ms, expected, rtol=1e-9, atol=0)
    return faults + [f"{code} has other milliseconds than its cycles take" for code in names(unlike)]


def _compiled(chip: ChipTable, space: SearchSpace) -> dict[ArchCode, int]:
    return {parse_code(subnet["code"], space): subnet["cycles"] for subnet in chip.facts["compiled"]}


def _model(chip: ChipTable, space: SearchSpace) -> AdditiveCycles:
    differences = tuple(tuple(chip.facts["differences"][block.name]) for block in space.blocks)
    return AdditiveCycles(space, chip.facts["reference"]["cycles"], differences)
