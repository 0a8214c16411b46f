"""Gate 7: what an attempt that delivers to the chip must have, and what it publishes."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from edgeflownas.artifacts import read_json, sha256_file
from edgeflownas.config import resolve_config
from edgeflownas.errors import UserError
from edgeflownas.gates.criteria import evaluate_criteria
from edgeflownas.gates.definitions import gate7
from edgeflownas.gates.lifecycle.attempts import latest_attempt
from edgeflownas.gates.lifecycle.evaluation import evaluate_gate
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.gates.registry import GATES
from edgeflownas.gates.requirements import require_passable
from tests.handmade_gates import make_evidence, passed_chain
from tests.handmade_runs import edit_json
from tests.test_gates_states import CONFIG, state

Break = Callable[[Evidence], None]


@cache
def _made() -> Path:
    """An output directory with what the commands of gate 7 left: seconds to make."""
    folder = Path(tempfile.mkdtemp(prefix="delivered-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_evidence("gate7", folder)
    return folder


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """Evidence that meets every criterion."""
    shutil.copytree(_made(), tmp_path, dirs_exist_ok=True)
    attempt = latest_attempt(tmp_path, "gate7")
    assert attempt
    return Evidence(gate7.GATE, attempt, tmp_path, CONFIG)


def first(evidence: Evidence) -> Path:
    """The folder of the first pick."""
    return next(gate7._delivered(evidence)).folder


def export(**changes: object) -> Break:
    """Change facts of the first pick's export, made again just as wrong."""

    def change(evidence: Evidence) -> None:
        folder = first(evidence)
        edit_json(folder / "export.json", **changes)
        shutil.copy(folder / "export.json", evidence.run(gate7.REPEAT_RUN) / folder.name)

    return change


def facts_of(evidence: Evidence) -> dict:
    return json.loads((first(evidence) / "export.json").read_text())


def part(key: str, **changes: object) -> Break:
    """Change one of the sections of the export's facts."""
    return lambda evidence: export(**{key: facts_of(evidence)[key] | changes})(evidence)


def other_bytes(name: str, run: str = gate7.RUN) -> Break:
    """Change the last byte of a file of the first pick."""

    def change(evidence: Evidence) -> None:
        path = evidence.run(run) / first(evidence).name / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 0x40]))

    return change


def everywhere(name: str) -> Break:
    """Change a file in both exports, and its digest in what says of it."""

    def change(evidence: Evidence) -> None:
        for run in (gate7.RUN, gate7.REPEAT_RUN):
            other_bytes(name, run)(evidence)
        files = facts_of(evidence)["files"]
        export(files=files | {name: sha256_file(first(evidence) / name)})(evidence)

    return change


def gone(name: str, run: str) -> Break:
    """Remove a file of the first pick."""
    return lambda evidence: (evidence.run(run) / first(evidence).name / name).unlink()


def judged_sample_calibrates(evidence: Evidence) -> None:
    """Let a training sample be a copy of one of validation."""
    for pick in gate7._retrained(evidence)["picks"]:
        path = evidence.run(gate7.RETRAINING) / pick["run"] / "data_index.json"
        splits = json.loads(path.read_text())["splits"]
        for sample in splits["train"]["samples"]:
            sample["sha256"] = splits["val"]["samples"][0]["sha256"]
        edit_json(path, splits=splits)


def page_without_the_first(evidence: Evidence) -> None:
    """Take the first pick out of the page."""
    path = evidence.run(gate7.RUN) / "deploy.html"
    path.write_text(path.read_text().replace(facts_of(evidence)["code"], "?"))


KERAS, EPE, FIT = "the flow of the Keras model", "hardly above", "fit the target"
BREAKS: list[tuple[Break, str]] = [
    (part("checkpoint", sha256="0" * 64), "by its checkpoint and data"),
    (export(data="0" * 64), "by its checkpoint and data"),
    (export(search_space="edgeflow_9x3_000000000"), "by its checkpoint and data"),
    (lambda evidence: shutil.rmtree(first(evidence)), "by its checkpoint and data"),
    (gone("model.h", gate7.RUN), "with the digest"),
    (other_bytes("int8_vela.tflite"), "with the digest"),
    (export(float_difference=1.3e-4), KERAS),
    (export(float_difference=4.3e-4, largest_flow=100.0), KERAS),
    (part("epe", float=5.0, quantised=5.21), EPE),
    (part("chip", cpu_operators=["ResizeBilinear in Up1_resize"]), "runs on the CPU"),
    (part("chip", cycles=0), "runs on the CPU"),
    (part("chip", sram_kib=1e6), FIT),
    (part("chip", fits=False, why_not=["it needs 9,999 KiB, flash_kib is 1"]), FIT),
    (part("chip", ms=None), FIT),
    (part("chip", target="arm_deep_embedded"), FIT),
    (other_bytes("model.keras", gate7.REPEAT_RUN), "has the same bytes"),
    (other_bytes("export.json", gate7.REPEAT_RUN), "has the same bytes"),
    (gone("golden/000_flow.bin", gate7.REPEAT_RUN), "has the same bytes"),
    (everywhere("golden/000_flow.bin"), "golden vectors"),
    (everywhere("golden/000_frames.bin"), "golden vectors"),
    (everywhere("golden/000_pixels.bin"), "golden vectors"),
    (gone("golden/000_pixels.bin", gate7.RUN), "golden vectors"),
    (judged_sample_calibrates, "none is judged on"),
    (export(calibration=["of_no_split"]), "none is judged on"),
    (page_without_the_first, "page shows"),
]


def findings(evidence: Evidence) -> list[dict]:
    return list(evaluate_criteria(gate7.CRITERIA, evidence))


@pytest.mark.parametrize(("change", "words"), BREAKS, ids=[f"{n} {words}" for n, (_, words) in enumerate(BREAKS)])
def test_every_criterion_fails_for_what_it_is_about(change: Break, words: str, evidence: Evidence) -> None:
    change(evidence)
    failed = [finding["sentence"] for finding in findings(evidence) if not finding["passed"]]
    assert any(words in sentence for sentence in failed), failed


def test_every_criterion_is_broken_by_a_test() -> None:
    for criterion in gate7.CRITERIA:
        assert any(words in criterion.sentence for _, words in BREAKS) or criterion.check is gate7._saturation_is_stated


def test_what_is_large_but_rounding_and_what_is_clipped_but_harmless_passes(evidence: Evidence) -> None:
    export(float_difference=3.9e-4, largest_flow=100.0, saturated=0.02)(evidence)
    found = findings(evidence)
    assert [finding["sentence"] for finding in found if not finding["passed"]] == []
    (warning,) = (finding["warning"] for finding in found if "warning" in finding)
    assert "raise deploy.calibration_samples" in warning


def test_a_passed_attempt_publishes_a_folder_for_each_pick(evidence: Evidence, tmp_path: Path) -> None:
    report = evaluate_gate(evidence.gate, evidence.attempt, tmp_path)
    assert report["status"] == "passed", report["why"]
    picks = read_json(evidence.run("gate6") / "retrained.json")["picks"]
    folders = sorted(path.name for path in (tmp_path / "deploy").iterdir())
    assert folders == sorted(pick["run"] for pick in picks)
    paths = [artifact["path"] for artifact in report["artifacts"]]
    for folder in folders:
        for name in ("model.keras", "int8.tflite", "int8_vela.tflite", "model.h", "model_card.md", "export.json"):
            assert f"deploy/{folder}/{name}" in paths
    text = (tmp_path / "deploy.html").read_text()
    assert f'href="deploy/{folders[0]}/model_card.md"' in text


def test_gate_7_is_stale_once_gate_6_published_something_else(tmp_path: Path) -> None:
    passed_chain(tmp_path, "gate7")
    assert (state(tmp_path, 7).state, state(tmp_path, 7).why) == ("passed", ())
    retrained = json.loads((tmp_path / "retrained.json").read_text())
    retrained["picks"][0]["checkpoint"]["sha256"] = "0" * 64
    edit_json(tmp_path / "retrained.json", picks=retrained["picks"])
    why = state(tmp_path, 7).why
    assert why == ("what it takes of the gates before it is something else since",)
    assert CONFIG["target"] == "arm_high_end"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({}, "gate7 is refused: target is null, and this gate certifies files for a chip; name one"),
        ({"target": "arm_high_end", "eval.split": "train"}, "gate7 is refused: eval.split is train, from which"),
    ],
)
def test_what_cannot_be_delivered_is_refused_before_anything_runs(overrides: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        require_passable(GATES, resolve_config(None, overrides), Path("nowhere"))
    require_passable(GATES[:6], resolve_config(None, {}), Path("nowhere"))


def test_without_tensorflow_gate_7_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeflownas.deploy.converter.find_spec", lambda name: None)
    config = resolve_config(None, {"target": "arm_high_end"})
    with pytest.raises(UserError, match="the converter to LiteRT files needs TensorFlow") as refused:
        require_passable(GATES[6:], config, Path("nowhere"))
    assert str(refused.value).startswith("gate7 is refused: ")
