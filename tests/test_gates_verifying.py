"""`verify` tells each claim that no longer fits once, and `reproduce` the commands of the attempt that is asked for."""

import json
from pathlib import Path

import pytest

from edgeflownas.errors import UserError
from edgeflownas.gates.lifecycle import digests
from edgeflownas.gates.lifecycle.states import gate_states
from edgeflownas.gates.lifecycle.verifying import reproduction, verify
from tests.handmade_gates import make_evidence, passed_chain


def test_nothing_is_wrong_with_a_passed_chain_and_each_gate_that_never_ran_is_told(tmp_path: Path) -> None:
    assert [fault.partition(":")[0] for fault in verify(tmp_path / "empty")] == ["gate1", "gate2", "gate3", "gate4"]
    passed_chain(tmp_path)
    assert verify(tmp_path) == []


def test_each_damage_is_told_once_beside_the_others(tmp_path: Path) -> None:
    passed_chain(tmp_path)
    for name in ("fair_sampler_check.json", "eval_pool_12.json"):
        with open(tmp_path / name, "a") as file:
            file.write("\n")
    faults = verify(tmp_path)
    assert len(faults) == 2
    assert faults[0].startswith("gate2: artifact fair_sampler_check.json has 929 bytes, not 928")
    assert faults[1].startswith("gate3: artifact eval_pool_12.json has ")


def test_a_verdict_built_on_an_attempt_that_is_gone_is_told(tmp_path: Path) -> None:
    passed_chain(tmp_path)
    (tmp_path / "gates/gate1/attempts/0001/report.json").unlink()
    assert "gate2: it started on gate1 attempt 1, now gone" in verify(tmp_path)


def test_config_values_and_source_files_are_digested_again(tmp_path: Path) -> None:
    passed_chain(tmp_path)
    folder = tmp_path / "gates/gate1/attempts/0001"
    start = json.loads((folder / "start.json").read_text())
    start["source_files"]["edgeflownas/config.py"] = "0" * 64
    (folder / "start.json").write_text(json.dumps(start))
    assert verify(tmp_path) == ["gate1: the source files of attempt 1 do not have the digest claimed for them"]


def test_an_attempt_is_held_against_the_files_that_its_gate_depended_on_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_chain(tmp_path)
    start = json.loads((tmp_path / "gates/gate1/attempts/0001/start.json").read_text())
    gone = next(path for path in start["depends_on"] if path.startswith("edgeflownas/nas/"))
    # The code of today has another set of files that gate 1 depends on.
    monkeypatch.setattr(digests, "depends_on", lambda gate, path: path != gone)
    (state, *_) = gate_states(tmp_path, None)
    assert state.state == "stale"
    assert f"code {gone}: gone" in state.why
    assert not [fault for fault in verify(tmp_path) if "digest claimed" in fault]


def test_the_latest_attempt_is_reproduced_unless_another_is_asked_for(tmp_path: Path) -> None:
    for _ in range(2):
        make_evidence("gate1", tmp_path)
    assert reproduction(tmp_path, "gate1", None)[0].startswith("# gate1 attempt 2, ")
    lines = reproduction(tmp_path, "gate1", 1)
    assert lines[0].startswith("# gate1 attempt 1, ")
    commands = lines[lines.index("# its commands, each alone") + 1 :]
    wrong = [line for line in commands if line.endswith("  # ends with exit code 2")]
    assert (len(commands), len(wrong)) == (6, 2)
    assert commands[0].startswith("python -m ")
    with pytest.raises(UserError, match=r"^gate1 has no attempt 7; there are: 1, 2$"):
        reproduction(tmp_path, "gate1", 7)
    with pytest.raises(UserError, match=r"^gate2 has no attempt ; there are: none$"):
        reproduction(tmp_path, "gate2", None)
