"""The command that runs random subnets at any resolution and checks their outputs."""

import argparse
from collections.abc import Sequence
from typing import Any

from edgeflownas.artifacts import write_json
from edgeflownas.command_line import add_config_flags, config_from_flags
from edgeflownas.config import Config
from edgeflownas.errors import EXIT_CHECK_FAILED, EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.fair_sampler import independent_paths
from edgeflownas.nas.search_space import ArchCode, SearchSpace, load_search_space
from edgeflownas.network.stages import FLOW_CHANNELS, INPUT_CHANNELS, network_stages, size_at
from edgeflownas.parsers import add_json_flag, command_parser, print_json

SCHEMA = "model_shape_check.schema.json"


def random_codes(space: SearchSpace, seed: int, count: int) -> list[ArchCode]:
    """`count` uniform arch codes, a pure function of the seed; no code twice as long as the space has enough."""
    codes: list[ArchCode] = []
    step = 0
    while len(codes) < count:
        for path in independent_paths(space, seed, step):
            code = tuple(int(digit) for digit in path)
            if code not in codes or len(set(codes)) == space.size:
                codes.append(code)
        step += 1
    return codes[:count]


def check_shapes(
    config: Config, space: SearchSpace, codes: Sequence[ArchCode], height: int, width: int, batch: int
) -> list[dict[str, Any]]:
    """Run every subnet on one random batch of `batch` inputs of `height` × `width` pixels.

    Returns:
        Per subnet: `code`, `shapes` per scale (coarse to fine, without the path axis), and `faults` in words.
    """
    import numpy as np
    from keras import ops

    from edgeflownas.network.flow_network import NetworkSettings, network_of
    from edgeflownas.network.routes import FixedPath
    from edgeflownas.network.statistics import BatchStatistics

    settings = config.view(NetworkSettings)
    network = network_of(config, space)
    shape = (batch, height, width, INPUT_CHANNELS)
    frames = np.random.Generator(np.random.Philox(key=settings.seed)).uniform(-1, 1, shape).astype("float32")
    heads = [stage for stage in network_stages(space, settings.init_neurons) if stage.head]
    expected = [[batch, *size_at(head.scale, height, width), FLOW_CHANNELS] for head in heads]
    results = []
    for code in codes:
        flows = network(ops.convert_to_tensor(frames), route=FixedPath(code), statistics=BatchStatistics())
        shapes = [list(flow.shape[1:]) for flow in flows]
        faults = [] if shapes == expected else [f"expected shapes {expected}"]
        faults += [f"scale {i} is not finite" for i, flow in enumerate(flows) if not bool(ops.all(ops.isfinite(flow)))]
        results.append({"code": format_code(code), "shapes": shapes, "faults": faults})
    return results


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.nas.model_shape_check",
        "Run random subnets and check that their outputs have the right shapes and are finite.",
        ("--h 180 --w 240 --batch 2 --samples 20", "--config config/config.yaml --samples 3 --json"),
    )
    add_config_flags(parser)
    parser.add_argument("--h", type=int, default=180, help="input height, pixels (%(default)s)")
    parser.add_argument("--w", type=int, default=240, help="input width, pixels (%(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="inputs per subnet (%(default)s)")
    parser.add_argument("--samples", type=int, default=20, help="number of random subnets (%(default)s)")
    parser.add_argument("--out", type=require_writable, help="write the results as JSON")
    add_json_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.nas.model_shape_check`."""
    arguments = _parser().parse_args(argv)
    for name, smallest in (("h", 8), ("w", 8), ("batch", 1), ("samples", 1)):
        if getattr(arguments, name) < smallest:
            raise UserError(f"--{name} must be at least {smallest}, got {getattr(arguments, name)}")
    config = config_from_flags(arguments, {})
    space = load_search_space(config["network.search_space"])

    from edgeflownas.devices import prepare_backend

    prepare_backend(config)
    codes = random_codes(space, config["seed"], arguments.samples)
    results = check_shapes(config, space, codes, arguments.h, arguments.w, arguments.batch)
    report = {"height": arguments.h, "width": arguments.w, "subnets": results}
    if arguments.out:
        write_json(arguments.out, report, schema=SCHEMA)
    failed = sum(bool(result["faults"]) for result in results)
    if arguments.json:
        print_json(report)
    else:
        for result in results:
            shapes = " ".join("×".join(map(str, shape)) for shape in result["shapes"])
            print(f"{result['code']}  {shapes}  {'; '.join(result['faults']) or 'ok'}")
        print(f"{len(results) - failed} of {len(results)} subnets of {space.name} ok at {arguments.h}×{arguments.w}")
    return EXIT_CHECK_FAILED if failed else EXIT_DONE


if __name__ == "__main__":
    run_command(main)
