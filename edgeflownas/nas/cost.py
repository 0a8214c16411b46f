"""The command that computes what a subnet costs, without building it."""

import argparse
from collections.abc import Sequence

from edgeflownas.errors import EXIT_DONE, UserError, run_command
from edgeflownas.nas.arch_codec import format_code, parse_code
from edgeflownas.nas.search_space import DEFAULT_SEARCH_SPACE, load_search_space
from edgeflownas.network.cost import subnet_cost, supernet_params
from edgeflownas.parsers import command_parser, print_json


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.nas.cost",
        "Print trainable parameters and multiply-accumulates of a subnet, and of the supernet, as JSON.",
        ("--arch 0,0,0,0,2,1,2,2,2 --h 180 --w 240", "--supernet --width 32"),
    )
    parser.add_argument("--space", default=DEFAULT_SEARCH_SPACE, help="name or file of the search space (%(default)s)")
    parser.add_argument("--arch", metavar="CODE", help="arch code of the subnet, for example 0,0,0,0,2,1,2,2,2")
    parser.add_argument("--h", type=int, default=180, help="input height, pixels (%(default)s)")
    parser.add_argument("--w", type=int, default=240, help="input width, pixels (%(default)s)")
    parser.add_argument("--width", type=int, default=32, help="base width of the network, init_neurons (%(default)s)")
    parser.add_argument("--supernet", action="store_true", help="also print the supernet's parameters")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.nas.cost`."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    for name, value, smallest in (("h", arguments.h, 8), ("w", arguments.w, 8), ("width", arguments.width, 2)):
        if value < smallest:
            raise UserError(f"--{name} must be at least {smallest}, got {value}")
    if arguments.arch is None and not arguments.supernet:
        parser.error("give --arch CODE, --supernet, or both")
    space = load_search_space(arguments.space)
    report: dict[str, object] = {"height": arguments.h, "width": arguments.w, "init_neurons": arguments.width}
    if arguments.arch is not None:
        code = parse_code(arguments.arch, space)
        report |= {"arch": format_code(code), **subnet_cost(space, code, arguments.h, arguments.w, arguments.width)}
    if arguments.supernet:
        report["supernet_params"] = supernet_params(space, arguments.width)
    print_json(report)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
