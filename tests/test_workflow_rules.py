"""Snakemake and the gates together: the rules of design section 8, followed through several attempts.

The workflow is the real one; only the commands of its gates are toys (see `toy_workflow`), except in the last test.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from edgeflownas.artifacts import PROJECT_ROOT, read_json
from edgeflownas.data.synthetic import SyntheticParameters, generate
from edgeflownas.gates.lifecycle.starting import start_lock
from edgeflownas.gates.registry import GATES
from edgeflownas.nas.search_space import load_search_space
from edgeflownas.runs.manifest_checks import manifest_faults
from edgeflownas.selection.front import front_rows
from tests.handmade_runs import edit_json
from tests.spaces import small_space
from tests.toy_workflow import ToyWorkflow, end

ALL = ["gate1", "gate2", "gate3", "gate4"]
SLEEP = "import time; time.sleep(60)\n"


@pytest.fixture
def toy(tmp_path: Path) -> ToyWorkflow:
    """A copy of the workflow over toy commands."""
    return ToyWorkflow(tmp_path)


SHOWN = [path for gate in GATES for path in gate.publishes if not path.endswith((".ckpt", "/"))]


@pytest.mark.parametrize("path", SHOWN)
def test_every_published_file_has_its_caption_in_snakemakes_report(path: str) -> None:
    assert (PROJECT_ROOT / "rules/report" / f"{Path(path).name}.rst").read_text().strip()


def touch_source(toy: ToyWorkflow, gate: str) -> None:
    """Change the source that a gate, and every later one, depends on."""
    with open(toy.root / f"edgeflownas/gates/definitions/{gate}.py", "a") as file:
        file.write("# changed\n")


def test_strange_data_root_is_data_and_nothing_else(toy: ToyWorkflow) -> None:
    root = 'a; touch pwned $(touch pwned) it\'s "quoted"'
    run = toy.snakemake("data", "--config", f"data_root={root}")
    assert f"error: {root}: no such data folder" in run.stdout
    assert run.returncode == 1
    assert not list(toy.root.rglob("pwned*"))


@pytest.mark.slow
def test_another_name_of_the_same_python_makes_nothing_stale(toy: ToyWorkflow) -> None:
    names = {str(path) for path in Path(sys.executable).parent.glob("python*[0-9n]")}
    assert toy.snakemake("data").returncode == 0
    for other in names - {sys.executable}:
        assert "Nothing to be done" in toy.snakemake("-n", "data", python=other).stdout, other
    assert len(names) >= 2


def test_wrong_config_is_one_line(toy: ToyWorkflow) -> None:
    run = toy.snakemake("gate1", "--config", "sed=3", "train={batch_size: x}")
    errors = [line for line in run.stdout.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "unknown key sed; did you mean seed?" in errors[0]
    assert "train.batch_size: expected a whole number" in errors[0]
    assert "Traceback" not in run.stdout
    assert run.returncode == 2


@pytest.mark.slow
def test_the_clusters_script_is_rendered_for_the_site_of_the_profile(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "gate4", "--snakefile", str(PROJECT_ROOT / "Snakefile"), "-n", "-p"]
    command += ["--cores", "1", "--config", f"workflow={{output_dir: {tmp_path}/outputs}}"]
    site = ["--default-resources", "slurm_account=lab", "slurm_partition=gpu"]
    for arguments, expected in (
        (site, "--gpus 0 --sbatch=--account=lab --sbatch=--partition=gpu -- "),
        ([], "--gpus 0 -- "),
    ):
        run = subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        (line,) = [line for line in run.stdout.splitlines() if "-m edgeflownas.reporting.launch_scripts" in line]
        assert expected in line


IMPOSSIBLE = ["--config", "train={num_epochs: 3}", "eval={bn_recal_batches: 4}"]


@pytest.mark.slow
def test_a_config_that_no_gate_could_pass_is_refused_before_anything_runs(toy: ToyWorkflow) -> None:
    for asked in (["gate4"], ["gate3", "-n"], ["gate3_judge"], []):
        run = toy.snakemake(*asked, *IMPOSSIBLE)
        assert run.returncode == 2, run.stdout
        errors = [line for line in run.stdout.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert "gate3 is refused: eval.bn_recal_batches is 4" in errors[0]
        assert "gate3 is refused: train.num_epochs is 3" in errors[0]
        assert "Traceback" not in run.stdout
    assert toy.ran() == []


@pytest.mark.slow
def test_what_asks_for_no_such_gate_takes_such_a_config(toy: ToyWorkflow) -> None:
    assert toy.snakemake("gate2", *IMPOSSIBLE).returncode == 0
    assert toy.ran() == ["gate1", "gate2"]
    for target in ("data", "learning", "fidelity", "ablation"):
        run = toy.snakemake("-n", target, *IMPOSSIBLE)
        assert run.returncode == 0, run.stdout


def test_a_config_that_contradicts_that_of_a_study_concerns_the_study_alone(toy: ToyWorkflow) -> None:
    larger_than_its_scenes = ["--config", "network={height: 180, width: 240}"]
    assert toy.snakemake("-n", "gate1", *larger_than_its_scenes).returncode == 0
    for study in ("fidelity", "ablation"):
        run = toy.snakemake("-n", study, *larger_than_its_scenes)
        assert run.returncode == 2, run.stdout
        assert f"error: config/{study}.yaml, row " in run.stdout
        assert "data.synthetic.height 112 is smaller than network.height 180" in run.stdout


@pytest.mark.slow
def test_failed_gate_is_repaired_inside_that_gate(toy: ToyWorkflow) -> None:
    toy.toy("gate3", "import sys; print('no such weight'); sys.exit(7)\n")
    run = toy.snakemake("gate4")
    assert (run.returncode, toy.ran()) == (1, ["gate1", "gate2", "gate3"])
    for words in ("gate3 failed (attempt 1)", "work ended with exit code 7", "no such weight", "toys/gate3.py"):
        assert words in run.stdout
    assert toy.report("gate3", 1)["status"] == "failed"
    assert [toy.verdict_stands(gate) for gate in ALL] == [True, True, False, False]

    # Not repaired: it fails again, and nothing else runs.
    assert (toy.snakemake("gate4").returncode, toy.ran()) == (1, ["gate3"])
    run = toy.snakemake("supernet")
    assert (run.returncode, toy.ran()) == (2, [])
    assert "error: the long run is refused: gate3 is failed" in run.stdout

    toy.toy("gate3")
    run = toy.snakemake("gate3")
    assert (run.returncode, toy.ran()) == (0, ["gate3"])
    assert "next: `snakemake gate4 --profile local`" in run.stdout
    assert toy.report("gate3", 3)["status"] == "passed"
    assert (toy.snakemake("gate4").returncode, toy.ran()) == (0, ["gate4"])
    run = toy.snakemake("gate4")
    assert "Nothing to be done" in run.stdout
    assert (run.returncode, toy.ran()) == (0, [])
    assert (toy.snakemake("supernet").returncode, toy.ran()) == (0, ["supernet"])


@pytest.mark.slow
def test_criterion_that_is_not_met_says_what_to_repeat_and_what_changed(toy: ToyWorkflow) -> None:
    toy.toy("gate1", "print('a line <b>of the log</b>')\n")
    with open(toy.root / "edgeflownas/gates/registry.py", "a") as file:
        file.write(
            "from edgeflownas.gates.criteria import Criterion, same\n"
            "ASKED = (Criterion('the answer is 42', lambda evidence: same(41, 42), ('work',)),)\n"
            "GATES = (dataclasses.replace(GATES[0], criteria=ASKED), *GATES[1:])\n"
        )
    said = toy.snakemake("gate1").stdout
    report = (toy.root / "outputs/supernet/gates/gate1/attempts/0001/report.md").read_text()
    for text in (said, report):
        for words in (
            "gate1 failed (attempt 1)",
            "because the answer is 42: observed 41; expected 42",
            "repeat work alone: python toys/gate1.py",
            "log: outputs/supernet/gates/gate1/attempts/0001/logs/work.log",
            "last lines of outputs/supernet/gates/gate1/attempts/0001/logs/work.log:\n  a line <b>of the log</b>",
            "next: fix it, then `snakemake gate1 --profile local`",
        ):
            assert words in text
    # The last thing on the terminal is what to do: nothing of Snakemake's comes behind it but how long it took.
    lines = [line for line in said.splitlines() if line]
    assert lines[-2].startswith("next: fix it")
    assert lines[-1].startswith("Elapsed time")
    assert "CalledProcessError" not in said
    log = (toy.root / "outputs/supernet/gates/gate1/logs/judge.log").read_text()
    assert "✗ the answer is 42" in log
    assert "next: fix it" in log
    toy.snakemake("gate1", "--config", "train={lr: 2e-4}")
    report = (toy.root / "outputs/supernet/gates/gate1/attempts/0002/report.md").read_text()
    assert "- changed since the previous attempt:\n    - config train.lr: 0.002 -> 0.0002\n" in report[:400]
    page = (toy.root / "outputs/supernet/provenance.html").read_text()
    assert "a line &lt;b&gt;of the log&lt;/b&gt;" in page
    assert "config train.lr: 0.002 -&gt; 0.0002" in page


@pytest.mark.slow
def test_gates_go_stale_with_what_they_certified(toy: ToyWorkflow) -> None:
    assert (toy.snakemake("gate4").returncode, toy.ran()) == (0, ALL)

    (toy.root / "README.md").write_text("hello\n")
    (toy.root / "edgeflownas/studies/new_plot.py").write_text("PLOT = True\n")
    with open(toy.root / "config/config.yaml", "a") as file:
        file.write("# a comment\n")
    assert (toy.snakemake("gate4").returncode, toy.ran()) == (0, [])

    touch_source(toy, "gate3")
    assert "stale" in toy.gates("status").splitlines()[3]
    assert (toy.snakemake("gate4").returncode, toy.ran()) == (0, ["gate3", "gate4"])

    # What only gate 4 and the published config depend on.
    changed = ("gate4", "--config", "fast_mode={max_samples: 5}")
    assert (toy.snakemake(*changed).returncode, toy.ran()) == (0, ["gate1", "gate4"])
    assert (toy.snakemake(*changed).returncode, toy.ran()) == (0, [])


@pytest.mark.slow
def test_killed_snakemake_leaves_no_riddle(toy: ToyWorkflow) -> None:
    toy.toy("gate2", SLEEP)
    run = toy.begin("gate4")
    toy.wait_until_running("gate2")
    beside = toy.snakemake("gate4")
    assert beside.returncode == 2
    assert "is in use by process" in beside.stdout or "is still running" in beside.stdout

    end(run, signal.SIGKILL)
    # The command lives on: nothing is started beside it, and the sentence says where it is.
    beside = toy.snakemake("gate4")
    assert (beside.returncode, toy.ran()) == (2, ["gate1", "gate2"])
    assert "gate2 attempt 1 is still running (process " in beside.stdout

    folder = toy.root / "outputs/supernet/gates/gate2/attempts/0001"
    os.kill(read_json(folder / "commands/01_work.json")["process"]["pid"], signal.SIGKILL)
    toy.toy("gate2")
    assert (toy.snakemake("gate4").returncode, toy.ran()) == (0, ["gate2", "gate3", "gate4"])
    assert toy.report("gate2", 1)["status"] == "interrupted"
    assert toy.report("gate2", 2)["status"] == "passed"


@pytest.mark.slow
def test_ctrl_c_is_an_attempt_too(toy: ToyWorkflow) -> None:
    toy.toy("gate2", SLEEP)
    run = toy.begin("gate4")
    toy.wait_until_running("gate2")
    os.killpg(run.pid, signal.SIGINT)
    run.wait(timeout=60)
    assert toy.report("gate2", 1)["status"] == "interrupted"
    toy.ran()
    toy.toy("gate2")
    assert (toy.snakemake("gate2").returncode, toy.ran()) == (0, ["gate2"])


@pytest.mark.slow
@pytest.mark.xdist_group("checkout")
def test_real_gates_pass_on_a_tiny_config(tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = tmp_path / "tiny.yaml"
    # A space of 16 subnets, whose eval pool has 8, and a supernet that learns the few scenes it is evaluated on.
    config.write_text(
        f"""
target: arm_high_end
network: {{init_neurons: 4, height: 45, width: 64, search_space: {small_space(tmp_path)}}}
data:
  source: synthetic
  root: {tmp_path / "data"}
  synthetic: {{train: 16, val: 8, height: 60, width: 80, seed: 7}}
train: {{num_epochs: 6, batch_size: 4, steps_per_epoch: 160, lr: 4e-3}}
eval: {{batch_size: 4, max_samples: 16, split: train}}
fast_mode: {{steps_per_epoch: 2, max_samples: 2}}
selection: {{shards: 2, samples: 12}}
retrain: {{subnets: 2, set: {{train: {{num_epochs: 2, lr: 2e-3}}}}}}
workflow: {{output_dir: {out}, gate4_batch_size: 2}}
"""
    )
    space = load_search_space(str(tmp_path / "small.yaml"))

    def snakemake(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", *words, "--profile", "local", "--configfile", str(config)]
        return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)

    for target in ("gate4", "supernet", "gate6"):
        run = snakemake(target)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "Nothing to be done" in snakemake(target).stderr
    names = [gate.name for gate in GATES[:6]]
    verdicts = {name: read_json(out / f"gates/{name}.json", schema="verdict.schema.json") for name in names}
    for gate in GATES[:6]:
        verdict = verdicts[gate.name]
        assert (verdict["status"], verdict["attempt"]) == ("passed", 1)
        assert [artifact["path"] for artifact in verdict["artifacts"]] == list(gate.publishes_in(space))
    assert manifest_faults(out / "train_manifest.json") == []
    assert (out / "eval_pool_8.json").is_file()
    names = ["evaluate_1", "evaluate_2", "merge", "chip_costs", "repeat", "one_by_one", "select"]
    assert sorted(record["name"] for record in verdicts["gate5"]["commands"]) == sorted(names)
    table = pd.read_csv(out / "subnets.csv", dtype={"code": str})
    assert len(table) == space.size
    # The front is of milliseconds, and all of this small space was compiled.
    assert set(table.loc[table["on_front"] == 1, "code"]) == set(table["code"][front_rows(table["ms"], table["epe"])])
    assert table["compiled"].all()
    assert len(list((out / "chip_costs").iterdir())) == space.size
    selection = read_json(out / "selection.json", schema="selection.schema.json")
    assert (selection["cost"], selection["chip"]["target"]) == ("ms", "arm_high_end")
    assert all(pick["ms"] > 0 for pick in selection["picks"])
    retrained = read_json(out / "retrained.json", schema="retrained.schema.json")
    for pick in retrained["picks"]:
        assert pick["epe"] < pick["start_epe"] == pytest.approx(pick["inherited_epe"], abs=1e-5)
        manifest = out / "runs/gate6" / pick["run"] / "train_manifest.json"
        assert read_json(manifest)["init_from"]["sha256"] == retrained["selection"]["checkpoint"]
    # What is delivered is judged on other samples than those of its calibration, so the picks are trained once more.
    others = "retrain={subnets: 2, must_improve: false, set: {train: {num_epochs: 1}, eval: {split: val}}}"
    delivered = ("gate7", "--config", others)
    run = snakemake(*delivered)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Nothing to be done" in snakemake(*delivered).stderr
    page = (out / "provenance.html").read_text()
    assert f"All {len(GATES)} gates are up to date." in page
    assert 'href="selection.html"' in page
    assert 'href="deploy.html"' in page
    for pick in read_json(out / "retrained.json")["picks"]:
        facts = read_json(out / "deploy" / pick["run"] / "export.json", schema="deploy_export.schema.json")
        assert (facts["code"], facts["chip"]["fits"]) == (pick["code"], True)
        assert all((out / "deploy" / pick["run"] / name).is_file() for name in facts["files"])
    report = tmp_path / "report.html"
    shown = snakemake(*delivered, "--report", str(report))
    assert shown.returncode == 0, shown.stderr
    text = report.read_text()
    for words in ("Gate 1: foundation", "counted from what was executed", "every criterion with what was observed"):
        assert words in text
    for gate in GATES:
        for path in (path for path in gate.publishes_in(space) if not path.endswith((".ckpt", "/"))):
            assert Path(path).name in text


def kill_within_gate1(toy: ToyWorkflow) -> Path:
    """Kill a run and its command within gate 1; returns the folder of the attempt."""
    toy.toy("gate1", SLEEP)
    run = toy.begin("gate1")
    toy.wait_until_running("gate1")
    end(run, signal.SIGKILL)
    folder = sorted((toy.root / "outputs/supernet/gates/gate1/attempts").glob("[0-9]*"))[-1]
    os.kill(read_json(folder / "commands/01_work.json")["process"]["pid"], signal.SIGKILL)
    toy.ran()
    toy.toy("gate1")
    return folder


@pytest.mark.slow
def test_a_gate_goes_on_after_every_attempt_that_was_put_aside(toy: ToyWorkflow) -> None:
    for number in (1, 2):
        folder = kill_within_gate1(toy)
        assert folder.name == f"{number:04d}"
        (folder / "start.json").write_text("{")
        refused = toy.snakemake("gate1")
        assert (refused.returncode, toy.ran()) == (2, [])
        assert "abandon gate1" in refused.stdout
        toy.gates("abandon", "gate1")
        assert (folder.with_name(f"{number:04d}.damaged.1") / "start.json").read_text() == "{"
    assert (toy.snakemake("gate1").returncode, toy.ran()) == (0, ["gate1"])
    assert toy.report("gate1", 3)["trigger"] == 3
    assert (toy.snakemake("gate1").returncode, toy.ran()) == (0, [])


@pytest.mark.slow
def test_a_gate_runs_whatever_snakemake_remembers_of_it(toy: ToyWorkflow) -> None:
    gates = toy.root / "outputs/supernet/gates"
    assert (toy.snakemake("gate1").returncode, toy.ran()) == (0, ["gate1"])
    # Somebody cleared the records, but not what Snakemake knows of the files.
    shutil.rmtree(gates / "gate1/attempts")
    assert (toy.snakemake("gate1").returncode, toy.ran()) == (0, ["gate1"])
    # A stale gate whose files were touched, or of which Snakemake remembers nothing, is stale.
    touch_source(toy, "gate1")
    toy.snakemake("gate1", "--touch")
    assert (toy.snakemake("gate1").returncode, toy.ran()) == (0, ["gate1"])
    shutil.rmtree(toy.root / ".snakemake")
    touch_source(toy, "gate1")
    assert (toy.snakemake("gate1", "--drop-metadata").returncode, toy.ran()) == (0, ["gate1"])
    # One that passed stands, though its done files are gone, or were copied in another order.
    done = gates / "gate1/done" / f"{toy.report('gate1', 4)['trigger']:04d}"
    os.utime(done / "start.json")
    assert (toy.snakemake("gate1").returncode, toy.ran()) == (0, [])
    toy.snakemake("gate1", "--delete-all-output")
    assert (toy.snakemake("gate2").returncode, toy.ran()) == (0, ["gate2"])
    assert (toy.snakemake("gate2").returncode, toy.ran()) == (0, [])


@pytest.mark.slow
def test_a_forced_part_of_a_gate_is_the_whole_gate(toy: ToyWorkflow) -> None:
    assert (toy.snakemake("gate2").returncode, toy.ran()) == (0, ["gate1", "gate2"])
    for attempt, forced in enumerate((("-R", "gate1_judge"), ("--forcerun", "gate1_work"), ("--force",)), start=2):
        run = toy.snakemake("gate1", *forced)
        assert (run.returncode, toy.ran()) == (0, ["gate1"])
        assert toy.report("gate1", attempt)["status"] == "passed"
        assert "next: `snakemake gate2 --profile local`" in run.stdout
    # All of them, one after another.
    run = toy.snakemake("gate2", "--forceall")
    assert (run.returncode, toy.ran()) == (0, ["gate1", "gate2"])
    assert "next: `snakemake gate3 --profile local`" in run.stdout
    # Looking, or stopping early, costs nothing that stands.
    for harmless in (("--until", "gate1_work"), ("--omit-from", "gate1_judge"), ("--touch",), ("--forceall", "-n")):
        toy.snakemake("gate2", *harmless)
        assert [toy.verdict_stands(gate) for gate in ("gate1", "gate2")] == [True, True]
    assert (toy.snakemake("gate2").returncode, toy.ran()) == (0, [])


@pytest.mark.slow
def test_a_refused_start_unmakes_nothing(toy: ToyWorkflow) -> None:
    with open(toy.root / "edgeflownas/gates/registry.py", "a") as file:
        file.write("GATES = tuple(dataclasses.replace(g, artifacts=gate1.GATE.artifacts) for g in GATES)\n")
    assert (toy.snakemake("gate1").returncode, toy.ran()) == (0, ["gate1"])
    verdict = (toy.root / "outputs/supernet/gates/gate1.json").read_bytes()
    # Its start is refused, because another process is starting it.
    with start_lock(toy.root / "outputs/supernet", "gate1"):
        run = toy.snakemake("gate1", "-R", "gate1_judge")
    assert "error: gate1 is being started by process" in run.stdout
    assert (run.returncode, toy.ran()) == (1, [])
    assert (toy.root / "outputs/supernet/gates/gate1.json").read_bytes() == verdict
    assert (toy.root / "outputs/supernet/config.json").is_file()
    assert (toy.snakemake("gate1").returncode, toy.ran()) == (0, [])


def use_data(toy: ToyWorkflow) -> None:
    """Let gates 3 and 4 wait for the data index, as the real ones do."""
    with open(toy.root / "edgeflownas/gates/registry.py", "a") as file:
        file.write("GATES = tuple(dataclasses.replace(g, uses_data=g.number > 2) for g in GATES)\n")


@pytest.mark.slow
def test_a_wrong_data_root_makes_no_gate_stale_and_other_data_do(toy: ToyWorkflow) -> None:
    use_data(toy)
    root = toy.root / "own"
    generate(root, SyntheticParameters(train=2, val=1, height=200, width=264, seed=3))
    right = ("gate4", "--config", f"data_root={root}", "data={allow_copies: true}")
    assert (toy.snakemake(*right).returncode, toy.ran()) == (0, ALL)
    assert (toy.snakemake(*right).returncode, toy.ran()) == (0, [])
    run = toy.snakemake("gate4", "--config", f"data_root={root}x", "data={allow_copies: true}")
    assert f"error: {root}x: no such data folder" in run.stdout
    assert (run.returncode, toy.ran()) == (1, [])
    assert [toy.verdict_stands(gate) for gate in ALL] == [True] * 4
    status = {line.split()[0]: line for line in toy.gates("status").splitlines() if line}
    assert [" passed " in status[gate] for gate in ALL] == [True] * 4
    run = toy.snakemake(*right)
    assert "Nothing to be done" in run.stdout
    assert (run.returncode, toy.ran()) == (0, [])
    # Gates that wait for the index run again with other data, in the same call.
    for number in (1, 2):
        for file in list((root / "train").glob("0000000-*")):
            shutil.copy(file, file.with_name(file.name.replace("0000000", f"000010{number}")))
        run = toy.snakemake(*right)
        assert (run.returncode, toy.ran()) == (0, ["gate3", "gate4"]), run.stdout
        assert (toy.snakemake(*right).returncode, toy.ran()) == (0, [])


@pytest.mark.slow
def test_a_refused_long_run_unmakes_nothing(toy: ToyWorkflow) -> None:
    assert (toy.snakemake("gate4").returncode, toy.ran()) == (0, ALL)
    assert (toy.snakemake("supernet").returncode, toy.ran()) == (0, ["supernet"])
    with start_lock(toy.root / "outputs/supernet", "supernet"):
        run = toy.snakemake("supernet", "-R", "long_run")
    assert "error: supernet is being started by process" in run.stdout
    assert (run.returncode, toy.ran()) == (1, [])
    run = toy.snakemake("supernet")
    assert "Nothing to be done" in run.stdout
    assert (run.returncode, toy.ran()) == (0, [])


@pytest.mark.slow
def test_done_files_of_attempts_that_are_over_go_and_their_numbers_stay_taken(toy: ToyWorkflow) -> None:
    folder = toy.root / "outputs/supernet/gates/gate1/done"
    for number in (1, 2, 3):
        assert (toy.snakemake("gate1", "--force").returncode, toy.ran()) == (0, ["gate1"])
        assert [path.name for path in folder.iterdir()] == [f"{number:04d}"]
    assert (toy.snakemake("gate1").returncode, toy.ran()) == (0, [])


PARTS = ["gate5_part_1", "gate5_part_2", "gate5_part_3"]


@pytest.mark.slow
def test_a_gate_after_the_long_run_starts_once_that_has_passed(toy: ToyWorkflow) -> None:
    for asked in (["gate5"], ["gate5", "-n"], ["gate5_part_2"]):
        run = toy.snakemake(*asked)
        assert "error: gate5 is refused: the long run is never run; run `snakemake supernet` first" in run.stdout
        assert (run.returncode, toy.ran()) == (2, [])
    run = toy.snakemake("gate4")
    assert (run.returncode, toy.ran()) == (0, ALL)
    assert "next: `snakemake supernet --profile local`" in run.stdout
    assert (toy.snakemake("gate5").returncode, toy.ran()) == (2, [])
    run = toy.snakemake("supernet")
    assert (run.returncode, toy.ran()) == (0, ["supernet"])
    assert "next: `snakemake gate5 --profile local`" in run.stdout
    run = toy.snakemake("gate5")
    ran = toy.ran()
    assert (run.returncode, sorted(ran[:3]), ran[3:]) == (0, PARTS, ["gate5"])
    assert "gate5 passed" in run.stdout
    assert "next: `snakemake gate6 --profile local`" in run.stdout
    assert [line.split()[:2] for line in toy.gates("status").splitlines()[1:7]] == [
        [stage, "passed"] for stage in (*ALL, "supernet", "gate5")
    ]
    report = toy.report("gate5", 1)
    assert [record["name"] for record in report["commands"]][3:] == ["work"]
    assert report["before"]["gate"] == "supernet"
    assert "everything agrees with the verdicts" in toy.gates("verify")
    for target in ("gate5", "gate4", "supernet"):
        run = toy.snakemake(target)
        assert "Nothing to be done" in run.stdout
        assert (run.returncode, toy.ran()) == (0, [])


@pytest.mark.slow
def test_a_gate_after_the_long_run_goes_stale_with_what_it_certified(toy: ToyWorkflow) -> None:
    for target in ("gate4", "supernet", "gate5"):
        assert toy.snakemake(target).returncode == 0
    toy.ran()
    touch_source(toy, "gate5")
    assert (toy.snakemake("gate4").returncode, toy.ran()) == (0, [])
    assert (toy.snakemake("gate5").returncode, sorted(toy.ran())) == (0, ["gate5", *PARTS])
    # What an earlier gate depends on, too: those run again, and the long run does not.
    touch_source(toy, "gate4")
    assert (toy.snakemake("gate5").returncode, sorted(toy.ran())) == (0, ["gate4", "gate5", *PARTS])
    # Picks concern no other gate, and how the evaluation is cut not even this one.
    picked = ("gate5", "--config", "selection={budget: 900}")
    assert (toy.snakemake(*picked).returncode, sorted(toy.ran())) == (0, ["gate5", *PARTS])
    otherwise_cut = ("gate5", "--config", "selection={budget: 900, shards: 2}")
    assert (toy.snakemake(*otherwise_cut).returncode, toy.ran()) == (0, [])
    assert (toy.snakemake("gate5").returncode, sorted(toy.ran())) == (0, ["gate5", *PARTS])

    manifest = toy.root / "outputs/supernet/runs/supernet/train_manifest.json"
    edit_json(manifest, global_step=21)
    assert "the long run reached something else since" in toy.gates("status").splitlines()[6]
    assert (toy.snakemake("gate5").returncode, sorted(toy.ran())) == (0, ["gate5", *PARTS])
    manifest.unlink()
    run = toy.snakemake("gate5")
    assert (run.returncode, toy.ran()) == (2, [])
    assert "error: gate5 is refused: the long run is stale" in run.stdout

    # A supernet of another configuration is none of its business.
    assert toy.snakemake("gate4", "--config", "train={lr: 2e-4}").returncode == 0
    run = toy.snakemake("gate5", "--config", "train={lr: 2e-4}")
    assert "the long run is stale (config train.lr: 0.002 -> 0.0002" in run.stdout


# It takes the codes of a file that an earlier gate after the long run publishes.
BUILT_ON = """
from pathlib import Path
def _toy_picks(output_dir, config):
    path = Path("picks.txt")
    return path.read_text() if path.is_file() else None
GATES = tuple(dataclasses.replace(g, built_on=_toy_picks) if g.name == "gate6" else g for g in GATES)
"""
TRAINED = ["gate6_part_1", "gate6_part_2", "gate6_part_3"]


@pytest.mark.slow
def test_a_gate_that_takes_of_another_runs_again_with_it_and_goes_stale_when_that_is_something_else(
    toy: ToyWorkflow,
) -> None:
    with open(toy.root / "edgeflownas/gates/registry.py", "a") as file:
        file.write(BUILT_ON)
    for target in ("gate4", "supernet", "gate6"):
        assert toy.snakemake(target).returncode == 0
    assert sorted(toy.ran()[5:]) == ["gate5", *PARTS, "gate6", *TRAINED]
    assert (toy.snakemake("gate6").returncode, toy.ran()) == (0, [])
    # A gate before it that must run again may publish something else: in the same call, not only in the next one.
    (toy.root / "outputs/supernet/gates/gate5.json").unlink()
    assert (toy.snakemake("gate6").returncode, sorted(toy.ran())) == (0, ["gate5", *PARTS, "gate6", *TRAINED])
    (toy.root / "picks.txt").write_text("222222222")
    assert "what it takes of the gates before it is something else since" in toy.gates("status").splitlines()[7]
    assert (toy.snakemake("gate6").returncode, sorted(toy.ran())) == (0, ["gate6", *TRAINED])


# The second part fails once all run, and the others end after its failure was recorded.
FAILING_PART = """
import pathlib, time
def wait(until):
    while not until(): time.sleep(0.1)
if sys.argv[1] == "2":
    wait(lambda: len(open("ran.txt").read().split()) == 3)
    sys.exit("no such subtree")
records = pathlib.Path("outputs/supernet/gates/gate5/attempts/0001/commands")
wait(lambda: any('"failed"' in path.read_text() for path in records.glob("*part_2.json")))
"""


@pytest.mark.slow
def test_of_parts_side_by_side_the_last_one_closes_a_failed_attempt(toy: ToyWorkflow) -> None:
    for target in ("gate4", "supernet"):
        assert toy.snakemake(target).returncode == 0
    toy.ran()
    toy.toy("gate5_part", FAILING_PART)
    run = toy.snakemake("gate5", "--cores", "3")
    assert (run.returncode, sorted(toy.ran())) == (1, PARTS)
    assert "gate5 · part_2 failed; commands beside it still run" in run.stdout
    report = toy.report("gate5", 1)
    assert (report["status"], report["why"]) == ("failed", ["part_2 ended with exit code 1, expected 0"])
    assert {record["name"]: record["status"] for record in report["commands"]} == {
        "part_1": "done",
        "part_2": "failed",
        "part_3": "done",
    }
    # It is said once, at the end, with what to do.
    assert run.stdout.count("gate5 failed (attempt 1)") == 1
    assert "no such subtree" in run.stdout
    toy.toy("gate5_part")
    assert (toy.snakemake("gate5").returncode, sorted(toy.ran())) == (0, ["gate5", *PARTS])
    assert toy.report("gate5", 2)["status"] == "passed"


@pytest.mark.slow
def test_ctrl_c_ends_all_parts_of_a_gate(toy: ToyWorkflow) -> None:
    for target in ("gate4", "supernet"):
        assert toy.snakemake(target).returncode == 0
    toy.ran()
    toy.toy("gate5_part", SLEEP)
    run = toy.begin("gate5", "--cores", "3")
    for _ in range(400):
        if len((toy.root / "ran.txt").read_text().split() if (toy.root / "ran.txt").exists() else []) == 3:
            break
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    run.wait(timeout=60)
    report = toy.report("gate5", 1)
    assert report["status"] == "interrupted"
    assert [record["status"] for record in report["commands"]] == ["interrupted"] * 3
