"""The command that computes what a subnet costs: counted without building it, and on a chip by its compiler."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.deploy.chip_costs import DEFAULT_CACHE, chip_costs
from edgeflownas.deploy.peak import fit
from edgeflownas.deploy.subnet import OUTPUTS, PRECISIONS, RESIZES, Subnet
from edgeflownas.deploy.targets import Target, load_target
from edgeflownas.errors import EXIT_DONE, UserError, require_writable_folder, run_command
from edgeflownas.nas.arch_codec import format_code, parse_code
from edgeflownas.nas.search_space import DEFAULT_SEARCH_SPACE, load_search_space
from edgeflownas.network.cost import subnet_cost, supernet_params
from edgeflownas.parsers import command_parser, print_json


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.nas.cost",
        "Print trainable parameters and multiply-accumulates of a subnet, and of the supernet, as JSON; with --target, "
        "compile it with untrained weights and print time and memory on that chip, too.",
        (
            "--arch 0,0,0,0,2,1,2,2,2 --h 180 --w 240",
            "--supernet --width 32",
            "--arch 000021222 --h 144 --w 192 --target grove_vision_ai_v2",
        ),
    )
    parser.add_argument("--space", default=DEFAULT_SEARCH_SPACE, help="name or file of the search space (%(default)s)")
    parser.add_argument("--arch", metavar="CODE", help="arch code of the subnet, for example 0,0,0,0,2,1,2,2,2")
    parser.add_argument("--h", type=int, default=180, help="input height, pixels (%(default)s)")
    parser.add_argument("--w", type=int, default=240, help="input width, pixels (%(default)s)")
    parser.add_argument("--width", type=int, default=32, help="base width of the network, init_neurons (%(default)s)")
    parser.add_argument("--supernet", action="store_true", help="also print the supernet's parameters")
    parser.add_argument("--target", metavar="NAME|FILE", help="a chip: name of a file in config/targets/, or a .yaml")
    parser.add_argument(
        "--output", choices=OUTPUTS, default="sum", help="with --target: as deploy.output (%(default)s)"
    )
    parser.add_argument(
        "--resize", choices=RESIZES, default="exact", help="with --target: as deploy.resize (%(default)s)"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="int8", help="with --target: as deploy.precision (%(default)s)"
    )
    cache = "with --target: where results are kept, and found again (%(default)s)"
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, metavar="FOLDER", help=cache)
    return parser


def cost_on_chip(subnet: Subnet, target: Target, cache: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """What a subnet costs on a chip, as the command prints it.

    Raises:
        UserError: the compiler or the converter is not installed, or refuses.
    """
    cost = chip_costs([subnet], target, cache, say=say)[0]
    summary = cost.summary(target)
    if remedy := fit(subnet, target).fault:
        summary["why_not"].append(remedy)
    return {"target": target.name, **summary}


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.nas.cost`."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    for name, value, smallest in (("h", arguments.h, 8), ("w", arguments.w, 8), ("width", arguments.width, 2)):
        if value < smallest:
            raise UserError(f"--{name} must be at least {smallest}, got {value}")
    if arguments.arch is None and not arguments.supernet:
        parser.error("give --arch CODE, --supernet, or both")
    if arguments.target is not None and arguments.arch is None:
        parser.error("--target needs --arch CODE: a subnet is compiled, not the supernet")
    space = load_search_space(arguments.space)
    report: dict[str, object] = {"height": arguments.h, "width": arguments.w, "init_neurons": arguments.width}
    if arguments.arch is not None:
        code = parse_code(arguments.arch, space)
        report |= {"arch": format_code(code), **subnet_cost(space, code, arguments.h, arguments.w, arguments.width)}
        if arguments.target is not None:
            require_writable_folder(arguments.cache)
            form = (arguments.output, arguments.resize, arguments.precision)
            subnet = Subnet(space, code, arguments.width, arguments.h, arguments.w, *form)
            target = load_target(arguments.target)
            report |= cost_on_chip(subnet, target, arguments.cache, lambda line: print(line, file=sys.stderr))
    if arguments.supernet:
        report["supernet_params"] = supernet_params(space, arguments.width)
    print_json(report)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
