"""The report of a training run for people, as Markdown and as a page: all numbers are from the run directory."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeflownas.artifacts import write_bytes, write_text
from edgeflownas.errors import EXIT_DONE, run_command
from edgeflownas.parsers import command_parser
from edgeflownas.reporting.pages import REPORT, REPORT_MARKDOWN
from edgeflownas.reporting.run_facts import FURTHER_HEAD, RunFacts
from edgeflownas.reporting.run_figures import RunFigure, run_figures

PICTURES = "pictures"
FLOW_SHEET = f"{PICTURES}/flow.png"
# A longer history is shown in part; all of it is in eval_epe_history.csv, and on the page.
EPOCHS_SHOWN = 20


@dataclass(frozen=True)
class Drawn:
    """What is drawn for a report: figures, and the flow of the best subnet that has samples (PNG), if there are any."""

    figures: Sequence[RunFigure]
    flow_sheet: bytes | None


def draw(facts: RunFacts) -> Drawn:
    """Draw all pictures of a run. Needs matplotlib, and seconds."""
    from edgeflownas.reporting.flow_pictures import flow_sheet

    sheet = None
    if facts.samples is not None:
        sheet = flow_sheet(facts.samples, facts.best_sampled, facts.run.flow_samples.name)
    return Drawn(run_figures(facts), sheet)


def report_markdown(facts: RunFacts, drawn: Drawn) -> str:
    """The report; its pictures are those that `write_report` puts next to it."""
    lines = [f"# Supernet training report: {facts.name}", "", facts.summary(), ""]
    lines += ["## Cautions", "", *(f"- {words}" for words in facts.cautions() or ["nothing"]), ""]
    if facts.history:
        lines += ["## Result", "", *_table(("", ""), facts.result()), ""]
        lines += ["## Subnets", "", *_subnets(facts), ""]
    if facts.further:
        words = f"{facts.further_words()} From {_named(facts.further_sources)}."
        lines += ["## Further validation sets", "", words, "", *_table(FURTHER_HEAD, facts.further_results()), ""]
    lines += ["## Predicted flow", "", *_flow(facts, drawn), "", "## Figures", ""]
    for figure in drawn.figures:
        lines += [f"### {figure.title}", "", f"![{figure.title}]({PICTURES}/{figure.name}.svg)", ""]
        lines += [f"{figure.caption} From {_named(figure.sources)}.", ""]
    lines += ["## Settings", "", *_table(("setting", "value"), facts.settings()), ""]
    if facts.history:
        lines += ["## Epochs", "", *_epochs(facts), ""]
    if left_out := facts.left_out():
        lines += ["## Samples left out", "", *(f"- {name}: {reason}" for name, reason in left_out), ""]
    lines += ["## How to reproduce", "", *(f"- {name}: {value}" for name, value in facts.reproduction())]
    return "\n".join(lines) + "\n"


def _named(sources: Sequence[str]) -> str:
    return " and ".join(f"`{source}`" for source in sources)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _subnets(facts: RunFacts) -> list[str]:
    height, width, _ = facts.manifest["input_shape"]
    outliers = facts.pool_results is not None
    head = ["rank", "arch code", "EPE (px)", *(("> 1 px", "> 3 px", "> 5 px", "Fl-all") if outliers else ())]
    rows = [
        [str(subnet.rank), subnet.code, f"{subnet.epe:.4f}"]
        + [f"{share:.1%}" for share in subnet.metrics.values() if share is not None]
        + [f"{subnet.params:,}", f"{subnet.macs / 1e6:,.0f}"]
        for subnet in facts.subnets
    ]
    sources = ["eval_epe_history.csv", *(["pool_results.json"] if outliers else [])]
    return [
        f"The eval pool after epoch {facts.history[-1]['epoch']}, best first, from {_named(sources)}. Parameters and "
        f"multiply-accumulates are the subnet's own, at {height}×{width}.",
        "",
        *_table([*head, "parameters", "MACs (millions)"], rows),
    ]


def _flow(facts: RunFacts, drawn: Drawn) -> list[str]:
    if facts.samples is None or drawn.flow_sheet is None:
        return [
            f"The run has no flow samples. `python -m edgeflownas.reporting.flow_pictures --run_dir {facts.run.path}` "
            "computes them from its last checkpoint."
        ]
    return [
        f"![frames, true and predicted flow, error and uncertainty]({FLOW_SHEET})",
        "",
        f"Validation samples and what subnet {facts.samples.codes[facts.best_sampled]} predicts, from "
        f"`{facts.run.flow_samples.name}`. {facts.flow_words()}",
    ]


def _epochs(facts: RunFacts) -> list[str]:
    step = -(-len(facts.history) // EPOCHS_SHOWN)
    best = (facts.manifest["best"] or {}).get("epoch")
    names = facts.pool_names
    shown = [row for row in facts.history if row["epoch"] % step == 0 or row["epoch"] in (1, best)]
    shown += [facts.history[-1]] if facts.history[-1] not in shown else []
    head = ["epoch", "step", "mean EPE (px)", "std (px)", *(f"{name} (px)" for name in facts.further)]
    head += ["train loss", "lr", "grad norm p50 / p99", "clipped", "gap"]
    rows = [
        [
            *(str(row["epoch"]), str(row["global_step"]), f"{row[names.mean_epe]:.4f}", f"{row[names.std_epe]:.4f}"),
            *(f"{rows[int(row['epoch']) - 1][names.mean_epe]:.4f}" for rows in facts.further.values()),
            *(
                f"{row['train_loss']:.4f}",
                f"{row['lr']:.3g}",
                f"{row['grad_norm_p50']:.3g} / {row['grad_norm_p99']:.3g}",
            ),
            *(f"{row['clip_rate']:.0%}", str(row["fairness_gap"]), f"{row['seconds']:.1f}"),
        ]
        for row in shown
    ]
    words = [] if len(shown) == len(facts.history) else ["In part; all epochs are in `eval_epe_history.csv`.", ""]
    return [*words, *_table([*head, "seconds"], rows)]


def write_report(run: Path) -> list[Path]:
    """Write `supernet_training_report.md`, its pictures and `report.html` into a run directory; returns their paths.

    Raises:
        UserError: a file of the run is missing or does not fit its schema.
    """
    from edgeflownas.reporting.report_page import report_page

    facts = RunFacts.read(run)
    drawn = draw(facts)
    paths = [run / REPORT_MARKDOWN, run / REPORT]
    write_text(paths[0], report_markdown(facts, drawn))
    write_text(paths[1], report_page(facts, drawn.figures))
    for figure in drawn.figures:
        paths.append(run / PICTURES / f"{figure.name}.svg")
        write_text(paths[-1], figure.svg)
    if drawn.flow_sheet is not None:
        paths.append(run / FLOW_SHEET)
        write_bytes(paths[-1], drawn.flow_sheet)
    return paths


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.reporting.training_report",
        "Write the report of a training run into its directory: Markdown, pictures and report.html.",
        ("--run_dir outputs/supernet/runs/supernet",),
    )
    parser.add_argument("--run_dir", type=Path, required=True, metavar="FOLDER", help="the run directory")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.reporting.training_report`."""
    for path in write_report(_parser().parse_args(argv).run_dir):
        print(path)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
