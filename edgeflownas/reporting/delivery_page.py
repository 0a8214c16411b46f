"""`deploy.html`: subnets that were exported for a chip, side by side: accuracy, cost, flow, layers, files."""

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.artifacts import read_json, write_text
from edgeflownas.data.flow_colours import flow_colours, wheel_picture
from edgeflownas.deploy.bundle import GoldenSample, read_golden
from edgeflownas.deploy.export import FACTS, SCHEMA
from edgeflownas.errors import EXIT_DONE, UserError, require_writable, run_command
from edgeflownas.parsers import command_parser
from edgeflownas.reporting.data_urls import jpeg_url, png_url
from edgeflownas.reporting.flow_pictures import amount_colours
from edgeflownas.reporting.pages import DELIVERY, PageLink, page_links, render
from edgeflownas.reporting.plots import BLUE, GREEN, SOFT, VERMILION, draw_svg, inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODULE = "edgeflownas.reporting.delivery_page"
TEMPLATE = "delivery.html.jinja"
# Where gate 7 publishes the folders of the picks.
PUBLISHED = "deploy"
# How selection names its costs, and what a reader calls them.
COSTS = {"ms": ("time on the chip (ms)", 1.0), "macs": ("multiply-accumulates (millions)", 1e-6)}
# The most that a picture of differences shows, as a share of that of the flow beside it.
DIFFERENCE_SHARE = 0.25
SMALLEST_RADIUS = 0.5
EXAMPLE = (
    "--retrained outputs/supernet/retrained.json --exported outputs/supernet/deploy --selected outputs/supernet "
    "--out deploy.html"
)


@dataclass(frozen=True)
class Exported:
    """A pick: its entry in `retrained.json`, its `export.json`, and its golden vectors."""

    pick: Mapping[str, Any]
    facts: Mapping[str, Any]
    golden: Sequence[GoldenSample]
    folder: Path

    @property
    def chip(self) -> Mapping[str, Any]:
        """What it costs on the chip."""
        chip: Mapping[str, Any] = self.facts["chip"]
        return chip

    def cost(self, kind: str) -> float:
        """Its `ms` or `macs`, as its own files have it."""
        return float(self.chip["ms"] if kind == "ms" else self.facts["macs"])


@dataclass(frozen=True)
class Picture:
    """A picture as a data URL, what it shows, and words below it."""

    title: str
    url: str
    words: str


@dataclass(frozen=True)
class SampleView:
    """A golden sample: frames and true flow, and rows of what each subnet makes of it. `radius`, `largest`: pixels."""

    name: str
    radius: float
    largest: float
    given: Sequence[Picture]
    rows: Sequence[tuple[str, Sequence[Picture]]]


def read_exported(retrained: Mapping[str, Any], folder: Path) -> list[Exported]:
    """Every retrained pick that was exported to a folder in `folder`, with what it costs on a chip.

    Raises:
        UserError: a pick is not there, or was exported without a target.
    """
    by_code = {}
    for path in sorted(folder.glob(f"*/{FACTS}")):
        facts = read_json(path, schema=SCHEMA)
        by_code[facts["code"]] = (facts, path.parent)
    exported = []
    for pick in retrained["picks"]:
        if pick["code"] not in by_code:
            raise UserError(f"{folder}: subnet {pick['code']} is not exported there")
        facts, where = by_code[pick["code"]]
        if "chip" not in facts:
            raise UserError(f"{where / FACTS}: was exported without a target, so nothing is known of its cost")
        exported.append(Exported(pick, facts, read_golden(where, facts), where))
    return exported


def delivery_page(
    exported: Sequence[Exported],
    selection: Mapping[str, Any],
    front: Mapping[str, Any],
    pages: Sequence[PageLink],
    files: str,
    written_by: str,
) -> str:
    """The page as HTML.

    Args:
        exported: the picks.
        selection, front: the content of `selection.json` and `pareto_front.json`.
        pages: the navigation.
        files: the folder of the picks' folders, as a link.
        written_by: the command that writes it.
    """
    return render(
        TEMPLATE,
        picks=exported,
        chip=exported[0].chip,
        pages=pages,
        figure=inline_svg(
            front_figure(exported, selection, front), "Pareto front of the search space, and the delivered subnets"
        ),
        cost=selection["cost"],
        samples=sample_views(exported),
        wheel=png_url(wheel_picture(160)),
        ramp=png_url(amount_colours(np.linspace(0, 1, 128)[None], 1.0)),
        files=files,
        written_by=written_by,
    )


def front_figure(exported: Sequence[Exported], selection: Mapping[str, Any], front: Mapping[str, Any]) -> str:
    """An SVG of the front of the search space, and of each pick in the supernet, retrained and quantised."""
    kind = selection["cost"]
    label, scale = COSTS[kind]
    subnets = sorted(front["subnets"], key=lambda subnet: float(subnet[kind]))
    in_supernet = {pick["code"]: pick for pick in selection["picks"]}

    def draw(figure: "Figure") -> None:
        axis = figure.subplots()
        costs = [subnet[kind] * scale for subnet in subnets]
        axis.plot(costs, [subnet["epe"] for subnet in subnets], "-", color=SOFT, marker=".", lw=1, label="Pareto front")
        for number, one in enumerate(exported):
            pick, epe, at = in_supernet[one.pick["code"]], one.facts["epe"], one.cost(kind) * scale
            before = pick[kind] * scale
            axis.plot([before, at, at], [pick["epe"], epe["float"], epe["quantised"]], ":", color=SOFT, lw=1)
            series = (
                ("o", before, pick["epe"], GREEN, "picked, in the supernet"),
                ("s", at, epe["float"], BLUE, "retrained"),
                ("D", at, epe["quantised"], VERMILION, f"retrained, {one.facts['precision']}"),
            )
            for mark, x, y, colour, words in series:
                axis.plot([x], [y], mark, color=colour, ms=6, label=None if number else words)
            axis.annotate(
                one.pick["code"].replace(",", ""),
                (before, pick["epe"]),
                textcoords="offset points",
                xytext=(6, 6),
                fontsize=7.5,
            )
        axis.margins(x=0.12, y=0.12)
        axis.set_xlabel(label)
        axis.set_ylabel("EPE (px)")
        figure.legend(loc="outside lower center", ncols=2)

    return draw_svg(draw, height=3.6)


def sample_views(exported: Sequence[Exported]) -> list[SampleView]:
    """The golden samples, each once, with what the subnets that were given it make of it."""
    by_name: dict[tuple[str, bytes], list[tuple[Exported, GoldenSample]]] = {}
    for one in exported:
        for sample in one.golden:
            by_name.setdefault((sample.name, sample.truth.tobytes()), []).append((one, sample))
    return [_sample_view(found) for found in by_name.values()]


def _sample_view(found: Sequence[tuple[Exported, GoldenSample]]) -> SampleView:
    sample = found[0][1]
    lengths = np.linalg.norm(sample.truth, axis=-1)
    known = np.isfinite(lengths)
    radius = max(float(lengths[known].max()) if known.any() else 0.0, SMALLEST_RADIUS)
    largest = DIFFERENCE_SHARE * radius
    frames = sample.pictures()
    given = [
        Picture("frame 1", jpeg_url(frames[..., :3]), ""),
        Picture("frame 2", jpeg_url(frames[..., 3:]), ""),
        Picture("true flow", png_url(flow_colours(sample.truth, radius)), f"to {radius:.1f} px"),
    ]
    rows = []
    for one, own in found:
        apart = np.linalg.norm(own.pixels - own.float_, axis=-1)
        pictures = [
            Picture("float", png_url(flow_colours(own.float_, radius)), f"EPE {_epe(own.float_, own.truth)}"),
            Picture(
                one.facts["precision"],
                png_url(flow_colours(own.pixels, radius)),
                f"EPE {_epe(own.pixels, own.truth)}",
            ),
            Picture("difference", png_url(amount_colours(apart, largest)), f"mean {apart.mean():.2f} px"),
        ]
        rows.append((one.pick["code"], pictures))
    return SampleView(sample.name, radius, largest, given, rows)


def _epe(flow: np.ndarray, truth: np.ndarray) -> str:
    errors = np.linalg.norm((flow - truth).astype(np.float64), axis=-1)
    return f"{np.nanmean(errors):.2f} px" if np.isfinite(errors).any() else "not known"


def _place(out: Path, exported: Path) -> tuple[list[PageLink], str]:
    """The navigation and the way to the picks' folders, for a page at `out`; a gate publishes both in one folder."""
    out = out.resolve()
    runs = next((parent for parent in out.parents if parent.name == "runs"), None)
    output_dir, files = (out.parent, exported.resolve()) if runs is None else (runs.parent, runs.parent / PUBLISHED)
    pages = page_links(output_dir, output_dir / DELIVERY, out.parent)
    return pages, Path(os.path.relpath(files, out.parent)).as_posix()


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        MODULE,
        "A page of subnets that were exported for a chip: accuracy before and after quantisation, cost, flow, layers.",
        (EXAMPLE,),
    )
    add = parser.add_argument
    add("--retrained", type=Path, required=True, metavar="FILE", help="retrained.json: which subnets, and their roles")
    add("--exported", type=Path, required=True, metavar="FOLDER", help="where their folders are")
    add("--selected", type=Path, required=True, metavar="FOLDER", help="where selection.json and pareto_front.json are")
    add("--out", type=require_writable, required=True, metavar="FILE", help="the page to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.reporting.delivery_page`."""
    arguments = _parser().parse_args(argv)
    exported = read_exported(read_json(arguments.retrained, schema="retrained.schema.json"), arguments.exported)
    selection = read_json(arguments.selected / "selection.json", schema="selection.schema.json")
    front = read_json(arguments.selected / "pareto_front.json", schema="pareto_front.schema.json")
    pages, files = _place(arguments.out, arguments.exported)
    flags = ["--retrained", arguments.retrained, "--exported", arguments.exported, "--selected", arguments.selected]
    written_by = shlex.join(["python", "-m", MODULE, *map(str, flags), "--out", str(arguments.out)])
    write_text(arguments.out, delivery_page(exported, selection, front, pages, files, written_by))
    print(arguments.out)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
