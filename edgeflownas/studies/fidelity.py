"""Compare the supernet's ranking of subnets with that of the same subnets trained alone from scratch.

`<alone>/<digits>_seed<k>` are the run directories of the subnets; each FILE is a supernet's `supernet_eval.json` over
them. It reports numbers and has no criterion: with few subnets the intervals are wide. A scatter plot is written next
to the report.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.artifacts import read_json, write_json, write_text
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.arch_codec import parse_code
from edgeflownas.nas.ranking import agreement, ceiling
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.network.cost import subnet_cost
from edgeflownas.parsers import command_parser
from edgeflownas.reporting.plots import CYCLE, SOFT, draw_svg
from edgeflownas.runs.pool_names import mean_epe
from edgeflownas.studies.runs import read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def fidelity_report(
    supernets: Mapping[str, Mapping[str, Any]], alone: Path, seeds: Sequence[int], space_name: str
) -> dict[str, Any]:
    """The content of `fidelity.json`.

    Args:
        supernets: `supernet_eval.json` of each supernet over the same subnets.
        alone: folder of the subnets' run directories.
        seeds: with which each was trained.

    Raises:
        UserError: a run is missing, or the supernets evaluated different subnets.
    """
    space = load_search_space(space_name)
    first, *others = supernets.values()
    codes = [row["code"] for row in first["subnets"]]
    if any([row["code"] for row in other["subnets"]] != codes for other in others):
        raise UserError("the supernets evaluated different subnets; evaluate them with the same --arch")
    runs = [[read_run(alone / f"{code.replace(',', '')}_seed{seed}") for seed in seeds] for code in codes]
    shape = runs[0][0].manifest["input_shape"]
    width = runs[0][0].manifest["init_neurons"]
    epes = np.array([[mean_epe(run.last) for run in row] for row in runs])
    judged = {name: [row["epe"] for row in result["subnets"]] for name, result in supernets.items()}
    subnets = [
        {
            "code": code,
            **subnet_cost(space, parse_code(code, space), shape[0], shape[1], width),
            "alone_epe": epes[index].tolist(),
            "supernet_epe": {name: values[index] for name, values in judged.items()},
        }
        for index, code in enumerate(codes)
    ]
    return {
        "search_space": space.name,
        "seeds": list(seeds),
        "steps": {
            "alone": runs[0][0].manifest["global_step"],
            **{name: result["checkpoint"]["global_step"] for name, result in supernets.items()},
        },
        "config_hash": {name: result["checkpoint"]["config_hash"] for name, result in supernets.items()},
        "device": runs[0][0].manifest["device"]["name"],
        "zero_flow_epe": first["zero_flow_epe"],
        "ceiling_tau": ceiling(epes.T.tolist()),
        "agreement": {name: agreement(values, epes.mean(axis=1).tolist()).to_json() for name, values in judged.items()},
        "subnets": subnets,
    }


def draw_scatter(report: Mapping[str, Any]) -> str:
    """EPE by the supernet against EPE alone (mean, and every seed as a tick), as SVG."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(1, len(report["agreement"]), squeeze=False)[0]
        for axis, colour, (name, found) in zip(axes, CYCLE, report["agreement"].items(), strict=False):
            for subnet in report["subnets"]:
                mean, epe = float(np.mean(subnet["alone_epe"])), subnet["supernet_epe"][name]
                axis.plot(subnet["alone_epe"], [epe] * len(subnet["alone_epe"]), "|-", color=SOFT, linewidth=0.8)
                axis.plot(mean, epe, "o", color=colour)
                axis.annotate(
                    subnet["code"].replace(",", ""),
                    (mean, epe),
                    xytext=(4, 4),
                    textcoords="offset points",
                    fontsize=6.5,
                )
            axis.set_title(f"{name}: τ {_number(found['tau'])}")
            axis.set_xlabel("EPE trained alone, px")
            axis.set_ylabel("EPE by the supernet, px")

    return draw_svg(draw, height=3.4)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _interval(values: Sequence[float] | None) -> str:
    return "unknown" if values is None else f"{values[0]:.2f} to {values[1]:.2f}"


def print_report(report: Mapping[str, Any]) -> None:
    """The report as tables."""
    names = list(report["agreement"])
    print(f"{'arch code':20}{'MMACs':>8}  {'alone, px (per seed)':28}" + "".join(f"{name:>22}" for name in names))
    for subnet in report["subnets"]:
        alone = " ".join(f"{epe:.3f}" for epe in subnet["alone_epe"])
        print(
            f"{subnet['code']:20}{subnet['macs'] / 1e6:8.0f}  {alone:28}"
            + "".join(f"{subnet['supernet_epe'][name]:22.3f}" for name in names)
        )
    for name, found in report["agreement"].items():
        worst = report["subnets"][found["worst"]]["code"]
        print(
            f"{name}: tau {_number(found['tau'])} ({_interval(found['tau_interval'])}), rho {_number(found['rho'])} "
            f"({_interval(found['rho_interval'])}), largest rank error {found['rank_error']:g} ({worst})"
        )
    print(
        f"tau between seeds of training alone, which is the ceiling: {_number(report['ceiling_tau'])}; "
        f"zero-flow EPE {report['zero_flow_epe']:.3f} px; steps {report['steps']}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's text."""
    parser = command_parser(
        "edgeflownas.studies.fidelity",
        __doc__.splitlines()[0],
        ("--space edgeflow_9x3 --alone runs/alone --seeds 1 2 --supernet strict=strict.json --out fidelity.json",),
    )
    parser.add_argument("--space", required=True, help="name or file of the supernet's search space")
    parser.add_argument("--alone", type=Path, required=True, metavar="DIR", help="where the subnets' runs lie")
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="with which each of them was trained")
    parser.add_argument("--supernet", nargs="+", required=True, metavar="NAME=FILE", help="evaluations over them")
    parser.add_argument("--out", type=require_writable, required=True, help="the report; the plot is next to it, .svg")
    arguments = parser.parse_args(argv)
    files = dict(word.partition("=")[::2] for word in arguments.supernet)
    supernets = {name: read_json(file, schema="supernet_eval.schema.json") for name, file in files.items()}
    report = fidelity_report(supernets, arguments.alone, arguments.seeds, arguments.space)
    write_text(arguments.out.with_suffix(".svg"), draw_scatter(report))
    write_json(arguments.out, report, schema="fidelity.schema.json")
    print_report(report)
    print(f"written to {arguments.out} and {arguments.out.with_suffix('.svg')}")
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
