"""Cycles of every subnet of a space, from few compilations: cycles are additive over blocks.

The reference and each single change of it are compiled, 1 + 18 subnets in the 9-block space; any other subnet takes the
reference's cycles plus the differences of its options. That is exact as long as Vela plans every layer for itself, as
it does where the arena holds the whole peak; where it does not, layers share it, and the error is measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeflownas.deploy.chip_costs import chip_costs
from edgeflownas.deploy.subnet import Subnet
from edgeflownas.deploy.targets import Target
from edgeflownas.deploy.vela import ChipCost
from edgeflownas.errors import UserError
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.fair_sampler import fair_cycle
from edgeflownas.nas.search_space import ArchCode, SearchSpace

HELD_OUT = 12
HELD_OUT_SEED = 16


@dataclass(frozen=True)
class AdditiveCycles:
    """Cycles as the reference's plus a difference per block and option.

    differences: per block, one per option; 0 for the reference's own.
    """

    space: SearchSpace
    reference: int
    differences: tuple[tuple[int, ...], ...]

    def of(self, code: ArchCode) -> int:
        """Cycles of a subnet."""
        return self.reference + sum(block[digit] for block, digit in zip(self.differences, code, strict=True))

    def of_all(self) -> np.ndarray:
        """(subnets,) int64, in lexicographic order of codes."""
        totals = np.array(self.reference, np.int64)
        for block in self.differences:
            totals = totals[..., None] + np.array(block, np.int64)
        return totals.ravel()


@dataclass(frozen=True)
class HeldOut:
    """A subnet that the model was not made of: its cycles as compiled and as predicted."""

    code: ArchCode
    compiled: int
    predicted: int

    @property
    def error(self) -> float:
        """Relative to the compiled, as a share."""
        return abs(self.predicted / self.compiled - 1)


def single_changes(space: SearchSpace) -> list[ArchCode]:
    """The reference, then each code that differs from it in one digit."""
    reference = space.reference
    codes = [reference]
    for position, block in enumerate(space.blocks):
        for digit in range(len(block.options)):
            if digit != reference[position]:
                codes.append((*reference[:position], digit, *reference[position + 1 :]))
    return codes


def held_out_codes(space: SearchSpace, count: int = HELD_OUT) -> list[ArchCode]:
    """At least `count` subnets (or all others, if there are fewer) that are no single change of the reference.

    From whole fair cycles, so that they try all options about equally often; the same at every call.
    """
    known = set(single_changes(space))
    count = min(count, space.size - len(known))
    found: list[ArchCode] = []
    step = 0
    while len(found) < count:
        for path in fair_cycle(space, HELD_OUT_SEED, step):
            code = tuple(int(digit) for digit in path)
            if code not in known:
                known.add(code)
                found.append(code)
        step += 1
    return found


def fitted(subnet: Subnet, costs: Sequence[ChipCost]) -> AdditiveCycles:
    """The model that goes through the costs of `single_changes`, given in their order."""
    space = subnet.space
    cycles = dict(zip(single_changes(space), (cost.cycles for cost in costs), strict=True))
    reference = cycles[space.reference]
    differences = []
    for position, block in enumerate(space.blocks):
        changed = (
            (*space.reference[:position], d, *space.reference[position + 1 :]) for d in range(len(block.options))
        )
        differences.append(tuple(cycles[code] - reference for code in changed))
    return AdditiveCycles(space, reference, tuple(differences))


@dataclass(frozen=True)
class Surveyed:
    """A space on a chip: the additive model, how far it is off, and what was compiled, by code."""

    cycles: AdditiveCycles
    held_out: tuple[HeldOut, ...]
    compiled: dict[ArchCode, ChipCost]


def survey(
    subnet: Subnet, target: Target, cache: Path, say: Callable[[str], None], workers: int | None = None
) -> Surveyed:
    """Compile what the additive model needs, and held-out subnets to judge it by.

    Args:
        subnet: any of the space, at the size and width in question.
        target: the chip.
        cache: as `chip_costs`.
        say: called with a line about what happens.
        workers: as `chip_costs`.

    Raises:
        UserError: as `chip_costs`, or operators of a subnet run on the CPU, whose time is not known.
    """
    changes, held_out = single_changes(subnet.space), held_out_codes(subnet.space)
    compiled = compiled_codes(subnet, [*changes, *held_out], target, cache, say, workers)
    cycles = fitted(subnet, [compiled[code] for code in changes])
    judged = tuple(HeldOut(code, compiled[code].cycles, cycles.of(code)) for code in held_out)
    return Surveyed(cycles, judged, compiled)


def compiled_codes(
    subnet: Subnet,
    codes: Sequence[ArchCode],
    target: Target,
    cache: Path,
    say: Callable[[str], None],
    workers: int | None = None,
) -> dict[ArchCode, ChipCost]:
    """Costs of some subnets by code, arguments as of `survey`.

    Raises:
        UserError: as `survey`.
    """
    costs = chip_costs([replace(subnet, code=code) for code in codes], target, cache, workers, say)
    for code, cost in zip(codes, costs, strict=True):
        if cost.ms is None:
            faults = "; ".join(cost.misfits(target))
            raise UserError(f"subnet {format_code(code)} has no known time on target {target.name}: {faults}")
    return dict(zip(codes, costs, strict=True))
