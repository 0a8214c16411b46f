"""Attempts made by hand that meet every criterion of their gate, over the runs of `handmade_runs`."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.artifacts import sha256_file, write_json
from edgeflownas.config import Config
from edgeflownas.gates.definitions import gate5, gate6, gate7
from edgeflownas.gates.gate import Gate
from edgeflownas.gates.lifecycle import starting
from edgeflownas.gates.lifecycle.attempts import Attempt, next_attempt
from edgeflownas.gates.lifecycle.digests import (
    computing_now,
    gate_digests,
    relevant_config,
    relevant_source,
    source_files,
)
from edgeflownas.gates.lifecycle.evaluation import evaluate_gate
from edgeflownas.gates.lifecycle.evidence import BEST, Evidence
from edgeflownas.gates.lifecycle.long_run import evaluate_long_run
from edgeflownas.gates.registry import GATES, LONG_RUN, STAGES, find_gate
from edgeflownas.nas.arch_codec import format_code
from edgeflownas.nas.fair_sampler import check_sampler, fair_cycle
from edgeflownas.nas.search_space import load_search_space, result_values
from edgeflownas.nas.single_subnet import write_space_of_one
from edgeflownas.network.cost import space_costs
from edgeflownas.reporting import delivery_page
from edgeflownas.reporting.launch_scripts import Resources, render_scripts
from edgeflownas.reporting.training_report import write_report
from edgeflownas.retraining.merge import merged
from edgeflownas.retraining.picks import picks_of, read_selection
from edgeflownas.retraining.settings import own_config, space_file
from edgeflownas.runs.checkpoints import load_checkpoint, save_checkpoint
from edgeflownas.runs.run_directory import RunDirectory
from edgeflownas.selection import select
from edgeflownas.selection.tables import all_codes, write_evaluated
from tests.handmade_delivery import make_exports
from tests.handmade_runs import (
    OVERRIDES,
    SPACE,
    edit_history,
    edit_json,
    make_config,
    make_evaluation,
    make_index,
    make_run,
)
from tests.handmade_spaces import handmade_epes, handmade_facts, make_chip_costs


def make_evidence(gate_name: str, output_dir: Path, **overrides: Any) -> Evidence:
    """Evidence of an attempt at a gate that meets every criterion; `overrides` are of `make_config`."""
    gate = find_gate(gate_name)
    config = make_config(**overrides)
    make_index(output_dir / "data_index.json")
    if gate.after_long_run:
        make_run(output_dir / "runs" / LONG_RUN, 6, config)
    if gate.built_on:
        _make_what_is_before(gate, output_dir, config)
    attempt = next_attempt(output_dir, gate_name)
    digests = gate_digests(gate, source_files(), config, output_dir)
    given = OVERRIDES | {key.replace("__", "."): value for key, value in overrides.items()}
    _write_start(attempt, config, relevant_config(gate, config), digests, given)
    for name in gate.command_names(config):
        code = 2 if name.startswith("wrong_") else 0
        attempt.write_command(
            {
                "name": name,
                "argv": ["python", "-m", name],
                "status": "done",
                "expected_exit": code,
                "exit_code": code,
                "seconds": 1.0,
                "peak_memory_mb": 1.0,
                "started": "2026-01-01T00:00:00+00:00",
                "log": "a log",
                "log_tail": [],
                "process": None,
            }
        )
        attempt.log_path(name).write_text("")
    evidence = Evidence(gate, attempt, output_dir, config)
    fill = {
        "gate1": _fill_gate1,
        "gate2": _fill_gate2,
        "gate3": _fill_gate3,
        "gate4": _fill_gate4,
        "gate5": _fill_gate5,
        "gate6": lambda evidence: _retrain(evidence.output_dir, evidence.config),
        "gate7": _fill_gate7,
    }
    fill[gate_name](evidence)
    return evidence


def passed_chain(output_dir: Path, until: str = STAGES[-1]) -> None:
    """All gates and the long run, passed by hand, each gate started on the verdict of what comes before it.

    `until` is the last of them.
    """
    shutil.copytree(_passed_chain(until), output_dir, dirs_exist_ok=True)


@cache
def _passed_chain(until: str) -> Path:
    output_dir = Path(tempfile.mkdtemp(prefix="passed-chain-"))
    atexit.register(shutil.rmtree, output_dir, ignore_errors=True)
    if position := STAGES.index(until):
        passed_chain(output_dir, STAGES[position - 1])
    if until == LONG_RUN:
        passed_long_run(output_dir)
        return output_dir
    gate = find_gate(until)
    evidence = make_evidence(gate.name, output_dir)
    begun = evidence.attempt.folder / "start.json"
    start = json.loads(begun.read_text()) | {"before": starting._verdict_before(gate, output_dir)}
    begun.write_text(json.dumps(start))
    report = evaluate_gate(gate, evidence.attempt, output_dir)
    assert report["status"] == "passed", report["why"]
    return output_dir


def passed_long_run(output_dir: Path) -> Attempt:
    """The long run, passed by hand."""
    attempt = begun_attempt(output_dir, LONG_RUN)
    make_run(output_dir / "runs" / LONG_RUN, 6, make_config())
    report = evaluate_long_run(attempt, output_dir)
    assert report["status"] == "passed", report["why"]
    return attempt


def begun_attempt(output_dir: Path, stage: str) -> Attempt:
    """An attempt at a gate or the long run that has begun, over the configuration of the handmade runs."""
    attempt, config = next_attempt(output_dir, stage), make_config()
    _write_start(attempt, config, result_values(config), {"code": "0" * 64, "config": config.hash, "data": None})
    return attempt


def _write_start(
    attempt: Attempt,
    config: Config,
    values: Mapping[str, Any],
    digests: Mapping[str, Any],
    overrides: Mapping[str, Any] = OVERRIDES,
) -> None:
    installed, files = computing_now(), source_files()
    start = {
        "gate": attempt.gate,
        "attempt": attempt.number,
        "trigger": attempt.number,
        "started": "2026-01-01T00:00:00+00:00",
        "owner": None,
        "config": {"path": None, "overrides": dict(overrides), "hash": config.hash, "values": dict(values)},
        "digests": dict(digests),
        "source_files": files,
        "depends_on": [path for gate in GATES if gate.name == attempt.gate for path in relevant_source(gate, files)],
        "before": None,
        "provenance": {
            "git": {"commit": None, "branch": None, "dirty": None},
            "host": {"name": "here", "system": "a system"},
            "backend": installed["backend"],
            "versions": {"python": "3", **installed["versions"]},
            "slurm": {"job_id": None, "node": None},
            "user": None,
        },
        "changes": None,
    }
    write_json(attempt.folder / "start.json", start, schema="attempt_start.schema.json")


def _fill_gate1(evidence: Evidence) -> None:
    config = evidence.config
    flags = "--gpu_device --num_epochs --batch_size --lr --config --supernet_mode"
    logs = {
        "help": flags,
        "dry_run": "\n".join([*config.values, f"config hash {config.hash}", "target arm_high_end: fits, about 9"]),
        "dry_run_imports": "import time:       100 |        200 | edgeflownas.config\n",
        "self_test": "arch codec of edgeflow_9x3: 19683 subnets of 9 blocks, wrong lengths and digits refused: ok\n",
        "wrong_length": "error: arch code '0': length=9 required, got 8\n",
        "wrong_digit": "error: arch code '3': value must be in {0,1,2}, got 3 at position 4 (H0Out)\n",
    }
    for name, text in logs.items():
        evidence.attempt.log_path(name).write_text(text)


def _fill_gate2(evidence: Evidence) -> None:
    codes = {format_code(code) for step in range(20) for code in fair_cycle(SPACE, 1, step)}
    subnets = [
        {"code": code, "shapes": [[2, 12, 16, 4], [2, 23, 32, 4], [2, 45, 64, 4]], "faults": []}
        for code in sorted(codes)[:20]
    ]
    run = evidence.run("gate2")
    write_json(run / "model_shape_check.json", {"height": 45, "width": 64, "subnets": subnets})
    for name in ("fair_sampler_check.json", "fair_sampler_check_repeat.json"):
        write_json(run / name, check_sampler(SPACE, 300, 42), schema="fair_sampler_check.schema.json")


def _fill_gate3(evidence: Evidence) -> None:
    for name in ("gate3_trace", "gate3_trace_repeat"):
        make_run(evidence.run(name), 1, evidence.config)
    make_run(evidence.run("gate3_epochs"), 5, evidence.config)
    make_evaluation(evidence.run("gate3_epochs"), evidence.config)


@cache
def _report_files() -> dict[str, bytes]:
    """The report of gate 4's run by path: the same each time, and seconds to draw."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder).resolve() / "runs" / "gate4"
        _make_gate4_run(run)
        (Path(folder) / "provenance.html").touch()  # as it is there before any gate's commands run
        return {path.relative_to(run).as_posix(): path.read_bytes() for path in write_report(run)}


def _make_gate4_run(run: Path) -> None:
    make_run(run, 2, make_config(train__num_epochs=2, train__fast_mode=True), trace=False)


def _fill_gate4(evidence: Evidence) -> None:
    run = evidence.run("gate4")
    _make_gate4_run(run)
    command = ["python", "-m", "edgeflownas.train_supernet", "--config", "c.yaml", "--resume", "auto"]
    for place, text in render_scripts(command, Resources(8, 1000, 60, 0), Path("/work")).items():
        path = run / "launch" / place / "run_supernet_train.sh"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    for path, content in _report_files().items():
        (run / path).parent.mkdir(exist_ok=True)
        (run / path).write_bytes(content)


SAMPLES = 8
PART = "parts/0123456789ab/000.npz"


def _fill_gate5(evidence: Evidence) -> None:
    for name in evidence.gate.run_directories:
        shutil.copytree(_evaluated_space(evidence.config["target"]) / name, evidence.run(name))


@cache
def _evaluated_space(target: str | None) -> Path:
    """What the commands of gate 5 leave of the 9-block space: the same each time, and seconds to select from."""
    runs = Path(tempfile.mkdtemp(prefix="evaluated-space-"))
    atexit.register(shutil.rmtree, runs, ignore_errors=True)
    config, run = make_config(), runs / gate5.RUN
    make_run(runs / LONG_RUN, 6, config)
    facts = handmade_facts(SAMPLES, config_hash=config.hash, height=45, width=64, init_neurons=2)
    best = runs / LONG_RUN / "checkpoints/supernet_best.ckpt"
    facts["checkpoint"] |= {"sha256": sha256_file(best), "config_hash": config.hash, "epoch": 4, "global_step": 16}
    epes = handmade_epes(SPACE, SAMPLES, noise=0.01)
    others = np.full((SPACE.size, 4), 0.25)
    write_evaluated(run, SPACE, epes, others, space_costs(SPACE, 45, 64, 2), facts)
    for folder in (run, runs / gate5.REPEAT_RUN):
        (folder / PART).parent.mkdir(parents=True)
        np.savez(folder / PART, sample_epes=epes[:729], other_metrics=others[:729])
    write_json(run / gate5.EVALUATION, _one_by_one(config, epes, facts), schema="supernet_eval.schema.json")
    values = OVERRIDES | {"target": target or "null"}
    settings = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    if target is not None:
        make_chip_costs(run, run, *settings)
    assert select.main(["--evaluated", str(run), *settings]) == 0
    return runs


def _make_what_is_before(gate: Gate, output_dir: Path, config: Config) -> None:
    """What gates 5 and 6 publish, where they have not."""
    for name in ("selection.json", "pareto_front.json"):
        if not (output_dir / name).is_file():
            shutil.copy(_evaluated_space(config["target"]) / gate5.RUN / name, output_dir)
    if gate.number > 6 and not (output_dir / gate6.RETRAINED).is_file():
        _retrain(output_dir, config)
        shutil.copy(output_dir / "runs" / gate6.RUN / gate6.RETRAINED, output_dir)


def _retrain(output_dir: Path, config: Config) -> None:
    """What the commands of gate 6 leave."""
    runs, supernet = output_dir / "runs" / gate6.RUN, output_dir / "runs" / LONG_RUN / BEST
    selected = output_dir / "selection.json"
    picks = picks_of(read_selection(selected), SPACE, config["retrain.subnets"])
    for pick in picks:
        write_space_of_one(space_file(runs, pick), SPACE, pick.code)
        make_retrained(own_config(config, pick, runs, supernet), pick.epe)
    write_json(runs / gate6.RETRAINED, merged(config, selected, runs), schema="retrained.schema.json")


def _fill_gate7(evidence: Evidence) -> None:
    exported, again = (evidence.run(run) for run in (gate7.RUN, gate7.REPEAT_RUN))
    retrained = evidence.run(gate6.RUN) / gate6.RETRAINED
    make_exports(evidence.config, retrained, exported, again)
    flags = ["--retrained", retrained, "--exported", exported, "--selected", evidence.output_dir]
    assert delivery_page.main([*map(str, flags), "--out", str(exported / "deploy.html")]) == 0


def make_retrained(config: Config, start_epe: float) -> None:
    """The run of a pick that began with a supernet's weights, at that EPE, and was a pixel better at its best."""
    run = RunDirectory(config["train.output_dir"])
    supernet = Path(config["train.init_from"])
    make_run(run.path, config["train.num_epochs"], config)
    space = load_search_space(config["network.search_space"])
    digest = sha256_file(supernet)
    identity = {**config.result_values(), **space.facts(), "train.init_from": digest}
    for path in (run.best, run.last):
        checkpoint = load_checkpoint(path)
        save_checkpoint(path, checkpoint.header | {"identity": identity}, checkpoint.arrays)
    manifest = json.loads(run.manifest.read_text())
    edit_history(run.path, manifest["best"]["epoch"], mean_epe_1=start_epe - 1.0)
    edit_json(run.pool_results, samples=SAMPLES)
    code = format_code(space.reference)
    initial = {"path": str(supernet), "sha256": digest, "config_hash": config.hash, "epoch": 4, "global_step": 16}
    initial["subnets"] = [{"code": code, "epe": start_epe}]
    manifest |= {"init_from": initial, "best": manifest["best"] | {"mean_epe_1": start_epe - 1.0}}
    for entry in manifest["files"].values():
        path = run.path / entry["path"]
        entry |= {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    write_json(run.manifest, manifest, schema="train_manifest.schema.json")


def _one_by_one(config: Config, epes: np.ndarray, facts: dict[str, Any]) -> dict[str, Any]:
    """`supernet_eval.json` of the codes that gate 5 compares, off by no more than rounding."""
    means = dict(zip(all_codes(SPACE), epes.mean(axis=1, dtype=np.float64), strict=True))
    shares = {"outliers_1px": 0.25, "outliers_3px": 0.25, "outliers_5px": 0.25, "fl_all": 0.25}
    subnets = [
        {"code": format_code(code), "epe": float(means[code]) + 3e-7, "epe_error": 0.125, **shares}
        | {"bn_recal_batches": 8, "bn_shift": 0.01}
        for code in gate5.compared_codes(SPACE)
    ]
    checkpoint = facts["checkpoint"] | {"path": "checkpoints/supernet_best.ckpt"}
    report = {"checkpoint": checkpoint, "config_hash": config.hash, "bn_recal_batches": 8, "samples": SAMPLES}
    report |= {"zero_flow_epe": 9.0, "mean_epe": 5.0, "std_epe": 0.25, "noise_epe": 0.125}
    return report | {"subnets": subnets}
