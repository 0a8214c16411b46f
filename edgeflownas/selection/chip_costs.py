"""The command that says what every subnet of an evaluated search space takes on a chip.

It compiles a few tens of subnets with untrained weights, predicts the others, and leaves in the folder

- `chip_costs.csv`: the table of the evaluated space with `ms`, `compiled` (1 where the figure is the compiler's own)
  and `on_ms_front`;
- `chip_costs.json` (`schemas/chip_costs.schema.json`): target, additive model, its error, and what does not fit.
"""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.artifacts import read_json, sha256_file, write_json, write_text
from edgeflownas.deploy.additive import Surveyed, compiled_codes, survey
from edgeflownas.deploy.chip_costs import DEFAULT_CACHE
from edgeflownas.deploy.subnet import OUTPUTS, PRECISIONS, RESIZES, Subnet
from edgeflownas.deploy.targets import Target, load_target
from edgeflownas.deploy.vela import vela_version
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.parsers import command_parser

if TYPE_CHECKING:
    import pandas as pd

    from edgeflownas.selection.tables import Evaluated

TABLE, FACTS = "chip_costs.csv", "chip_costs.json"
SCHEMA = "chip_costs.schema.json"
EXACT, SHARED = 0.001, 0.03
"""Largest error of the additive model where the arena holds the peak, and where layers share it."""
EXAMPLES = (
    "--evaluated outputs/supernet/runs/supernet/selection --target grove_vision_ai_v2",
    "--evaluated outputs/supernet/runs/supernet/selection --target my_board.yaml --out for_my_board",
)


def costs_of_space(
    evaluated: "Evaluated",
    target: Target,
    output: str,
    resize: str,
    precision: str,
    cache: Path,
    say: Callable[[str], None],
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Milliseconds of every subnet on a chip; those on the front of milliseconds and EPE are compiled themselves.

    Args:
        evaluated: the space.
        target: the chip.
        output: as `deploy.output`.
        resize: as `deploy.resize`.
        precision: as `deploy.precision`.
        cache: where results of compilations are kept.
        say: called with a line about what happens.

    Returns:
        The table of `chip_costs.csv`, and the content of `chip_costs.json` without `files`.

    Raises:
        UserError: the compiler or the converter is not installed, or operators run on the CPU.
    """
    from edgeflownas.selection.front import front_rows
    from edgeflownas.selection.tables import all_codes

    facts, space = evaluated.facts, evaluated.space
    size = (facts["init_neurons"], facts["height"], facts["width"])
    subnet = Subnet(space, space.reference, *size, output, resize, precision)
    surveyed = survey(subnet, target, cache, say)
    codes = all_codes(space)
    rows = {code: row for row, code in enumerate(codes)}
    cycles = surveyed.cycles.of_all().astype(np.float64)
    compiled = dict(surveyed.compiled)
    epe = evaluated.table["epe"].to_numpy()
    for code, cost in compiled.items():
        cycles[rows[code]] = cost.cycles
    # Compiling the front moves it a little, so that others may come to lie on it: until all of it is compiled.
    while missing := [codes[row] for row in front_rows(cycles, epe) if codes[row] not in compiled]:
        say(f"{len(missing)} subnets of the front are compiled themselves")
        compiled |= compiled_codes(subnet, missing, target, cache, say)
        for code in missing:
            cycles[rows[code]] = compiled[code].cycles
    table = evaluated.table.copy()
    table["ms"] = cycles / target.clock_mhz / 1e3
    table["compiled"] = 0
    table.loc[[rows[code] for code in compiled], "compiled"] = 1
    table["on_ms_front"] = 0
    table.loc[front_rows(cycles, epe), "on_ms_front"] = 1
    table["on_front"] = table["on_front"].astype(int)
    return table, _facts(subnet, target, surveyed, compiled)


@dataclass(frozen=True)
class ChipTable:
    """What `chip_costs.csv` and `chip_costs.json` hold. ms: (subnets,) in the order of the evaluated table."""

    ms: np.ndarray
    facts: dict[str, Any]


def read_chip_costs(folder: Path, evaluated: "Evaluated") -> ChipTable:
    """Read what the command wrote about an evaluated space.

    Raises:
        UserError: a file is missing, was changed since, or is of another evaluation.
    """
    import pandas as pd

    facts = read_json(folder / FACTS, schema=SCHEMA)
    path = folder / TABLE
    if not path.is_file():
        raise UserError(f"{path}: is missing, {FACTS} names it; compute the costs again")
    if sha256_file(path) != facts["files"].get(TABLE):
        raise UserError(f"{path}: was changed since it was computed; compute the costs again")
    table = pd.read_csv(path, dtype={"code": str})
    same = all(evaluated.facts[key] == facts[key] for key in ("init_neurons", "height", "width"))
    if not (same and table["code"].equals(evaluated.table["code"]) and table["macs"].equals(evaluated.table["macs"])):
        raise UserError(f"{path}: is of another search space or network than was evaluated; compute the costs again")
    return ChipTable(table["ms"].to_numpy(np.float64), facts)


def _facts(subnet: Subnet, target: Target, surveyed: Surveyed, compiled: dict[Any, Any]) -> dict[str, Any]:
    held_out = [
        {"code": format_code(one.code), "cycles": one.compiled, "predicted": one.predicted, "error": one.error}
        for one in surveyed.held_out
    ]
    errors = [one.error for one in surveyed.held_out]
    faults = sorted({fault for cost in compiled.values() for fault in cost.misfits(target)})
    bound = EXACT if target.optimise == "Performance" and not faults else SHARED
    if errors and max(errors) > bound:
        faults.append(f"predicted cycles of held-out subnets are off by up to {max(errors):.2%}, expected {bound:.1%}")
    blocks = {
        block.name: list(differences)
        for block, differences in zip(subnet.space.blocks, surveyed.cycles.differences, strict=True)
    }
    return {
        "target": target.name,
        "vela": vela_version(),
        "clock_mhz": target.clock_mhz,
        "output": subnet.output,
        "resize": subnet.resize,
        "precision": subnet.precision,
        "init_neurons": subnet.init_neurons,
        "height": subnet.height,
        "width": subnet.width,
        "reference": {"code": format_code(subnet.space.reference), "cycles": surveyed.cycles.reference},
        "differences": blocks,
        "held_out": held_out,
        "mean_error": float(np.mean(errors)) if errors else 0.0,
        "max_error": max(errors, default=0.0),
        "compiled": len(compiled),
        "sram_kib": max(cost.sram_kib for cost in compiled.values()),
        "flash_kib": max(cost.flash_kib for cost in compiled.values()),
        "faults": faults,
    }


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.selection.chip_costs",
        "Add milliseconds on a chip to the table of an evaluated search space: a few tens of subnets are compiled, the "
        "others predicted from them. Exit code 1 if they do not fit the chip, or the prediction is too far off.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("--evaluated", type=Path, required=True, metavar="FOLDER", help="where nas.space_eval wrote subnets.csv")
    add("--target", required=True, metavar="NAME|FILE", help="the chip: name of a file in config/targets/, or a .yaml")
    add("--output", choices=OUTPUTS, default="sum", help="as deploy.output (%(default)s)")
    add("--resize", choices=RESIZES, default="exact", help="as deploy.resize (%(default)s)")
    add("--precision", choices=PRECISIONS, default="int8", help="as deploy.precision (%(default)s)")
    add("--out", type=Path, metavar="FOLDER", help="where to write (the folder of --evaluated)")
    cache = "where results of compilations are kept, and found again (%(default)s)"
    add("--cache", type=require_writable, default=DEFAULT_CACHE, metavar="FOLDER", help=cache)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.selection.chip_costs`."""
    arguments = _parser().parse_args(argv)
    target = load_target(arguments.target)
    out = arguments.out or arguments.evaluated
    require_writable(out / TABLE)

    from edgeflownas.selection.tables import read_evaluated

    evaluated = read_evaluated(arguments.evaluated)
    table, facts = costs_of_space(
        evaluated,
        target,
        arguments.output,
        arguments.resize,
        arguments.precision,
        arguments.cache,
        lambda line: print(line, file=sys.stderr),
    )
    text = io.StringIO()
    table.to_csv(text, index=False, lineterminator="\n")
    write_text(out / TABLE, text.getvalue())
    write_json(out / FACTS, {**facts, "files": {TABLE: sha256_file(out / TABLE)}}, schema=SCHEMA)
    print(
        f"{len(table)} subnets take {table['ms'].min():.1f} to {table['ms'].max():.1f} ms on {target.name}; "
        f"{facts['compiled']} compiled, error of the prediction {facts['mean_error']:.2%} on average, "
        f"{facts['max_error']:.2%} at most over {len(facts['held_out'])} held-out subnets"
    )
    print(f"at most {facts['sram_kib']:,.0f} KiB of SRAM and {facts['flash_kib']:,.0f} KiB of flash")
    for fault in facts["faults"]:
        print(f"failed: {fault}")
    print(f"written to {out / TABLE}")
    return EXIT_CHECK_FAILED if facts["faults"] else EXIT_DONE


if __name__ == "__main__":
    run_command(main)
