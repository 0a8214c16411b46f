"""A verdict stands while its artifacts, code, config and data are as they were; nothing else proves anything."""

import importlib.metadata
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeflownas.artifacts import write_json
from edgeflownas.config import differences, resolve_config
from edgeflownas.deploy.targets import TARGET_FOLDER
from edgeflownas.errors import UserError
from edgeflownas.gates.__main__ import main
from edgeflownas.gates.lifecycle import digests, sources, states
from edgeflownas.gates.lifecycle.attempts import Attempt, open_attempt
from edgeflownas.gates.lifecycle.digests import (
    computing_now,
    relevant_config,
    relevant_source,
    relevant_versions,
)
from edgeflownas.gates.lifecycle.evaluation import evaluate_gate
from edgeflownas.gates.lifecycle.recorder import now
from edgeflownas.gates.lifecycle.reports import failures_since
from edgeflownas.gates.lifecycle.starting import close_ended, close_interrupted, start_gate, start_lock
from edgeflownas.gates.lifecycle.states import GateState, gate_states, require_up_to_date, verdict_path
from edgeflownas.gates.registry import GATES, STAGES, find_gate
from edgeflownas.nas.search_space import SEARCH_SPACE_FOLDER
from edgeflownas.processes import this_process
from edgeflownas.source_code import reached_from
from tests.handmade_gates import make_evidence, passed_chain
from tests.handmade_runs import OVERRIDES, make_config

CONFIG = make_config()


def passed_gate(output_dir: Path, name: str, **overrides: Any) -> Attempt:
    """An attempt made by hand that passes."""
    evidence = make_evidence(name, output_dir, **overrides)
    report = evaluate_gate(evidence.gate, evidence.attempt, output_dir)
    assert report["status"] == "passed", report["why"]
    return evidence.attempt


def state(output_dir: Path, number: int, config: Any = CONFIG) -> GateState:
    """The state of one gate."""
    return gate_states(output_dir, config)[number - 1]


def start(output_dir: Path, name: str, config: Any = CONFIG) -> Attempt:
    """Begin an attempt."""
    return start_gate(find_gate(name), output_dir, None, OVERRIDES, config, None)


@pytest.mark.parametrize("gate", [gate.name for gate in GATES])
def test_good_attempt_passes_and_publishes(gate: str, tmp_path: Path) -> None:
    attempt = passed_gate(tmp_path, gate)
    now = state(tmp_path, find_gate(gate).number)
    assert (now.state, now.why, now.trigger) == ("passed", (), attempt.number)
    for path in find_gate(gate).publishes:
        assert (tmp_path / path).is_dir() if path.endswith("/") else (tmp_path / path).is_file()


def test_gate_never_run_has_the_first_trigger(tmp_path: Path) -> None:
    assert (state(tmp_path, 1).state, state(tmp_path, 1).trigger) == ("never run", 1)


def test_other_config_makes_stale_and_names_the_key(tmp_path: Path) -> None:
    passed_gate(tmp_path, "gate3")
    now = state(tmp_path, 3, make_config(train__lr=0.1))
    assert (now.state, now.why, now.trigger) == ("stale", ("config train.lr: 0.0001 -> 0.1",), 2)


def test_config_that_a_gate_does_not_depend_on_leaves_it_up_to_date(tmp_path: Path) -> None:
    passed_gate(tmp_path, "gate2")
    passed_gate(tmp_path, "gate3")
    config = make_config(train__lr=0.1, fast_mode__max_samples=3, data__workers=1, data__root="elsewhere")
    assert state(tmp_path, 2, config).state == "passed"
    assert state(tmp_path, 3, make_config(fast_mode__max_samples=3)).state == "passed"
    assert state(tmp_path, 3, make_config(train__accept_changed_code=True)).state == "passed"


def test_other_code_makes_this_gate_and_later_ones_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed_gate(tmp_path, "gate2")
    passed_gate(tmp_path, "gate3")
    changed = digests.source_files() | {"edgeflownas/training/trainer.py": "0" * 64}
    monkeypatch.setattr(states, "source_files", lambda: changed)
    assert [entry.state for entry in gate_states(tmp_path, CONFIG)][1:3] == ["passed", "stale"]


def test_other_data_make_only_the_gates_that_use_them_stale(tmp_path: Path) -> None:
    passed_gate(tmp_path, "gate2")
    passed_gate(tmp_path, "gate3")
    index = json.loads((tmp_path / "data_index.json").read_text())
    write_json(tmp_path / "data_index.json", index | {"root": "elsewhere"})
    assert state(tmp_path, 3).state == "passed"
    write_json(tmp_path / "data_index.json", index | {"digest": "0" * 64})
    assert state(tmp_path, 2).state == "passed"
    assert (state(tmp_path, 3).state, state(tmp_path, 3).why) == ("stale", ("data_index.json changed",))


@pytest.mark.parametrize("path", find_gate("gate4").publishes)
def test_changed_artifact_makes_stale(path: str, tmp_path: Path) -> None:
    passed_gate(tmp_path, "gate4")
    content = (tmp_path / path).read_bytes()
    (tmp_path / path).write_bytes(content[:-2] + b"x" + content[-1:])
    assert state(tmp_path, 4).why == (f"artifact {path} has other bytes than the gate published",)
    (tmp_path / path).unlink()
    assert state(tmp_path, 4).why == (f"artifact {path} is gone",)


def test_verdict_alone_proves_nothing(tmp_path: Path) -> None:
    passed_gate(tmp_path, "gate2")
    path = verdict_path(tmp_path, "gate2")
    path.write_text(path.read_text().replace('"exit_code": 0', '"exit_code": 1', 1))
    assert state(tmp_path, 2).why == ("its verdict is not that of attempt 1",)
    path.unlink()
    assert state(tmp_path, 2).why == ("its verdict is gone",)


def test_failed_criterion_publishes_nothing_and_leaves_its_report(tmp_path: Path) -> None:
    evidence = make_evidence("gate3", tmp_path)
    (evidence.run("gate3_trace") / "trace.jsonl").write_text("")
    report = evaluate_gate(evidence.gate, evidence.attempt, tmp_path)
    assert report["status"] == "failed"
    assert not verdict_path(tmp_path, "gate3").exists()
    assert not (tmp_path / "checkpoints").exists()
    assert "ran each path forward and backward" in (evidence.attempt.folder / "report.md").read_text()
    assert state(tmp_path, 3).trigger == 2


def test_gate_starts_only_on_gates_that_stand(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gate2 is refused: gate1 is never run"):
        start(tmp_path, "gate2")
    passed_gate(tmp_path, "gate1")
    assert start(tmp_path, "gate2").number == 1
    with pytest.raises(UserError, match=r"gate2 is refused: gate1 is stale \(config seed: 42 -> 43\)"):
        start(tmp_path, "gate2", make_config(seed=43))


def test_gate_2_refuses_the_ablation(tmp_path: Path) -> None:
    overrides = OVERRIDES | {"train.supernet_mode": "expectation_fairness", "train.execution": "sequential"}
    config = resolve_config(None, overrides)
    evidence = make_evidence("gate1", tmp_path)
    path = evidence.attempt.folder / "start.json"
    values = json.loads(path.read_text())
    values["config"] |= {"overrides": overrides}
    values["digests"] = digests.gate_digests(evidence.gate, digests.source_files(), config, tmp_path)
    path.write_text(json.dumps(values))
    evidence.attempt.log_path("dry_run").write_text(
        "\n".join([*config.values, config.hash, "target arm_high_end: fits, about 9"])
    )
    assert evaluate_gate(evidence.gate, evidence.attempt, tmp_path)["status"] == "passed"
    with pytest.raises(UserError, match=r"gate2 is refused: train\.supernet_mode is expectation_fairness"):
        start_gate(find_gate("gate2"), tmp_path, None, overrides, config, None)


def test_new_attempt_withdraws_the_verdict_and_empties_its_runs(tmp_path: Path) -> None:
    passed_gate(tmp_path, "gate1")
    passed_gate(tmp_path, "gate2")
    attempt = start(tmp_path, "gate2")
    assert attempt.number == 2
    assert not verdict_path(tmp_path, "gate2").exists()
    assert not (tmp_path / "runs/gate2").exists()
    assert (tmp_path / "runs/gate2.previous/fair_sampler_check.json").is_file()
    assert attempt.start["changes"] is not None
    assert attempt.start["before"]["gate"] == "gate1"


def test_attempt_without_a_living_owner_is_interrupted_and_closed_by_the_next(tmp_path: Path) -> None:
    first = start(tmp_path, "gate1")
    assert state(tmp_path, 1).state == "interrupted"
    assert state(tmp_path, 1).trigger == 2
    second = start(tmp_path, "gate1")
    assert second.number == 2
    report = first.report
    assert report is not None
    assert report["status"] == "interrupted"


def test_nothing_is_started_beside_a_living_attempt(tmp_path: Path) -> None:
    attempt = start(tmp_path, "gate1")
    attempt.write_command({"name": "help", "status": "running", "process": this_process() | {"slurm_job_id": None}})
    assert state(tmp_path, 1).state == "running"
    with pytest.raises(UserError, match=f"gate1 attempt 1 is still running .process {os.getpid()} on host"):
        start(tmp_path, "gate1")


def test_attempt_whose_job_is_being_cancelled_is_waited_for_and_then_named(tmp_path: Path) -> None:
    started = now()
    attempt = start(tmp_path, "gate1")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"]) as job:
        record = {"name": "help", "argv": ["help"], "expected_exit": 0, "status": "running", "started": started}
        owner = this_process(job.pid) | {"slurm_job_id": None}
        attempt.write_command(record | {"process": owner, "log": str(attempt.log_path("help"))})
        close_ended(tmp_path, started, patience_s=0.1)
        assert not attempt.is_closed
        # Reaped, so that it is gone; Slurm does that on a cluster.
        threading.Thread(target=job.wait, daemon=True).start()
        close_ended(tmp_path, started, patience_s=20)
    (said,) = failures_since(started, tmp_path)
    assert "gate1 interrupted (attempt 1)\n  because it ended without a report" in said


def test_attempt_of_an_earlier_call_is_not_closed_by_this_one(tmp_path: Path) -> None:
    attempt = start(tmp_path, "gate1")
    close_ended(tmp_path, now())
    assert not attempt.is_closed


def test_attempt_folder_without_a_start_is_no_attempt_and_its_number_is_not_given_again(tmp_path: Path) -> None:
    passed_gate(tmp_path, "gate1")
    folder = tmp_path / "gates/gate1/attempts/0002"
    (folder / "commands").mkdir(parents=True)
    (folder / ".start.json.x.tmp").write_text("{")
    assert (state(tmp_path, 1).state, state(tmp_path, 1).next_number) == ("passed", 3)
    assert start(tmp_path, "gate1").number == 3
    assert folder.is_dir()


@pytest.mark.parametrize("left", ["attempts/0007.damaged", "attempts/0007", "done/0007"])
def test_numbers_of_attempts_and_triggers_only_grow(left: str, tmp_path: Path) -> None:
    passed_gate(tmp_path, "gate1")
    (tmp_path / "gates/gate1" / left).mkdir(parents=True)
    assert state(tmp_path, 1, make_config(seed=3)).trigger == 8
    assert start(tmp_path, "gate1").number == 8


def test_a_command_gets_a_number_of_its_own_though_another_record_is_gone(tmp_path: Path) -> None:
    attempt = start(tmp_path, "gate1")
    for name in ("help", "dry_run", "self_test"):
        attempt.write_command({"name": name})
    (attempt.folder / "commands/01_help.json").unlink()
    attempt.write_command({"name": "wrong_length"})
    assert [record["name"] for record in attempt.commands()] == ["dry_run", "self_test", "wrong_length"]


def test_only_one_process_starts_an_attempt_at_a_time(tmp_path: Path) -> None:
    settings = [word for key, value in OVERRIDES.items() for word in ("--set", f"{key}={value}")]
    command = ["start", "gate1", "--output_dir", str(tmp_path), *settings]
    expected = f"gate1 is being started by process {os.getpid()}"
    with start_lock(tmp_path, "gate1"), pytest.raises(UserError, match=expected):
        main(command)
    assert main(command) == 0


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"status": "passed"}', '{"epe": NaN}'])
def test_damaged_report_is_shown_beside_the_other_gates_and_the_gate_runs_again(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passed_gate(tmp_path, "gate1")
    attempt = passed_gate(tmp_path, "gate2")
    (attempt.folder / "report.json").write_text(damage)
    settings = [word for key, value in OVERRIDES.items() for word in ("--set", f"{key}={value}")]
    assert main(["status", "--output_dir", str(tmp_path), *settings]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["passed", "damaged", *["never"] * (len(STAGES) - 2)]
    assert f"{attempt.folder / 'report.json'}: " in lines[2]
    assert state(tmp_path, 2).trigger == 2
    with pytest.raises(UserError, match="gate3 is refused: gate2 is damaged"):
        start(tmp_path, "gate3")
    assert start(tmp_path, "gate2").number == 2
    assert (attempt.folder / "report.json").read_text() == damage


@pytest.mark.parametrize("name", ["start.json", "commands/01_help.json"])
def test_damaged_record_of_an_unfinished_attempt_says_how_to_put_it_aside(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt = start(tmp_path, "gate1")
    (attempt.folder / name).write_text("{")
    assert state(tmp_path, 1).state == "damaged"
    with pytest.raises(UserError, match=r"not valid JSON .* abandon gate1 --output_dir .* puts it aside"):
        start(tmp_path, "gate1")
    assert main(["abandon", "gate1", "--output_dir", str(tmp_path)]) == 0
    assert "gate1 attempt 1 is put aside" in capsys.readouterr().out
    assert (tmp_path / "gates/gate1/attempts/0001.damaged.1" / name).read_text() == "{"
    assert state(tmp_path, 1).trigger == 2
    assert start(tmp_path, "gate1").number == 2


def test_what_is_put_aside_under_a_name_that_is_taken_gets_another(tmp_path: Path) -> None:
    for content in ("first", "second"):
        folder = tmp_path / "gates/gate1/attempts/0001"
        folder.mkdir(parents=True)
        (folder / "start.json").write_text(content)
        close_interrupted(tmp_path, "gate1")
    aside = sorted((tmp_path / "gates/gate1/attempts").iterdir())
    assert [path.name for path in aside] == ["0001.damaged.1", "0001.damaged.2"]
    assert [(path / "start.json").read_text() for path in aside] == ["first", "second"]


def test_no_attempt_under_way_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gate1 has no attempt under way"):
        open_attempt(tmp_path, "gate1")


def test_long_run_is_refused_until_all_gates_stand(tmp_path: Path) -> None:
    for name in ("gate1", "gate2", "gate3"):
        passed_gate(tmp_path, name)
    with pytest.raises(UserError, match="the long run is refused: gate4 is never run"):
        require_up_to_date(gate_states(tmp_path, CONFIG), "supernet")
    passed_gate(tmp_path, "gate4")
    require_up_to_date(gate_states(tmp_path, CONFIG), "supernet")


def test_readme_and_studies_belong_to_no_gate_and_unknown_files_to_all() -> None:
    gate4 = find_gate("gate4")
    files = {"edgeflownas/studies/new_plot.py": "a", "edgeflownas/something_new.py": "b", "edgeflownas/new.jinja": "c"}
    unknown = {path: digest for path, digest in files.items() if "studies" not in path}
    assert relevant_source(gate4, files) == unknown
    assert relevant_source(find_gate("gate1"), files) == unknown
    assert not any(path.endswith((".md", ".png", ".pyc")) for path in digests.source_files())


@pytest.fixture(scope="module")
def all_passed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory in which all gates and the long run passed; to look at only."""
    output_dir = tmp_path_factory.mktemp("passed")
    passed_chain(output_dir)
    return output_dir


def stale_gates(output_dir: Path) -> dict[str, tuple[str, ...]]:
    """Which gates are stale, and why."""
    return {entry.gate.name: entry.why for entry in gate_states(output_dir, CONFIG) if entry.state == "stale"}


@pytest.mark.parametrize(
    ("path", "stale"),
    [
        ("edgeflownas/training/losses.py", ["gate3", "gate4", "gate5", "gate6", "gate7"]),
        ("edgeflownas/devices.py", ["gate2", "gate3", "gate4", "gate5", "gate6", "gate7"]),
        ("edgeflownas/console/printer.py", []),
        ("edgeflownas/runs/monitor.py", []),
        ("edgeflownas/console/terminal.py", []),
        ("edgeflownas/reporting/report.html.jinja", ["gate4", "gate5", "gate6", "gate7"]),
        ("edgeflownas/reporting/report.js", ["gate4", "gate5", "gate6", "gate7"]),
        ("edgeflownas/reporting/page.css.jinja", ["gate4", "gate5", "gate6", "gate7"]),
        ("edgeflownas/reporting/navigation.html.jinja", ["gate4", "gate5", "gate6", "gate7"]),
        ("edgeflownas/reporting/provenance.html.jinja", []),
    ],
)
def test_a_changed_file_makes_those_gates_stale_that_depend_on_it(
    path: str, stale: list[str], all_passed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = digests.source_files()
    assert path in files
    monkeypatch.setattr(states, "source_files", lambda: files | {path: "0" * 64})
    assert stale_gates(all_passed) == dict.fromkeys(stale, (f"code {path}: changed",))


@pytest.mark.parametrize(
    ("gate", "entries"),
    [
        ("gate2", ("nas/model_shape_check.py", "nas/fair_sampler.py", "gates/definitions/gate2.py")),
        ("gate3", ("train_supernet.py", "nas/supernet_eval.py", "data/index.py", "gates/definitions/gate3.py")),
        ("gate4", ("nas/check_manifest.py", "reporting/launch_scripts.py", "reporting/training_report.py")),
        ("gate4", ("gates/definitions/gate4.py", "gates/lifecycle/publishing.py")),
        ("gate5", ("nas/space_eval.py", "selection/select.py", "nas/supernet_eval.py", "gates/definitions/gate5.py")),
        ("gate6", ("retraining/train.py", "retraining/merge.py", "train_supernet.py", "gates/definitions/gate6.py")),
        ("gate7", ("deploy/deliver.py", "deploy/litert.py", "deploy/converter.py", "reporting/delivery_page.py")),
    ],
)
def test_a_gate_depends_on_all_that_its_commands_and_criteria_import(gate: str, entries: tuple[str, ...]) -> None:
    reached = reached_from([f"edgeflownas/{entry}" for entry in entries])
    assert [path for path in sorted(reached) if not sources.depends_on(find_gate(gate), path)] == []


def test_every_template_and_script_of_the_package_is_in_the_source() -> None:
    folder = Path(digests.__file__).parents[2]
    inside = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {f"edgeflownas/{path.relative_to(folder).as_posix()}" for path in inside} <= digests.source_files().keys()


@pytest.mark.parametrize(
    ("package", "stale"),
    [
        ("keras", ["gate2", "gate3", "gate4", "gate5", "gate6", "gate7"]),
        ("tensorflow", ["gate2", "gate3", "gate4", "gate5", "gate6", "gate7"]),
        ("numpy", ["gate2", "gate3", "gate4", "gate5", "gate6", "gate7"]),
        ("opencv-python-headless", ["gate3", "gate4", "gate5", "gate6", "gate7"]),
        ("jax", []),
        ("matplotlib", []),
    ],
)
def test_another_version_of_a_package_that_computes_makes_stale_and_is_named(
    package: str, stale: list[str], all_passed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99.0" if name == package else installed(name))
    found = stale_gates(all_passed)
    assert list(found) == stale
    for why in found.values():
        assert why == (f"version of what computes: {package}: {installed(package)!r} -> '99.0'",)


def test_gate_2_depends_on_the_precision_that_its_check_computes_in(all_passed: Path) -> None:
    config = make_config(train__precision="mixed_bfloat16")
    assert gate_states(all_passed, config)[1].why == ("config train.precision: 'float32' -> 'mixed_bfloat16'",)


def test_another_backend_makes_stale_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    passed_gate(tmp_path, "gate3")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert "version of what computes: backend: 'tensorflow' -> 'jax'" in state(tmp_path, 3).why


def test_another_content_of_the_search_space_under_the_same_name_makes_stale(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    text = (SEARCH_SPACE_FOLDER / "edgeflow_9x3.yaml").read_text()
    space.write_text(text)
    config = make_config(network__search_space=str(space))
    before = relevant_config(find_gate("gate3"), config)
    values = yaml.safe_load(text)
    space.write_text(yaml.safe_dump(values | {"blocks": values["blocks"][::-1], "reference": [0] * 9}))
    after = relevant_config(find_gate("gate3"), config)
    changed = [line.split(":")[0] for line in differences(before, after)]
    assert changed == ["search_space.order", "search_space.reference"]


# Gates that say what fits or takes how long on the chip, and those that take what was picked by it.
ON_CHIP = ["gate1", "gate5", "gate6", "gate7"]


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A target of one's own, with its ini."""
    for name in ("grove_vision_ai_v2.yaml", "grove_vision_ai_v2.ini"):
        shutil.copy(TARGET_FOLDER / name, tmp_path)
    return tmp_path / "grove_vision_ai_v2.yaml"


def test_another_content_of_the_targets_file_or_its_ini_makes_stale_what_depends_on_the_chip(board: Path) -> None:
    config = make_config(target=str(board))
    ini = board.with_suffix(".ini")
    before = {gate.name: relevant_config(gate, config) for gate in GATES}

    def changed() -> dict[str, list[str]]:
        changes = {gate.name: differences(before[gate.name], relevant_config(gate, config)) for gate in GATES}
        return {name: [line.split(":")[0] for line in lines] for name, lines in changes.items() if lines}

    board.write_text("# only a comment\n" + board.read_text())
    assert changed() == {}
    board.write_text(board.read_text().replace("sram_kib: 1432", "sram_kib: 1431"))
    assert changed() == {name: ["target.sram_kib"] for name in ON_CHIP}
    ini.write_text(ini.read_text().replace("Sram_read_latency=16", "Sram_read_latency=17"))
    assert changed() == {name: ["target.ini", "target.sram_kib"] for name in ON_CHIP}


def test_another_target_or_form_of_export_makes_stale_what_depends_on_the_chip() -> None:
    other = {"target": "arm_deep_embedded"}
    for overrides in (other, {"deploy__resize": "subpixel"}, {"deploy__precision": "int16x8"}):
        config = make_config(**overrides)
        stale = [gate.name for gate in GATES if relevant_config(gate, config) != relevant_config(gate, CONFIG)]
        assert stale == ON_CHIP
    assert make_config(**other).hash == CONFIG.hash  # so what was trained is as it was


def test_a_target_that_is_gone_makes_stale_and_is_named(board: Path, tmp_path: Path) -> None:
    passed_gate(tmp_path / "out", "gate1", target=str(board))
    config = make_config(target=str(board))
    assert state(tmp_path / "out", 1, config).state == "passed"
    board.unlink()
    found = state(tmp_path / "out", 1, config)
    assert found.state == "stale"
    assert f"no file {board}; known targets: arm_deep_embedded" in found.why[0]


def test_the_compilers_version_counts_where_a_target_is_compiled_for() -> None:
    provenance = {"backend": "jax", "versions": {"ethos-u-vela": "5.2.0", "tensorflow": "2.21.0", "numpy": "2.0"}}
    counted = {
        (gate.name, target): relevant_versions(gate, provenance, {"target": target}).keys() - {"backend", "numpy"}
        for gate in GATES
        for target in (None, "arm_high_end")
    }
    assert {name: found for name, found in counted.items() if found} == {
        (name, "arm_high_end"): {"ethos-u-vela", "tensorflow"} for name in ("gate5", "gate7")
    }
    assert "ethos-u-vela" in computing_now()["versions"]


def test_later_gates_depend_on_whatever_earlier_ones_depend_on() -> None:
    files = digests.source_files()
    sets = [set(relevant_source(gate, files)) for gate in GATES]
    assert sets == sorted(sets, key=len)
    assert all(small <= large for small, large in itertools.pairwise(sets))
    configs = [set(relevant_config(gate, CONFIG)) for gate in GATES[1:]]
    assert all(small <= large for small, large in itertools.pairwise(configs))


def test_what_only_commands_outside_the_gates_import_makes_nothing_stale() -> None:
    alone = ("edgeflownas/predict.py", "edgeflownas/data/fitting.py", "edgeflownas/data/video_files.py")
    assert not [path for path in alone for gate in GATES if sources.depends_on(gate, path)]
    # They share this one with the gates.
    assert sources.depends_on(find_gate("gate3"), "edgeflownas/data/readers.py")
    # A file that nothing imports was thought of by nobody.
    assert sources.depends_on(find_gate("gate1"), "edgeflownas/nobody.py")


def test_every_named_source_file_exists() -> None:
    files = digests.source_files()
    for pattern in sources.NO_GATE:
        if "*" not in pattern:
            assert pattern in files, pattern


def test_status_command_prints_every_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passed_gate(tmp_path, "gate2")
    assert main(["status", "--output_dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["gate", *STAGES]
    assert "passed" in lines[2]


def test_verify_recomputes_what_the_verdicts_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for gate in GATES:
        passed_gate(tmp_path, gate.name)
    assert main(["verify", "--output_dir", str(tmp_path)]) == 0
    (tmp_path / "runs/gate4/data_index.json").write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    capsys.readouterr()
    assert main(["verify", "--output_dir", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "gate1: artifact config.json has 2 bytes" in said
    assert f"gate4: {tmp_path / 'runs/gate4/data_index.json'}: 2 bytes" in said


def test_reproduce_prints_the_commands_of_an_attempt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passed_gate(tmp_path, "gate2")
    passed_gate(tmp_path, "gate2")
    assert main(["reproduce", "gate2", "--attempt", "1", "--output_dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("# gate2 attempt 1, ")
    assert lines[-3:] == [f"python -m {name}" for name in find_gate("gate2").command_names(CONFIG)]
    with pytest.raises(UserError, match="gate2 has no attempt 7; there are: 1, 2"):
        main(["reproduce", "gate2", "--attempt", "7", "--output_dir", str(tmp_path)])


def test_command_line_starts_records_judges_and_reports_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--output_dir", str(tmp_path)]
    settings = [word for key, value in OVERRIDES.items() for word in ("--set", f"{key}={value}")]
    assert main(["start", "gate1", *shared, *settings]) == 0
    command = ["python", "-c", "print('out of memory'); exit(9)"]
    assert main(["record", "gate1", "help", *shared, "--", *command]) == 1
    said = capsys.readouterr().out
    for words in ("gate1 failed (attempt 1)", "help ended with exit code 9", "exit(9)", "out of memory", "report.md"):
        assert words in said
    with pytest.raises(UserError, match="no attempt under way"):
        main(["judge", "gate1", *shared])
