"""`report.html`: the report of a training run as one self-contained page, for reading, sorting and flicking through."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeflownas.data.flow_colours import flow_colours, wheel_picture
from edgeflownas.reporting.data_urls import jpeg_url, png_url
from edgeflownas.reporting.flow_pictures import amount_colours
from edgeflownas.reporting.pages import REPORT, SHORT_RUN, page_links, page_script, render
from edgeflownas.reporting.plots import inline_svg
from edgeflownas.reporting.run_facts import FURTHER_HEAD, RunFacts
from edgeflownas.reporting.run_figures import RunFigure

TEMPLATE, SCRIPTS = "report.html.jinja", ("sortable.js", "report.js")


@dataclass(frozen=True)
class Picture:
    """One picture of a sample as a data URL; `code` is the subnet it is of, None where it is of none."""

    view: str
    code: str | None
    url: str
    words: str


@dataclass(frozen=True)
class SampleView:
    """A validation sample: its pictures in the order of the strip, and the scale of its flow and errors, pixels."""

    name: str
    radius: float
    largest_uncertainty: float
    pictures: Sequence[Picture]


def report_page(facts: RunFacts, figures: Sequence[RunFigure]) -> str:
    """The page as HTML, with links relative to the run directory."""
    run = facts.run.path
    pages = []
    if run.resolve().parent.name == "runs":
        output_dir = run.resolve().parent.parent
        here = output_dir / REPORT if facts.name == SHORT_RUN else run.resolve() / REPORT
        pages = page_links(output_dir, here, run.resolve())
    return render(
        TEMPLATE,
        facts=facts,
        further_head=FURTHER_HEAD,
        pages=pages,
        figures=[(figure, inline_svg(figure.svg, figure.title)) for figure in figures],
        samples=_sample_views(facts),
        wheel=png_url(wheel_picture(160)),
        ramp=png_url(amount_colours(np.linspace(0, 1, 128)[None], 1.0)),
        script=page_script(*SCRIPTS),
    )


def _sample_views(facts: RunFacts) -> list[SampleView]:
    samples = facts.samples
    if samples is None:
        return []
    views = []
    for number, name in enumerate(samples.names):
        radius, largest = samples.radius(number), samples.largest_uncertainty(number)
        frames, flow = samples.frames[number], samples.flow[number]
        pictures = [
            Picture("frame 1", None, jpeg_url(frames[..., :3]), "first frame"),
            Picture("frame 2", None, jpeg_url(frames[..., 3:]), "second frame"),
            Picture("true flow", None, png_url(flow_colours(flow, radius)), "true flow"),
        ]
        for subnet, code in enumerate(samples.codes):
            error, sigma = samples.errors[subnet, number], samples.uncertainty[subnet, number]
            mean_error = samples.mean_errors[subnet, number]
            predicted = png_url(flow_colours(samples.predicted[subnet, number], radius))
            pictures += [
                Picture("predicted flow", code, predicted, f"mean error {mean_error:.2f} px"),
                Picture("error", code, png_url(amount_colours(error, radius)), f"mean {mean_error:.2f} px"),
                Picture("uncertainty", code, png_url(amount_colours(sigma, largest)), f"mean {sigma.mean():.2f} px"),
            ]
        views.append(SampleView(name, radius, largest, pictures))
    return views
