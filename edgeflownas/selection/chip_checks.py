"""What must hold of the costs on a chip, checked on what `selection.chip_costs` left: faults in words, or none.

From the compilations that it lists, everything else is computed again here.
"""

import numpy as np

from edgeflownas.deploy.additive import held_out_codes
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
    facts, cycles = chip.facts, _compiled(chip, space)
    predicted = _predicted(chip, space)
    held_out = [parse_code(subnet["code"], space) for subnet in facts["held_out"]]
    expected = held_out_codes(space)
    if held_out != expected or not set(expected) <= cycles.keys():
        raise ValueError(f"{len(held_out)} subnets are held out, expected {len(expected)} that were compiled")
    errors = [abs(predicted[code] / cycles[code] - 1) for code in held_out]
    return max(errors, default=0.0), allowed_error(facts["chip"], max(one["sram_kib"] for one in facts["compiled"]))


def unlike_cycles(chip: ChipTable, space: SearchSpace) -> list[str]:
    """Subnets of the front that were not compiled themselves, and those whose time is not that of their cycles: as
    compiled, or as the additive model gives them."""
    table, cycles, predicted = chip.table, _compiled(chip, space), _predicted(chip, space)
    faults = []
    for row, code in enumerate(all_codes(space)):
        word = format_code(code)
        own = code in cycles
        if bool(table["compiled"].iloc[row]) != own:
            faults.append(f"{word} is {'' if own else 'not '}among the compiled subnets, the table says otherwise")
        if table["on_front"].iloc[row] and not own:
            faults.append(f"{word} is on the front, and was not compiled")
        expected = (cycles if own else predicted)[code] / chip.facts["chip"]["clock_mhz"] / 1e3
        if not np.isclose(table["ms"].iloc[row], expected, rtol=1e-9, atol=0):
            faults.append(f"{word} takes {table['ms'].iloc[row]:.6g} ms in the table, by its cycles {expected:.6g}")
    return faults


def _compiled(chip: ChipTable, space: SearchSpace) -> dict[ArchCode, int]:
    return {parse_code(subnet["code"], space): subnet["cycles"] for subnet in chip.facts["compiled"]}


def _predicted(chip: ChipTable, space: SearchSpace) -> dict[ArchCode, int]:
    reference, differences = chip.facts["reference"]["cycles"], chip.facts["differences"]
    blocks = [differences[block.name] for block in space.blocks]
    return {
        code: reference + sum(block[digit] for block, digit in zip(blocks, code, strict=True))
        for code in all_codes(space)
    }
