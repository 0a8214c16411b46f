"""Launch scripts run the same command, and the training report holds what the run directory holds."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from edgeflownas.artifacts import read_json
from edgeflownas.errors import UserError
from edgeflownas.reporting.launch_scripts import Resources, compare_scripts, main, parse_script, render_scripts
from edgeflownas.reporting.training_report import training_report
from tests.handmade_runs import edit_json, make_config, make_run

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


def test_report_ranks_the_pool_with_the_cost_of_each_subnet(run: Path) -> None:
    from edgeflownas.nas.search_space import load_search_space
    from edgeflownas.network.cost import subnet_cost

    lines = training_report(run).splitlines()
    ranks = [line.split(" | ") for line in lines if line.startswith("| ") and line.count(",") >= 8]
    assert [line[0] for line in ranks] == [f"| {rank}" for rank in range(1, 13)]
    epes = [float(line[2]) for line in ranks]
    assert epes == sorted(epes) == [7.0] * 6 + [7.5] * 6
    lightest = next(line for line in ranks if line[1] == "0,0,0,0,0,0,0,0,0")
    cost = subnet_cost(load_search_space(), (0,) * 9, 45, 64, make_config()["network.init_neurons"])
    assert lightest[3] == f"{cost['params']:,}"


def test_report_says_how_the_error_compares_with_no_motion(run: Path) -> None:
    text = training_report(run)
    assert "mean EPE of 7.2500 px" in text
    assert "predicting no motion at all gives 9.0000 px. The supernet's error is 80.6% of that." in text


def test_report_warns_of_a_smoke_run(run: Path) -> None:
    text = training_report(run)
    for words in (
        "20 steps are a smoke run",
        "1 training and 1 validation pairs are few",
        "The data are generated",
        "The run ended before its schedule",
        "100% of the last epoch's steps were clipped",
    ):
        assert words in text
    assert "not better than predicting no motion" not in text


def test_report_warns_when_the_cpu_did_a_gpus_work(run: Path) -> None:
    device = json.loads((run / "train_manifest.json").read_text())["device"]
    edit_json(run / "train_manifest.json", device=device | {"requested": 0})
    assert "GPU 0 was asked for; the CPU did the work." in training_report(run)


def test_report_of_a_run_without_an_epoch_says_so(run: Path) -> None:
    (run / "eval_epe_history.csv").unlink()
    assert "No epoch was completed" in training_report(run)


def test_report_needs_a_valid_manifest(run: Path) -> None:
    manifest = read_json(run / "train_manifest.json")
    del manifest["seed"]
    (run / "train_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="'seed' is a required property"):
        training_report(run)
