"""The figures of a training run, as SVG. Each says which files of the run directory it is drawn from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeflownas.reporting.plots import (
    BLUE,
    COLOUR_MAP,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    SOFT,
    VERMILION,
    count_axis,
    draw_svg,
)
from edgeflownas.reporting.run_facts import RunFacts
from edgeflownas.runs.records import subnet_epes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HISTORY, TRACE, COUNTS = "eval_epe_history.csv", "trace.jsonl", "fairness_counts.json"
# A line with at least this many points needs no markers.
MANY_POINTS = 25


@dataclass(frozen=True)
class RunFigure:
    """A figure: `name` is its file's stem, `sources` the files of the run directory that its numbers are from."""

    name: str
    title: str
    caption: str
    sources: tuple[str, ...]
    svg: str


def run_figures(facts: RunFacts) -> list[RunFigure]:
    """All figures that the run's records have numbers for."""
    figures = []
    if facts.history:
        figures += [_epe(facts), _subnets(facts), _loss(facts), _gradients(facts), _ranking(facts), _time(facts)]
    return [*figures, _fairness(facts)]


def _marker(points: int) -> str:
    return "o" if points < MANY_POINTS else ""


def _column(facts: RunFacts, name: str) -> np.ndarray:
    return np.array([row[name] for row in facts.history], np.float64)


def _epe(facts: RunFacts) -> RunFigure:
    names = facts.pool_names
    epochs, mean, std = (_column(facts, name) for name in ("epoch", names.mean_epe, names.std_epe))
    pool = np.array([list(subnet_epes(row).values()) for row in facts.history])
    best = int(mean.argmin())

    def draw(figure: "Figure") -> None:
        axis = figure.subplots()
        axis.fill_between(
            epochs, pool.min(axis=1), pool.max(axis=1), color=BLUE, alpha=0.12, lw=0, label="best to worst"
        )
        axis.fill_between(epochs, mean - std, mean + std, color=BLUE, alpha=0.25, lw=0, label="± 1 standard deviation")
        axis.plot(epochs, mean, color=BLUE, marker=_marker(len(epochs)), label="mean of the eval pool")
        axis.plot(epochs[best], mean[best], "*", color=VERMILION, ms=12, label=f"best epoch, {mean[best]:.3f} px")
        axis.plot(epochs, _column(facts, "zero_flow_epe"), "--", color=INK, lw=1.3, label="no motion predicted")
        axis.set_ylabel("EPE (px)")
        count_axis(axis, "epoch")
        figure.legend(loc="outside lower center", ncols=3)

    caption = "End-point error of the eval pool on the validation set; below the dashed line it is better than nothing."
    return RunFigure("epe", "Error of the supernet", caption, (HISTORY,), draw_svg(draw))


def _subnets(facts: RunFacts) -> RunFigure:
    epochs = _column(facts, "epoch")
    all_digits = [subnet.code.replace(",", "") for subnet in facts.subnets]
    macs = np.array([subnet.macs for subnet in facts.subnets]) / 1e6

    def draw(figure: "Figure") -> None:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap, Normalize

        axis = figure.subplots()
        # Without the darkest and the lightest colours, which vanish on a dark or a light page.
        colours = ListedColormap(colormaps[COLOUR_MAP](np.linspace(0.2, 0.88, 128)))
        cost = ScalarMappable(Normalize(macs.min(), max(macs.max(), macs.min() + 1)), colours)
        for digits, colour in zip(all_digits, cost.to_rgba(macs), strict=True):
            axis.plot(
                epochs, _column(facts, f"epe_{digits}"), color=colour, lw=1.4, marker=_marker(len(epochs)), ms=3.5
            )
        axis.plot(epochs, _column(facts, "zero_flow_epe"), "--", color=INK, lw=1.3)
        for subnet in (facts.subnets[0], facts.subnets[-1]):
            end = (float(epochs[-1]), subnet.epe)
            name = subnet.code.replace(",", "")
            axis.annotate(
                name, end, xytext=(6, 0), textcoords="offset points", va="center", fontsize=8, annotation_clip=False
            )
        axis.set_ylabel("EPE (px)")
        count_axis(axis, "epoch")
        figure.colorbar(cost, ax=axis, label="million multiply-accumulates", pad=0.14).outline.set_visible(False)

    caption = "Each subnet of the eval pool, coloured by its cost; named are the best and the worst of the last epoch."
    return RunFigure("subnets", "The subnets one by one", caption, (HISTORY, "train_manifest.json"), draw_svg(draw))


def _loss(facts: RunFacts) -> RunFigure:
    ends, losses = _column(facts, "global_step"), _column(facts, "train_loss")
    steps = np.array([line["step"] + 1 for line in facts.trace])

    def draw(figure: "Figure") -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        if facts.trace:
            per_step = [np.mean(line["losses"]) for line in facts.trace]
            above.plot(steps, per_step, color=SOFT, lw=0.8, alpha=0.7, label="each step")
            below.plot(steps, [line["lr"] for line in facts.trace], color=GREEN)
        else:
            below.plot(ends, _column(facts, "lr"), color=GREEN, marker=_marker(len(ends)))
        above.plot(ends, losses, color=BLUE, marker=_marker(len(ends)), label="mean of the epoch")
        above.set_ylabel("training loss")
        below.set_ylabel("learning rate")
        below.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        below.set_ylim(bottom=0)
        count_axis(below, "step")
        figure.legend(loc="outside lower center", ncols=3)

    caption = "The loss, without the L2 penalty, and the learning rate."
    return RunFigure("loss", "Loss and learning rate", caption, _steps_from(facts), draw_svg(draw, height=3.4))


def _steps_from(facts: RunFacts) -> tuple[str, ...]:
    return (HISTORY, TRACE) if facts.trace else (HISTORY,)


def _gradients(facts: RunFacts) -> RunFigure:
    ends, clip = _column(facts, "global_step"), facts.manifest["grad_clip"]
    quantiles = (("p99", VERMILION, "-."), ("p90", ORANGE, "--"), ("p50", BLUE, "-"))

    def draw(figure: "Figure") -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        if facts.trace:
            steps = [line["step"] + 1 for line in facts.trace]
            norms = [line["global_grad_norm_before"] for line in facts.trace]
            above.plot(steps, norms, ".", color=SOFT, ms=3, alpha=0.6, label="each step")
        for name, colour, style in quantiles:
            norm = _column(facts, f"grad_norm_{name}")
            above.plot(ends, norm, style, color=colour, marker=_marker(len(ends)), label=f"{name} of the epoch")
        above.axhline(clip, color=INK, lw=1.3, ls=":", label=f"clip at {clip:g}")
        above.set_ylabel("gradient norm")
        above.set_ylim(bottom=0)
        below.plot(ends, 100 * _column(facts, "clip_rate"), color=PURPLE, marker=_marker(len(ends)))
        below.set_ylabel("clipped (%)")
        below.set_ylim(-4, 104)
        count_axis(below, "step")
        figure.legend(loc="outside lower center", ncols=3)

    caption = "Global gradient norm before clipping, and the share of steps that were clipped."
    return RunFigure("gradients", "Gradients and the clip", caption, _steps_from(facts), draw_svg(draw, height=3.4))


def _ranking(facts: RunFacts) -> RunFigure:
    epochs = _column(facts, "epoch")
    with_before, with_last = facts.rank_correlations

    def draw(figure: "Figure") -> None:
        axis = figure.subplots()
        marker = _marker(len(epochs))
        axis.plot(epochs, with_before, color=BLUE, marker=marker, label="with the epoch before")
        axis.plot(epochs, with_last, "--", color=ORANGE, marker="s" if marker else "", label="with the last epoch")
        axis.axhline(0, color=SOFT, lw=0.8)
        axis.set_ylim(-1.08, 1.08)
        axis.set_ylabel("Kendall's tau")
        count_axis(axis, "epoch")
        figure.legend(loc="outside lower center", ncols=3)

    caption = "How far the order of the subnets agrees between epochs: 1 is the same order, 0 is chance."
    return RunFigure("ranking", "Stability of the ranking", caption, (HISTORY,), draw_svg(draw))


def _time(facts: RunFacts) -> RunFigure:
    # What a run should mostly do at the bottom, on a common ground; waiting, which it should not do, on top.
    phases = {"training": BLUE, "recalibration": SKY, "validation": GREEN, "saving": PURPLE, "waiting": ORANGE}
    edges = np.arange(len(facts.history) + 1) + facts.history[0]["epoch"] - 0.5

    def draw(figure: "Figure") -> None:
        axis = figure.subplots()
        below = np.zeros(len(facts.history))
        for phase, colour in phases.items():
            above = below + _column(facts, f"seconds_{phase}")
            axis.stairs(above, edges, baseline=below, fill=True, color=colour, label=phase)
            below = above
        axis.set_ylabel("seconds")
        count_axis(axis, "epoch")
        figure.legend(loc="outside lower center", ncols=5)

    caption = "Where the time of each epoch went; an epoch in which a run started or was resumed also builds graphs."
    return RunFigure("time", "Time per phase", caption, (HISTORY,), draw_svg(draw))


def _fairness(facts: RunFacts) -> RunFigure:
    counts = facts.counts["counts"]
    widest = max(len(options) for options in counts.values())
    table = np.full((widest, len(counts)), np.nan)
    for column, options in enumerate(counts.values()):
        table[: len(options), column] = options

    def draw(figure: "Figure") -> None:
        axis = figure.subplots()
        top = max(1.0, np.nanmax(table))
        image = axis.imshow(table, aspect="auto", vmin=0, vmax=top)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        axis.set_xticks(range(len(counts)), list(counts))
        axis.set_yticks(range(widest), [f"option {option}" for option in range(widest)])
        for (row, column), count in np.ndenumerate(table):
            if not np.isnan(count):
                colour = "#ffffff" if count < 0.6 * top else "#000000"
                axis.text(column, row, f"{int(count)}", ha="center", va="center", color=colour)
        figure.colorbar(image, ax=axis, label="times trained").outline.set_visible(False)

    gap = facts.counts["fairness_gap"]
    caption = f"How often each option of each choice block was trained; the fairness gap is {gap}."
    return RunFigure("fairness", "Fairness of the training", caption, (COUNTS,), draw_svg(draw, height=2.0))
