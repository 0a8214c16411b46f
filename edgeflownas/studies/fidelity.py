"""Compare the supernet's ranking of subnets with that of the same subnets trained alone from scratch.

`<alone>/<digits>_seed<k>` are the run directories of the subnets; each FILE is a supernet's `supernet_eval.json` over
them. It reports numbers and has no criterion: with few subnets the intervals are wide. A scatter plot is written next
to the report.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.artifacts import read_json, write_json, write_text
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.nas.arch_codec import parse_code
from edgeflownas.nas.ranking import agreement, attainable_tau, ceiling, kendall_tau
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
    means = epes.mean(axis=1)
    deviation, error = float(means.std(ddof=1)), seeds_error(epes) if len(seeds) > 1 else None
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
        "zero_flow_epe": runs[0][0].last["zero_flow_epe"],
        "ceiling_tau": ceiling(epes.T.tolist()),
        "alone": {
            "spread": float(np.ptp(means)),
            "std": deviation,
            "error": error,
            "attainable_tau": None if error is None else attainable_tau(deviation, error),
        },
        "agreement": {
            name: {
                **agreement(values, means.tolist()).to_json(),
                **regret(values, means),
                "tau_first": kendall_tau(values, next(iter(judged.values()))),
                **{key: supernets[name][key] for key in ("std_epe", "noise_epe", "samples", "bn_recal_batches")},
            }
            for name, values in judged.items()
        },
        "subnets": subnets,
    }


def seeds_error(epes: np.ndarray) -> float:
    """Standard error of a subnet's mean over its seeds, relative to the other subnets, pixels.

    What a seed does to all subnets alike (its order of samples, its crops) ranks none of them and is left out: the
    residuals are those of a two-way table without replication.

    Args:
        epes: (subnets, seeds), two or more of each.
    """
    subnets, seeds = epes.shape
    left = epes - epes.mean(axis=0) - epes.mean(axis=1, keepdims=True) + epes.mean()
    return float(np.sqrt((left**2).sum() / ((subnets - 1) * (seeds - 1)) / seeds))


COLUMNS = 3
"""Of the scatter plots."""


def regret(foretold: Sequence[float], actual: np.ndarray) -> dict[str, float]:
    """How much worse than the best subnet the supernet's pick is, when both are trained alone.

    Args:
        foretold: by the supernet, (subnets,), pixels.
        actual: trained alone, (subnets,), pixels.

    Returns:
        `regret` in pixels, and `regret_share` of the difference between the best and the worst subnet.
    """
    lost = float(actual[int(np.argmin(foretold))] - actual.min())
    between = float(np.ptp(actual))
    return {"regret": lost, "regret_share": lost / between if between > 0.0 else 0.0}


def draw_scatter(report: Mapping[str, Any]) -> str:
    """EPE by the supernet against EPE alone (mean, and every seed as a tick), as SVG."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(-(-len(report["agreement"]) // COLUMNS), COLUMNS, squeeze=False).ravel()
        for axis in axes[len(report["agreement"]) :]:
            axis.remove()
        for axis, colour, (name, found) in zip(axes, itertools.cycle(CYCLE), report["agreement"].items(), strict=False):
            for subnet in report["subnets"]:
                mean, epe = float(np.mean(subnet["alone_epe"])), subnet["supernet_epe"][name]
                axis.plot(subnet["alone_epe"], [epe] * len(subnet["alone_epe"]), "|-", color=SOFT, linewidth=0.8)
                axis.plot(mean, epe, "o", color=colour)
            axis.set_title(f"{name}: τ {_number(found['tau'])}")
            axis.set_xlabel("EPE trained alone, px")
            axis.set_ylabel("EPE by the supernet, px")

    return draw_svg(draw, height=3.0 * -(-len(report["agreement"]) // COLUMNS))


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _interval(values: Sequence[float] | None) -> str:
    return "unknown" if values is None else f"{values[0]:.2f} to {values[1]:.2f}"


def print_report(report: Mapping[str, Any]) -> None:
    """The report as tables."""
    names = list(report["agreement"])
    widths = [max(len(name), 6) + 2 for name in names]
    print(
        f"{'arch code':20}{'MMACs':>8}  {'alone, px (per seed)':28}"
        + "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    )
    for subnet in report["subnets"]:
        alone = " ".join(f"{epe:.3f}" for epe in subnet["alone_epe"])
        print(
            f"{subnet['code']:20}{subnet['macs'] / 1e6:8.0f}  {alone:28}"
            + "".join(f"{subnet['supernet_epe'][name]:{width}.3f}" for name, width in zip(names, widths, strict=True))
        )
    print(
        f"\n{'supernet':18}{'tau':>6}{'95%':>16}{'rho':>6}{'rank error':>12}{'regret, px':>12}{'share':>7}{'spread':>8}"
        f"{'noise':>7}{'samples':>9}{'batches':>9}{'tau to first':>14}"
    )
    for name, found in report["agreement"].items():
        print(
            f"{name:18}{_number(found['tau']):>6}{_interval(found['tau_interval']):>16}{_number(found['rho']):>6}"
            f"{found['rank_error']:12g}{found['regret']:12.3f}{found['regret_share']:7.0%}{found['std_epe']:8.3f}"
            f"{found['noise_epe']:7.3f}{found['samples']:9d}{found['bn_recal_batches']:9d}"
            f"{_number(found['tau_first']):>14}"
        )
    alone = report["alone"]
    error = "unknown" if alone["error"] is None else f"{alone['error']:.3f} px"
    print(
        f"alone: {alone['spread']:.3f} px from best to worst, deviation {alone['std']:.3f} px, standard error "
        f"of each {error}; tau of one seed with another {_number(report['ceiling_tau'])}, "
        f"expected of a ranking without error with their mean {_number(alone['attainable_tau'])}"
    )
    print(f"zero-flow EPE {report['zero_flow_epe']:.3f} px; steps {report['steps']}")


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
