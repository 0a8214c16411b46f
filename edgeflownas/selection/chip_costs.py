"""The command that says what every subnet of an evaluated search space takes on a chip.

It compiles a few tens of subnets with untrained weights, predicts the others, and leaves what
`selection.chip_tables` describes.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.command_line import add_config_flags, config_from_flags
from edgeflownas.deploy.additive import Surveyed, compiled_codes, survey
from edgeflownas.deploy.chip_costs import DEFAULT_CACHE
from edgeflownas.deploy.subnet import Subnet
from edgeflownas.deploy.targets import Target, load_target
from edgeflownas.deploy.vela import ChipCost, vela_version
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, UserError, require_writable_folder, run_command
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.search_space import ArchCode
from edgeflownas.parsers import command_parser

if TYPE_CHECKING:
    import pandas as pd

    from edgeflownas.selection.chip_tables import ChipSettings
    from edgeflownas.selection.tables import Evaluated

EXACT, SHARED = 0.001, 0.03
"""Largest error of the additive model where the arena holds the peak, and where layers share it."""
EXAMPLES = (
    "--evaluated outputs/supernet/runs/supernet/selection",
    "--evaluated outputs/supernet/runs/supernet/selection --set target=my_board.yaml --out for_my_board",
)


def allowed_error(chip: Mapping[str, Any], sram_kib: float) -> float:
    """How far a prediction of the additive model may be off, as a share.

    Args:
        chip: as `Target.facts`.
        sram_kib: the peak. Where Vela optimises for speed and the arena holds it, it plans every layer for itself.
    """
    return EXACT if chip["optimise"] == "Performance" and sram_kib <= chip["sram_kib"] else SHARED


def costs_of_space(
    evaluated: "Evaluated",
    settings: "ChipSettings",
    named: Sequence[ArchCode],
    cache: Path,
    say: Callable[[str], None],
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Milliseconds of every subnet on a chip; those on the front of milliseconds and EPE are compiled themselves.

    Args:
        evaluated: the space.
        settings: which chip, and in which form subnets go there.
        named: other subnets that are compiled themselves.
        cache: where results of compilations are kept.
        say: called with a line about what happens.

    Returns:
        The table and the facts that `write_chip_costs` takes.

    Raises:
        UserError: there is no target, the compiler or the converter is not installed, or operators run on the CPU.
    """
    from edgeflownas.selection.front import front_rows
    from edgeflownas.selection.tables import TABLE, all_codes

    if settings.target is None:
        raise UserError("target is null: name a chip, for example --set target=grove_vision_ai_v2")
    target = load_target(settings.target)
    facts, space = evaluated.facts, evaluated.space
    size = (facts["init_neurons"], facts["height"], facts["width"])
    subnet = Subnet(space, space.reference, *size, settings.output, settings.resize, settings.precision)
    surveyed = survey(subnet, target, cache, say)
    codes = all_codes(space)
    rows = {code: row for row, code in enumerate(codes)}
    cycles = surveyed.cycles.of_all().astype(np.float64)
    compiled = dict(surveyed.compiled)
    epe = evaluated.table["epe"].to_numpy()
    for code, cost in compiled.items():
        cycles[rows[code]] = cost.cycles
    # Compiling the front moves it a little, so that others may come to lie on it: until all of it is compiled.
    wanted = [code for code in named if code not in compiled]
    while missing := [*wanted, *(codes[row] for row in front_rows(cycles, epe) if codes[row] not in compiled)]:
        say(f"{len(missing)} subnets of the front, or picked by name, are compiled themselves")
        compiled |= compiled_codes(subnet, list(dict.fromkeys(missing)), target, cache, say)
        for code in missing:
            cycles[rows[code]] = compiled[code].cycles
        wanted = []
    table = evaluated.table.copy()
    table["ms"] = cycles / target.clock_mhz / 1e3
    for column, marked in (("compiled", [rows[code] for code in compiled]), ("on_front", front_rows(cycles, epe))):
        table[column] = False
        table.loc[marked, column] = True
    found = {"evaluated": facts["files"][TABLE], **settings.facts()}
    return table, found | _facts(subnet, target, surveyed, compiled)


def _facts(subnet: Subnet, target: Target, surveyed: Surveyed, compiled: Mapping[ArchCode, ChipCost]) -> dict[str, Any]:
    held_out = [
        {"code": format_code(one.code), "cycles": one.compiled, "predicted": one.predicted, "error": one.error}
        for one in surveyed.held_out
    ]
    errors = [one.error for one in surveyed.held_out]
    faults = sorted({fault for cost in compiled.values() for fault in cost.misfits(target)})
    sram_kib = max(cost.sram_kib for cost in compiled.values())
    bound = allowed_error(target.facts(), sram_kib)
    if errors and max(errors) > bound:
        faults.append(f"predicted cycles of held-out subnets are off by up to {max(errors):.2%}, expected {bound:.1%}")
    return {
        "vela": vela_version(),
        "init_neurons": subnet.init_neurons,
        "height": subnet.height,
        "width": subnet.width,
        "reference": {"code": format_code(subnet.space.reference), "cycles": surveyed.cycles.reference},
        "differences": {
            block.name: list(differences)
            for block, differences in zip(subnet.space.blocks, surveyed.cycles.differences, strict=True)
        },
        "held_out": held_out,
        "mean_error": float(np.mean(errors)) if errors else 0.0,
        "max_error": max(errors, default=0.0),
        "compiled": [
            {
                "code": format_code(code),
                "cycles": cost.cycles,
                "sram_kib": cost.sram_kib,
                "flash_kib": cost.flash_kib,
                "cpu_operators": list(cost.cpu_operators),
            }
            for code, cost in sorted(compiled.items())
        ],
        "sram_kib": sram_kib,
        "flash_kib": max(cost.flash_kib for cost in compiled.values()),
        "faults": faults,
    }


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.selection.chip_costs",
        "Add milliseconds on the target of the configuration to the table of an evaluated search space: a few tens of "
        "subnets are compiled, the others predicted from them. Exit code 1 if they do not fit the chip, or the "
        "prediction is too far off.",
        EXAMPLES,
    )
    add_config_flags(parser)
    add = parser.add_argument
    add("--evaluated", type=Path, required=True, metavar="FOLDER", help="where nas.space_eval wrote subnets.csv")
    add("--out", type=Path, metavar="FOLDER", help="where to write (the folder of --evaluated)")
    cache = "where results of compilations are kept, and found again (%(default)s)"
    add("--cache", type=Path, default=DEFAULT_CACHE, metavar="FOLDER", help=cache)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.selection.chip_costs`."""
    arguments = _parser().parse_args(argv)
    config = config_from_flags(arguments, {})
    out = require_writable_folder(arguments.out or arguments.evaluated)
    require_writable_folder(arguments.cache)

    from edgeflownas.selection.chip_tables import TABLE, ChipSettings, write_chip_costs
    from edgeflownas.selection.selecting import SelectionSettings, named_codes
    from edgeflownas.selection.tables import read_evaluated

    evaluated = read_evaluated(arguments.evaluated)
    named = named_codes(config.view(SelectionSettings).picks, evaluated.space)
    settings = config.view(ChipSettings)
    table, facts = costs_of_space(
        evaluated, settings, named, arguments.cache, lambda line: print(line, file=sys.stderr)
    )
    write_chip_costs(out, table, facts)
    print(
        f"{len(table)} subnets take {table['ms'].min():.1f} to {table['ms'].max():.1f} ms on {facts['target']}; "
        f"{len(facts['compiled'])} compiled, error of the prediction {facts['mean_error']:.2%} on average, "
        f"{facts['max_error']:.2%} at most over {len(facts['held_out'])} held-out subnets"
    )
    print(f"at most {facts['sram_kib']:,.0f} KiB of SRAM and {facts['flash_kib']:,.0f} KiB of flash")
    for fault in facts["faults"]:
        print(f"failed: {fault}")
    print(f"written to {out / TABLE}")
    return EXIT_CHECK_FAILED if facts["faults"] else EXIT_DONE


if __name__ == "__main__":
    run_command(main)
