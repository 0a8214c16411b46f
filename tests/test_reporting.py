"""Launch scripts run the same command, and the training report holds what the run directory holds."""

import json
import math
import re
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.errors import UserError
from edgeflownas.network.cost import subnet_cost
from edgeflownas.reporting.launch_scripts import Resources, compare_scripts, main, parse_script, render_scripts
from edgeflownas.reporting.plots import BLUE
from edgeflownas.reporting.run_facts import RunFacts
from edgeflownas.reporting.run_figures import run_figures
from edgeflownas.reporting.training_report import Drawn, report_markdown
from edgeflownas.runs.timing import PHASES
from tests.handmade_runs import SPACE, edit_history, edit_json, make_config, make_run

COMMAND = ["python", "-m", "edgeflownas.train_supernet", "--config", "a b.yaml", "--set", "data.root=x; touch y"]
RESOURCES = Resources(cpus=8, mem_mb=32000, minutes=60, gpus=1, site=("--partition=gpu",))


def parsed(command: list[str], place: str = "local") -> dict[str, str | None]:
    """The flags of a rendered script."""
    return parse_script(render_scripts(command, RESOURCES, Path("/work"))[place], place)


def test_both_scripts_run_the_command_they_were_given() -> None:
    expected = {
        "command": "python -m edgeflownas.train_supernet",
        "--config": "a b.yaml",
        "data.root": "x; touch y",
    }
    assert parsed(COMMAND, "local") == parsed(COMMAND, "hpc") == expected


def test_cluster_script_asks_for_its_resources() -> None:
    text = render_scripts(COMMAND, RESOURCES, Path("/work"))["hpc"]
    directives = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    for option in ("--cpus-per-task=8", "--mem=32000M", "--time=60", "--gpus=1", "--partition=gpu"):
        assert option in directives


@pytest.mark.parametrize("place", ["local", "hpc"])
def test_scripts_are_valid_bash(place: str, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(render_scripts(COMMAND, RESOURCES, tmp_path)[place])
    subprocess.run(["bash", "-n", script], check=True)


def test_script_runs_its_command_unharmed(tmp_path: Path) -> None:
    words = ["printf", "%s|", "--root", "a; touch pwned", "$HOME", "it's"]
    script = tmp_path / "script.sh"
    script.write_text(render_scripts(words, RESOURCES, tmp_path)["local"])
    said = subprocess.run(["bash", script], capture_output=True, text=True, check=True).stdout
    assert said == "--root|a; touch pwned|$HOME|it's|"
    assert not (tmp_path / "pwned").exists()


def test_paths_and_resources_may_differ_and_nothing_else() -> None:
    here = parsed([*COMMAND, "--output_dir", "here", "--lr", "1e-4"])
    there = parsed([*COMMAND, "--output_dir", "there", "--lr", "1e-3", "--gpu_device", "0"])
    allowed, faults = compare_scripts(here, there)
    assert allowed == ["--gpu_device: local (not given), cluster 0", "--output_dir: local here, cluster there"]
    assert faults == ["--lr: local 1e-4, cluster 1e-3"]


def test_other_program_is_a_fault() -> None:
    assert compare_scripts(parsed(["python", "-m", "a"]), parsed(["python", "-m", "b"]))[1] != []


def test_script_without_a_command_is_refused() -> None:
    with pytest.raises(UserError, match="one command that begins with exec, found 0"):
        parse_script("echo hello\n", "local")


def test_command_writes_both_scripts(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--gpus", "1", "--", *COMMAND]) == 0
    script = tmp_path / "hpc/run_supernet_train.sh"
    assert script.stat().st_mode & 0o100
    assert shlex.quote("data.root=x; touch y") in script.read_text()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A good run of five epochs."""
    make_run(tmp_path / "run", 5, make_config())
    return tmp_path / "run"


def text_of(run: Path) -> str:
    """The report as Markdown, without drawing anything."""
    return report_markdown(RunFacts.read(run), Drawn([], None))


def test_report_ranks_the_pool_with_errors_outliers_and_cost_of_each_subnet(run: Path) -> None:
    rows = [line.strip("| ").split(" | ") for line in text_of(run).splitlines() if line.count(",") >= 8]
    ranks = [row for row in rows if row[0].isdigit()]
    assert [row[0] for row in ranks] == [str(rank) for rank in range(1, 13)]
    epes = [float(row[2]) for row in ranks]
    assert epes == sorted(epes) == [7.0] * 6 + [7.5] * 6
    lightest = next(row for row in ranks if row[1] == "0,0,0,0,0,0,0,0,0")
    cost = subnet_cost(SPACE, (0,) * 9, 45, 64, make_config()["network.init_neurons"])
    assert lightest[3:] == ["50.0%", "25.0%", "12.5%", "25.0%", f"{cost['params']:,}", f"{cost['macs'] / 1e6:,.0f}"]


def test_report_says_how_the_error_compares_with_no_motion(run: Path) -> None:
    text = text_of(run)
    for words in (
        "| mean EPE of the eval pool | 7.2500 px after epoch 5 |",
        "| EPE of predicting no motion | 9.0000 px |",
        "| the supernet's error, of that | 80.6% |",
        "| best epoch | 4, with a mean EPE of 7.0000 px |",
        "| time | 10 s: waiting 6%, training 62%, recalibration 12%, validation 6%, saving 12% |",
    ):
        assert words in text


def test_report_warns_of_a_smoke_run(run: Path) -> None:
    text = text_of(run)
    for words in (
        "20 steps are a smoke run",
        "1 training and 1 validation pairs are few",
        "The data are generated",
        "The run ended before its schedule",
        "100% of the last epoch's steps were clipped",
    ):
        assert words in text
    for words in (
        "not better than predicting no motion",
        "their ranking says nothing",
        "ranking of the subnets still changes",
    ):
        assert words not in text


def test_report_says_what_of_the_data_was_not_seen_not_judged_clipped_or_left_lying(run: Path) -> None:
    data = read_json(run / "train_manifest.json")["data"]
    remark = "val: 43.1% of the pixels have flow beyond ±50 px, which is clipped"
    edit_json(run / "train_manifest.json", data=data | {"train_samples": 400, "val_samples": 9, "remarks": [remark]})
    config = read_json(run / "config.json")
    edit_json(run / "config.json", values=config["values"] | {"eval.max_samples": 4})
    text = text_of(run)
    for words in (
        f"- Data: {remark}.",
        "- Only 40 of the 400 training pairs were seen.",
        "- Only the first 4 of 9 val pairs were evaluated.",
        "| evaluation | centre crops of the input's size (val) |",
        "| flow clipped to | ±50 px: 2.29% of train, 0.31% of val |",
    ):
        assert words in text
    edit_json(run / "config.json", values=config["values"] | {"eval.max_samples": 9})
    assert "pairs were evaluated" not in text_of(run)
    assert "flow not known" not in text_of(run)
    edit_json(run / "train_manifest.json", data=data | {"unknown_share": {"train": 0.6812}})
    assert "| flow not known | 68.12% of train: no part in loss and metrics |" in text_of(run)


def test_report_calls_scenes_generated_whatever_the_source_was_called(run: Path) -> None:
    data = read_json(run / "train_manifest.json")["data"]
    edit_json(run / "train_manifest.json", data=data | {"source": "folder"})
    assert "The data are generated" in text_of(run)
    edit_json(run / "train_manifest.json", data=data | {"source": "folder", "generated": False})
    assert "The data are generated" not in text_of(run)


def test_report_warns_when_the_cpu_did_a_gpus_work(run: Path) -> None:
    device = json.loads((run / "train_manifest.json").read_text())["device"]
    edit_json(run / "train_manifest.json", device=device | {"requested": 0})
    assert "GPU 0 was asked for; the CPU did the work." in text_of(run)


def test_report_warns_when_subnets_cannot_be_told_apart_or_ranked(run: Path) -> None:
    codes = [code.replace(",", "") for code in read_json(run / "eval_pool_12.json")["codes"]]
    edit_history(run, 4, **{f"epe_{code}": 7.25 + 0.001 * rank for rank, code in enumerate(codes)})
    opposite = {f"epe_{code}": 7.25 - 0.001 * rank for rank, code in enumerate(codes)}
    edit_history(run, 5, **opposite, mean_epe_12=9.5, std_epe_12=0.003, noise_epe_12=0.004)
    text = text_of(run)
    assert "differ by 0.0030 px, which is no more than the validation samples' noise of 0.0040 px" in text
    assert "(Kendall's tau -1.00 between the last two)" in text
    assert "The supernet is not better than predicting no motion." in text


def test_rank_correlations_have_a_gap_where_nothing_is_ranked(run: Path) -> None:
    codes = [code.replace(",", "") for code in read_json(run / "eval_pool_12.json")["codes"]]
    edit_history(run, 2, **{f"epe_{code}": 7.25 for code in codes})
    before, with_last = RunFacts.read(run).rank_correlations
    assert [math.isnan(tau) for tau in before] == [True, True, True, False, False]
    assert [math.isnan(tau) for tau in with_last] == [False, True, False, False, False]


def test_report_of_a_run_without_an_epoch_says_so(run: Path) -> None:
    (run / "eval_epe_history.csv").unlink()
    assert "No epoch was completed" in text_of(run)


def test_report_of_a_run_that_kept_no_flow_says_how_to_get_some(run: Path) -> None:
    assert f"python -m edgeflownas.reporting.flow_pictures --run_dir {run}" in text_of(run)


def test_report_needs_a_valid_manifest(run: Path) -> None:
    manifest = read_json(run / "train_manifest.json")
    del manifest["seed"]
    (run / "train_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="'seed' is a required property"):
        text_of(run)


def test_long_history_is_shown_in_part_with_its_best_and_last_epoch(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 103, make_config(train__num_epochs=103), trace=False)
    text = text_of(tmp_path / "run")
    table = text[text.index("## Epochs") : text.index("## How to reproduce")]
    assert [int(epoch) for epoch in re.findall(r"^\| (\d+) ", table, re.MULTILINE)] == [1, 4, *range(6, 103, 6), 103]
    assert "all epochs are in `eval_epe_history.csv`" in table


def test_figures_are_the_same_bytes_each_time_and_name_files_that_are_there(run: Path) -> None:
    figures = run_figures(RunFacts.read(run))
    assert [figure.name for figure in figures] == ["epe", "subnets", "loss", "gradients", "ranking", "time", "fairness"]
    assert [figure.svg for figure in run_figures(RunFacts.read(run))] == [figure.svg for figure in figures]
    for figure in figures:
        assert ElementTree.fromstring(figure.svg).tag.endswith("svg")
        for source in figure.sources:
            assert (run / source).is_file()


def test_figures_draw_the_numbers_of_the_run(run: Path) -> None:
    svg = {figure.name: figure.svg for figure in run_figures(RunFacts.read(run))}
    assert curve(svg["epe"], BLUE) == pytest.approx([8.5, 8.0, 7.5, 7.0, 7.25], abs=1e-3)
    assert "best epoch, 7.000 px" in svg["epe"]
    assert "clip at 5" in svg["gradients"]
    assert all(f">{phase}</text>" in svg["time"] for phase in PHASES)
    assert len(re.findall("text-anchor: middle[^>]*>20</text>", svg["fairness"])) == 27


def curve(svg: str, colour: str) -> list[float]:
    """The y values of the line of that colour, back from the picture by the ticks of the y axis."""
    tick = r'<use [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*/>\s*</g>\s*</g>\s*<g>\s*<text [^>]*>([\d.]+)</text>'
    found = [(float(x), float(y), float(label)) for x, y, label in re.findall(tick, svg)]
    (_, low, first), (_, high, last) = (mark for mark in (found[-2], found[-1]))
    path = re.search(rf'<path d="([^"]*)"[^>]*stroke: {colour}; stroke-width: 1.8', svg)
    assert path
    heights = [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path[1])]
    return [first + (y - low) / (high - low) * (last - first) for y in heights]
