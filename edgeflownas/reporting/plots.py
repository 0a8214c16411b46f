"""The one style of all figures: readable in print, in grey and for colour-blind people, with the same bytes each time.

matplotlib is imported where something is drawn, because importing it takes a second.
"""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): eight colours that people of any colour vision can distinguish; the yellow is too light for lines.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
# For amounts: grows evenly in lightness, so it also reads in grey.
COLOUR_MAP = "cividis"

# The colours of the pages, by which `inline_svg` finds them again.
INK, SOFT, LINE, CARD = "#1b2027", "#59626e", "#d9dee5", "#ffffff"
_PAGE_VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line", CARD: "--card", BLUE: "--blue"}

WIDTH = 6.0
"""Inches: a column of text on A4, and half the width of a page on the screen."""


def draw_svg(draw: Callable[["Figure"], None], height: float = 2.7, width: float = WIDTH) -> str:
    """An SVG of what `draw` adds to an empty figure of that size, inches. Its text remains text."""
    target = io.StringIO()
    _draw(draw, (width, height), target, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"\A.*?(?=<svg )", "", target.getvalue(), flags=re.DOTALL)
    # Without XML's own headers, and without names for everything: several figures may be on one page.
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return re.sub(r'<g id="[^"]*">', "<g>", text)


def draw_png(draw: Callable[["Figure"], None], height: float, width: float = WIDTH, dpi: int = 150) -> bytes:
    """A PNG of what `draw` does to an empty figure of that size, inches."""
    target = io.BytesIO()
    _draw(draw, (width, height), target, format="png", dpi=dpi, metadata={"Software": None})
    return target.getvalue()


def _draw(
    draw: Callable[["Figure"], None], size: tuple[float, float], target: io.StringIO | io.BytesIO, **how: Any
) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style()):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(target, **how)


def _style() -> dict[Any, Any]:
    from cycler import cycler

    return {
        "svg.hashsalt": "edgeflownas",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9.0,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 9.0,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "grid.linewidth": 0.7,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "text.color": INK,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "figure.facecolor": CARD,
        "axes.facecolor": CARD,
        "savefig.facecolor": CARD,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
        "axes.prop_cycle": cycler(color=CYCLE),
        "image.cmap": COLOUR_MAP,
    }


def count_axis(axis: "Axes", label: str) -> None:
    """Make x an axis of whole numbers: epochs, steps."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel(label)


def inline_svg(svg: str, words: str) -> Markup:
    """The SVG as a part of a page: as wide as its place; ink, lines and ground take the page's colours, light or dark.

    words: what it shows, for who does not see it.
    """
    for colour, variable in _PAGE_VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{Markup.escape(words)}" ', 1))
