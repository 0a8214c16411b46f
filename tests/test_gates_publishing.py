"""A published folder is there whole or not at all, and holds nothing of earlier attempts."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from edgeflownas.artifacts import sha256_file, write_json
from edgeflownas.errors import CannotWrite, UserError
from edgeflownas.gates.gate import Gate
from edgeflownas.gates.lifecycle.evidence import Evidence
from edgeflownas.gates.lifecycle.publishing import Folder, publish_artifacts
from edgeflownas.gates.lifecycle.states import artifact_faults
from edgeflownas.gates.registry import find_gate
from edgeflownas.gates.workflow import targets
from tests.handmade_gates import make_evidence
from tests.handmade_runs import SPACE

SAMPLER = "fair_sampler_check.schema.json"


def evidence_of(output_dir: Path, *names: str) -> Evidence:
    """Evidence of a gate that publishes these files of its run `made`, as folder `delivered`."""
    before = make_evidence("gate2", output_dir)
    for name in names:
        path = before.run("made") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return Evidence(gate_of(*names), before.attempt, output_dir, before.config)


def gate_of(*names: str) -> Gate:
    """Gate 2 with that one artifact."""
    return replace(find_gate("gate2"), artifacts=(Folder("delivered", "made", lambda evidence: dict.fromkeys(names)),))


def files(folder: Path) -> list[str]:
    """What lies in a folder, and hidden beside it."""
    found = [path for path in folder.parent.glob("*delivered*/**/*") if path.is_file()]
    found += [path for path in folder.parent.glob(".*delivered*/**/*") if path.is_file()]
    return sorted(path.relative_to(folder.parent).as_posix() for path in set(found))


def test_every_file_of_a_folder_is_described_and_nothing_of_an_earlier_attempt_stays(tmp_path: Path) -> None:
    publish_artifacts(evidence_of(tmp_path, "000/model.h", "111/model.h"))
    published = publish_artifacts(evidence_of(tmp_path, "000/model.h", "222/golden/000.bin"))
    assert [facts["path"] for facts in published] == ["delivered/000/model.h", "delivered/222/golden/000.bin"]
    assert files(tmp_path / "delivered") == [facts["path"] for facts in published]
    assert published[0]["sha256"] == sha256_file(tmp_path / "delivered/000/model.h")
    assert artifact_faults({"artifacts": published}, tmp_path, thorough=True) == []
    (tmp_path / "delivered/222/golden/000.bin").unlink()
    faults = artifact_faults({"artifacts": published}, tmp_path, thorough=False)
    assert faults == ["artifact delivered/222/golden/000.bin is gone"]


def test_a_full_disk_leaves_the_folder_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_artifacts(evidence_of(tmp_path, "000/model.h"))
    evidence = evidence_of(tmp_path, "111/model.h", "222/model.h")
    whole, fsync = [], os.fsync

    def full(descriptor: int) -> None:
        whole.append(descriptor)
        if len(whole) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr("edgeflownas.artifacts.os.fsync", full)
    with pytest.raises(CannotWrite, match="No space left"):
        publish_artifacts(evidence)
    assert (tmp_path / "delivered/000/model.h").read_text() == "content of 000/model.h"
    assert not (tmp_path / "delivered/111").exists()


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_kill_while_it_is_published_leaves_no_half_of_it(
    renamed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_artifacts(evidence_of(tmp_path, "000/model.h"))
    evidence = evidence_of(tmp_path, "111/model.h", "222/model.h")
    done, rename = [], Path.rename

    def killed(path: Path, target: Path) -> Path:
        if len(done) == renamed:
            raise KeyboardInterrupt
        done.append(target)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_artifacts(evidence)
    left = sorted(path.name for path in (tmp_path / "delivered").glob("*"))
    assert left == (["000"] if renamed == 0 else [])
    publish_artifacts(evidence)
    assert files(tmp_path / "delivered") == ["delivered/111/model.h", "delivered/222/model.h"]


def test_a_json_file_that_does_not_fit_its_schema_is_not_published(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, "000/facts.json")
    write_json(evidence.run("made") / "000/facts.json", {"gap": 0})
    folder = Folder("delivered", "made", lambda evidence: {"000/facts.json": SAMPLER})
    with pytest.raises(UserError, match="does not fit schemas/fair_sampler_check"):
        publish_artifacts(Evidence(replace(evidence.gate, artifacts=(folder,)), *facts_of(evidence)))
    assert not (tmp_path / "delivered").exists()


def facts_of(evidence: Evidence) -> tuple:
    return evidence.attempt, evidence.output_dir, evidence.config


def test_a_file_in_a_published_folder_is_no_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = gate_of("000/model.h")
    assert gate.publishes == ("delivered/",)
    assert gate.in_short(["delivered/000/model.h", "delivered/111/model.h", "page.html"]) == ["delivered/", "page.html"]
    monkeypatch.setattr(targets, "GATES", (gate,))
    for name in ("delivered", "delivered/000/model.h"):
        with pytest.raises(UserError, match="is no target of its own: `snakemake gate2` makes it"):
            targets.require_targets([str(tmp_path / name)], tmp_path, SPACE)
    targets.require_targets([str(tmp_path / "delivered_elsewhere")], tmp_path, SPACE)
