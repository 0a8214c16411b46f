"""The report of a training run for people, as Markdown: every number in it stands in the run directory."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.artifacts import read_json, write_text
from edgeflownas.errors import EXIT_DONE, run_command
from edgeflownas.nas.arch_codec import format_code, parse_code
from edgeflownas.nas.run_records import read_history, subnet_epes
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.network.cost import subnet_cost
from edgeflownas.parsers import command_parser

FEW_STEPS = 1000
FEW_SAMPLES = 100
OFTEN_CLIPPED = 0.9

History = Sequence[Mapping[str, float]]


def training_report(run: Path) -> str:
    """The report of a run directory.

    Raises:
        UserError: a file of the run is missing or does not fit its schema.
    """
    manifest = read_json(run / "train_manifest.json", schema="train_manifest.schema.json")
    config = read_json(run / "config.json", schema="resolved_config.schema.json")
    history = read_history(run / "eval_epe_history.csv") if (run / "eval_epe_history.csv").is_file() else []
    lines = [f"# Supernet training report: {run.name}", "", *_summary(manifest, history), ""]
    lines += ["## Cautions", "", *_cautions(manifest, history), "", "## Settings", "", *_settings(manifest), ""]
    if history:
        lines += ["## Epochs", "", *_epochs(history), "", "## Subnets", "", *_subnets(manifest, history), ""]
    if manifest["data"]["rejected"]:
        lines += ["## Samples left out", "", *_left_out(manifest), ""]
    lines += ["## How to reproduce", "", *_reproduce(manifest, config)]
    return "\n".join(lines) + "\n"


def _summary(manifest: Mapping[str, Any], history: History) -> list[str]:
    data, device = manifest["data"], manifest["device"]
    words = {"folder": "a FlyingChairs2 folder", "synthetic": "generated scenes"}[data["source"]]
    lines = [
        f"A supernet of the space {manifest['search_space']}, base width {manifest['init_neurons']}, was trained for "
        f"{manifest['epochs_done']} of {manifest['num_epochs']} epochs ({manifest['global_step']} fair cycles of batch "
        f"{manifest['batch_size']}) on {words} with {data['train_samples']} training and {data['val_samples']} "
        f"validation pairs, on {device['name']} ({device['kind']}, {manifest['backend']}). "
        f"It stopped because of: {manifest['stopped_because']}."
    ]
    if history:
        last = history[-1]
        share = last["mean_epe_12"] / last["zero_flow_epe"] if last["zero_flow_epe"] else float("inf")
        lines += [
            "",
            f"After the last epoch the eval pool has a mean EPE of {last['mean_epe_12']:.4f} px (standard deviation "
            f"{last['std_epe_12']:.4f} px between subnets); predicting no motion at all gives "
            f"{last['zero_flow_epe']:.4f} px. The supernet's error is {share:.1%} of that.",
        ]
    return lines


def _cautions(manifest: Mapping[str, Any], history: History) -> list[str]:
    data = manifest["data"]
    cautions = []
    if manifest["global_step"] < FEW_STEPS:
        cautions.append(f"{manifest['global_step']} steps are a smoke run: it shows that things work, not how well.")
    if min(data["train_samples"], data["val_samples"]) < FEW_SAMPLES:
        cautions.append(
            f"{data['train_samples']} training and {data['val_samples']} validation pairs are few: the EPE says little "
            "about other data."
        )
    if data["source"] == "synthetic":
        cautions.append("The data are generated: the EPE cannot be compared with published ones.")
    if data["rejected"]:
        cautions.append(f"{len(data['rejected'])} samples were left out of the data; they are listed below.")
    if manifest["skipped_steps"]:
        cautions.append(
            f"{manifest['skipped_steps']} steps made no update, because loss or gradient was not finite; "
            "nonfinite.json says which."
        )
    if manifest["epochs_done"] < manifest["num_epochs"] and manifest["stopped_because"] != "early_stop":
        cautions.append("The run ended before its schedule: the learning rate had not decayed to its end.")
    if manifest["device"]["requested"] is not None and manifest["device"]["kind"] == "cpu":
        cautions.append(f"GPU {manifest['device']['requested']} was asked for; the CPU did the work.")
    if not history:
        cautions.append("No epoch was completed, so nothing was judged.")
        return [f"- {caution}" for caution in cautions]
    last = history[-1]
    if last["clip_rate"] >= OFTEN_CLIPPED:
        cautions.append(f"{last['clip_rate']:.0%} of the last epoch's steps were clipped: the clip sets the step size.")
    if last["mean_epe_12"] >= last["zero_flow_epe"]:
        cautions.append("The supernet is not better than predicting no motion.")
    if last["fairness_gap"]:
        cautions.append(f"The options were not trained equally often: the fairness gap is {last['fairness_gap']}.")
    return [f"- {caution}" for caution in cautions] or ["- none"]


def _left_out(manifest: Mapping[str, Any]) -> list[str]:
    data = manifest["data"]
    lines = [f"{len(data['rejected'])} of {data['train_samples'] + data['val_samples'] + len(data['rejected'])}:", ""]
    return lines + [f"- {sample['split']} {sample['name']}: {sample['reason']}" for sample in data["rejected"]]


def _settings(manifest: Mapping[str, Any]) -> list[str]:
    height, width, channels = manifest["input_shape"]
    schedule = manifest["lr_schedule"]
    rows = [
        ("input", f"{height}×{width}×{channels}"),
        ("sampling", f"{manifest['supernet_mode']}, {manifest['execution']} execution"),
        ("optimizer", f"{manifest['optimizer']['name']}, learning rate {schedule['initial']:g}, {schedule['name']}"),
        ("schedule", f"{schedule['steps']} steps, {manifest['steps_per_epoch']} per epoch"),
        ("weight decay", f"{manifest['wd']:g}"),
        ("gradient clip", f"{manifest['grad_clip']:g}"),
        ("seed", manifest["seed"]),
    ]
    return ["| setting | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _epochs(history: History) -> list[str]:
    lines = [
        "| epoch | step | mean EPE (px) | std (px) | train loss | lr | grad norm p50 / p99 | clipped | gap | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in history:
        lines.append(
            f"| {row['epoch']} | {row['global_step']} | {row['mean_epe_12']:.4f} | {row['std_epe_12']:.4f} | "
            f"{row['train_loss']:.4f} | {row['lr']:.3g} | {row['grad_norm_p50']:.3g} / {row['grad_norm_p99']:.3g} | "
            f"{row['clip_rate']:.0%} | {row['fairness_gap']} | {row['seconds']:.1f} |"
        )
    return lines


def _subnets(manifest: Mapping[str, Any], history: History) -> list[str]:
    space = load_search_space(manifest["search_space"])
    height, width, _ = manifest["input_shape"]
    ranked = sorted(subnet_epes(history[-1]).items(), key=lambda item: item[1])
    lines = [
        f"The eval pool after epoch {history[-1]['epoch']}, best first. Parameters and multiply-accumulates are the "
        f"subnet's own, at {height}×{width}.",
        "",
        "| rank | arch code | EPE (px) | parameters | MACs (millions) |",
        "|---|---|---|---|---|",
    ]
    for rank, (digits, epe) in enumerate(ranked, start=1):
        code = parse_code(digits, space)
        cost = subnet_cost(space, code, height, width, manifest["init_neurons"])
        lines.append(f"| {rank} | {format_code(code)} | {epe:.4f} | {cost['params']:,} | {cost['macs'] / 1e6:,.0f} |")
    return lines


def _reproduce(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    files = {origin for origin in config["origins"].values() if origin not in ("default", "command line")}
    commit = manifest["git_commit"] or "(not in a git repository)"
    given = [key for key, origin in config["origins"].items() if origin == "command line"]
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    return [
        f"- commit {commit}{', with local changes' if manifest['git_dirty'] else ''}",
        f"- config file {', '.join(sorted(files)) or '(defaults)'}, config hash {manifest['config_hash']}",
        *(f"    - on the command line: {key} = {config['values'][key]}" for key in given),
        f"- data digest {manifest['data']['digest']}",
        f"- {versions}",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "edgeflownas.reporting.training_report",
        "Write the report of a training run.",
        ("--run_dir outputs/supernet/runs/supernet --out report.md",),
    )
    parser.add_argument("--run_dir", type=Path, required=True, help="the run directory")
    parser.add_argument("--out", type=Path, required=True, help="the Markdown file to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command `python -m edgeflownas.reporting.training_report`."""
    arguments = _parser().parse_args(argv)
    report = training_report(arguments.run_dir)
    write_text(arguments.out, report)
    print(arguments.out)
    return EXIT_DONE


if __name__ == "__main__":
    run_command(main)
